"""Standing: whether the estimate of a version is to be believed, by the evidence that is kept of it."""

from __future__ import annotations

from math import inf

from trivet.control.monitoring.models import HeldAgainst, LossEvidence
from trivet.control.monitoring.trust import Trust, Verdict
from trivet.control.registry.declarations import false_alarm_days
from trivet.control.registry.models import ModelVersion


def standing_of(version: ModelVersion) -> Verdict:
    """Return what is to be thought of the estimate of `version`; unknown where no label was held against it."""
    row = LossEvidence.objects.filter(version=version, loss=HeldAgainst.ESTIMATE).first()
    return Verdict.UNKNOWN if row is None else trust_of(row).standing(false_alarm_days(version.model.name))


def trust_of(row: LossEvidence) -> Trust:
    """Return the evidence that a row keeps."""
    return Trust(
        row.tolerance,
        row.log_e,
        -inf if row.log_cusum is None else row.log_cusum,
        row.count,
        row.sum_x,
        row.sum_sq,
        row.labels,
    )
