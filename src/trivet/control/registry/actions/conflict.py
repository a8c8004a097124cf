"""Optimistic concurrency: whoever decided on what has changed meanwhile is told what changed."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

from trivet.control.registry.actions.change import Change
from trivet.control.registry.models import ApiKey, Event, RegisteredModel
from trivet.core.errors import Conflict


def unchanged_since(change: Change, expected_generation: int | None, model: RegisteredModel) -> RegisteredModel:
    """Return `model`; raises `Conflict` where it changed after the generation that whoever decides has seen."""
    if expected_generation is None or model.generation <= expected_generation:
        return model
    event = change.rows(Event).filter(generation=model.generation).first()
    what = "" if event is None else f", {_deed(event)} by {_who(change, event.actor)} at {_clock(event.at)}"
    raise Conflict(
        f"{model.name} changed while you decided: generation {expected_generation} → {model.generation}{what}. "
        f"Look again, then {'roll back' if event and event.action == 'roll_back' else 'promote'}."
    )


_DEEDS = {
    "promote": "version {version} promoted",
    "roll_back": "rolled back to version {version}",
    "set_routes": "routes set to {routes}",
    "set_alias": "an alias moved",
}


def _deed(event: Event) -> str:
    routes = ", ".join(f"{number}={weight}" for number, weight in event.after.get("routes", {}).items())
    return _DEEDS.get(event.action, event.action).format(version=event.version, routes=routes)


def _who(change: Change, actor: str) -> str:
    kind, _, name = actor.partition(":")
    if kind == "key":
        key = change.rows(ApiKey).filter(pk=name).first()
        return f"the key '{key.name if key else name}'"
    return name if kind == "user" else actor


def _clock(moment: datetime) -> str:
    return f"{timezone.localtime(moment) if timezone.is_aware(moment) else moment:%H:%M}"
