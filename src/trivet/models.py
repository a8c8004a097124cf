"""The tables of the app, gathered from the rooms that own them: Django looks for them here."""

from __future__ import annotations

from trivet.control.monitoring.models import (
    Alert,
    JudgedWindow,
    LabelProfile,
    LossEvidence,
    Monitor,
    MonitorSeries,
    Profile,
    ReferenceProfile,
)
from trivet.control.predictions.models import ForgottenEntity, Label, LogHead, LogLink, Prediction, SpoolCursor
from trivet.control.registry.models import (
    Alias,
    ApiKey,
    BundleClaim,
    Event,
    GoldenCaseRow,
    Grant,
    ModelVersion,
    Proposal,
    RegisteredModel,
    RegistryState,
    Route,
    Shadow,
    Worker,
)
from trivet.control.scoring.models import ScoringError, ScoringRun

__all__ = [
    "Alert",
    "Alias",
    "ApiKey",
    "BundleClaim",
    "Event",
    "ForgottenEntity",
    "GoldenCaseRow",
    "Grant",
    "JudgedWindow",
    "Label",
    "LabelProfile",
    "LogHead",
    "LogLink",
    "LossEvidence",
    "ModelVersion",
    "Monitor",
    "MonitorSeries",
    "Prediction",
    "Profile",
    "Proposal",
    "ReferenceProfile",
    "RegisteredModel",
    "RegistryState",
    "Route",
    "ScoringError",
    "ScoringRun",
    "Shadow",
    "SpoolCursor",
    "Worker",
]
