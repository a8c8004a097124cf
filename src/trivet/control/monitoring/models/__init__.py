"""The tables of monitoring: counts, and what was concluded from them."""

from __future__ import annotations

from trivet.control.monitoring.models.alerts import (
    OF_ESTIMATE as OF_ESTIMATE,
    Alert as Alert,
    AlertState as AlertState,
    Cause as Cause,
    HeldAgainst as HeldAgainst,
    JudgedWindow as JudgedWindow,
    LossEvidence as LossEvidence,
    Monitor as Monitor,
    MonitorSeries as MonitorSeries,
    Severity as Severity,
)
from trivet.control.monitoring.models.profiles import (
    Arm as Arm,
    Grain as Grain,
    LabelProfile as LabelProfile,
    Profile as Profile,
    ReferenceProfile as ReferenceProfile,
)
