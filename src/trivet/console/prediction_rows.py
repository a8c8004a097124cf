"""Recorded answers as lines of a table, and what is told of one wherever it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from trivet.console.figures import Moment, duration, moment, number, percent
from trivet.console.words import ROUTES, actor, output_value
from trivet.control.predictions.models import Prediction
from trivet.core.decisions import PROBABILITIES
from trivet.core.signature import Signature


@dataclass(frozen=True)
class Actor:
    """Who did something: in words, and as the registry names them."""

    words: str
    named: str


@dataclass(frozen=True)
class PredictionRow:
    """One recorded answer. `label` is what turned out true, in words; empty where nobody said, or it was not asked for."""

    id: str
    made: Moment
    version: str
    decision: str
    value: str
    route: str
    caller: Actor
    latency: str
    flags: int
    label: str


def prediction_row(prediction: Prediction, unit: str, now: datetime) -> PredictionRow:
    """Return `prediction`, whose number is in `unit`, as a line shows it; its label where `with_labels` has read it."""
    return PredictionRow(
        id=prediction.public_id,
        made=moment(prediction.made_at, now),
        version=str(prediction.version or _("constant")),
        decision=prediction.decision,
        value=value_of(prediction, unit),
        route=route_of(prediction),
        caller=actor_of(prediction.caller),
        latency=duration(prediction.latency_us),
        flags=len(prediction.flags),
        label=label_words(getattr(prediction, "label", None)),
    )


def unit_of(signature: Signature | None) -> str:
    """Return the unit of the number that a model estimates."""
    return signature.outputs[0].unit if signature and signature.task == "regression" and signature.outputs else ""


def value_of(prediction: Prediction, unit: str) -> str:
    """Return the probability of what was decided, or the number itself."""
    if isinstance(share := probabilities_of(prediction).get(prediction.decision), int | float):
        return percent(share)
    return "" if prediction.score is None else output_value(prediction.score, unit)


def probabilities_of(prediction: Prediction) -> Mapping[str, Any]:
    """Return the probability of each class; nothing where none was recorded."""
    output: Any = prediction.output  # JSON
    found = output.get(PROBABILITIES) if isinstance(output, dict) else None
    return found if isinstance(found, dict) else {}


def route_of(prediction: Prediction) -> str:
    """Return why that version answered."""
    if prediction.fallback_from:
        return _("fallback for version %(number)s") % {"number": prediction.fallback_from}
    return str(ROUTES.get(prediction.route, prediction.route))


def actor_of(named: str) -> Actor:
    """Return who somebody is whom the registry or the log names."""
    return Actor(actor(named), named)


def label_words(value: Any) -> str:
    """Return what turned out true, a value as JSON holds it, in words."""
    if isinstance(value, list):
        return ", ".join(label_words(element) for element in value)
    if isinstance(value, bool):
        return _("true") if value else _("false")
    return number(value)
