"""The tables of the app, gathered from the rooms that own them: Django looks for them here."""

from __future__ import annotations

from trivet.control.predictions.models import ForgottenEntity, LogHead, LogLink, Prediction, SpoolCursor
from trivet.control.registry.models import (
    Alias,
    ApiKey,
    Event,
    GoldenCaseRow,
    ModelVersion,
    RegisteredModel,
    RegistryState,
    Route,
    Worker,
)

__all__ = [
    "Alias",
    "ApiKey",
    "Event",
    "ForgottenEntity",
    "GoldenCaseRow",
    "LogHead",
    "LogLink",
    "ModelVersion",
    "Prediction",
    "RegisteredModel",
    "RegistryState",
    "Route",
    "SpoolCursor",
    "Worker",
]
