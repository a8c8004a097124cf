"""The tables of the app, gathered from the rooms that own them: Django looks for them here."""

from __future__ import annotations

from trivet.control.predictions.models import ForgottenEntity, LogHead, LogLink, Prediction, SpoolCursor
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

__all__ = [
    "Alias",
    "ApiKey",
    "BundleClaim",
    "Event",
    "ForgottenEntity",
    "GoldenCaseRow",
    "Grant",
    "LogHead",
    "LogLink",
    "ModelVersion",
    "Prediction",
    "Proposal",
    "RegisteredModel",
    "RegistryState",
    "Route",
    "Shadow",
    "SpoolCursor",
    "Worker",
]
