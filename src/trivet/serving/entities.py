"""Whom a prediction is about, as the log names them."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from trivet.core.errors import InvalidRequest, quoted
from trivet.features.source import prefix_of


def entity_key_of(entity: Any) -> str:
    """Return the key of an entity: of a saved instance "app.model:" and its primary key, as Outcomes look for it."""
    if isinstance(entity, str):
        return entity
    if not isinstance(entity, Model) or entity.pk is None:
        raise InvalidRequest(f"an entity_key is a text or a saved instance, not {quoted(type(entity).__name__)}.")
    return f"{prefix_of(type(entity))}{entity.pk}"
