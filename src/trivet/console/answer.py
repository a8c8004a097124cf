"""An answer to somebody who tried a model: the decision, the probabilities, and what to know about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from trivet.console.charts.shares import Share, shares
from trivet.console.figures import count, duration, percent
from trivet.console.words import FLAGS, ROUTES, classes_of, output_value
from trivet.core.decisions import PROBABILITIES
from trivet.core.errors import InvalidRequest, InvalidRows, TrivetError
from trivet.core.signature import Signature
from trivet.serving.prediction import Prediction

BARS_SHOWN = 10


@dataclass(frozen=True)
class ShownShare:
    """One class's bar, with its probability in words."""

    bar: Share
    percent: str


@dataclass(frozen=True)
class Flag:
    """A value the model answered for, but that it had not met in training."""

    field: str
    words: str


@dataclass(frozen=True)
class Answer:
    """What the page shows of one prediction."""

    headline: str
    value: str
    shares: tuple[ShownShare, ...]
    classes_left_out: int
    flags: tuple[Flag, ...]
    version: int
    route: str
    latency: str
    prediction_id: str


@dataclass(frozen=True)
class Problem:
    """Why there is no answer: a sentence for the whole, and one beside each field that is at fault."""

    summary: str
    by_field: Mapping[str, str]


def shown(prediction: Prediction, signature: Signature) -> Answer:
    """Return `prediction`, made by a version of `signature`, as the page shows it."""
    probabilities = _probabilities(prediction.value, signature)
    bars = shares(probabilities, prediction.decision)
    value = "" if probabilities else _value(prediction.value, signature)
    return Answer(
        headline=prediction.decision or value,
        value=value if prediction.decision else "",
        shares=tuple(ShownShare(bar, percent(bar.value)) for bar in bars[:BARS_SHOWN]),
        classes_left_out=max(len(bars) - BARS_SHOWN, 0),
        flags=tuple(Flag(field, str(FLAGS.get(flag, flag))) for field, flag in prediction.flags.items()),
        version=prediction.version,
        route=str(ROUTES.get(prediction.route, prediction.route)),
        latency=duration(prediction.latency_ms * 1000),
        prediction_id=prediction.id,
    )


def explained(error: TrivetError, model: str) -> Problem:
    """Return what `error` says, beside the fields where it names some."""
    faults = error.problems if isinstance(error, InvalidRows) else (error,)
    named = {
        fault.field: _sentence(fault.message, model)
        for fault in faults
        if isinstance(fault, InvalidRequest) and fault.field is not None
    }
    if named:
        return Problem(in_short(len(named)), named)
    return Problem(_sentence(error.message, model), {})


def in_short(faults: int) -> str:
    """Return the sentence over a form with `faults` fields to correct."""
    if faults == 1:
        return _("One field needs another value. Nothing was predicted or recorded.")
    return _("%(count)s fields need another value. Nothing was predicted or recorded.") % {"count": count(faults)}


def _probabilities(value: Any, signature: Signature) -> dict[str, float]:
    """Return each class's probability; empty where the model gives none, or not all are numbers."""
    if signature.task != "classification" or signature.output(PROBABILITIES) is None:
        return {}  # of a cluster model the value is the number of a group
    if isinstance(value, Mapping):
        return dict(value) if all(isinstance(share, int | float) for share in value.values()) else {}
    classes = classes_of(signature)
    if len(classes) != 2 or not isinstance(value, int | float):
        return {}
    return {classes[0]: 1 - value, classes[1]: float(value)}


def _value(value: Any, signature: Signature) -> str:
    if isinstance(value, Mapping):
        units = {output.name: output.unit for output in signature.outputs}
        return ", ".join(f"{name} {output_value(part, units.get(name, ''))}" for name, part in value.items())
    if value is None:
        return _("no number")
    return output_value(value, signature.outputs[0].unit if signature.task == "regression" else "")


def _sentence(message: str, model: str) -> str:
    """Return `message` without the model and the row, which a form with one row of one model has no use for."""
    text = message.removeprefix(f"{model}: ").replace(", row 0", "").removeprefix("row 0: ")
    return text[:1].upper() + text[1:]
