"""The in-process door for what turned out true: `trivet.label` is applied before it returns, and says what became of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.db.models import Model

from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.predictions.labelling import Labelled, say
from trivet.control.predictions.models import Prediction as LoggedPrediction
from trivet.core.errors import InvalidRequest, TrivetError, quoted
from trivet.core.ids import split_row_id
from trivet.core.records import LabelValue, SaidLabel
from trivet.dataplane.protocol.labels import said_label
from trivet.features.entities import entity_key_of
from trivet.serving.predict import caller_of
from trivet.serving.prediction import Prediction
from trivet.serving.process import count_label

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor


def label(
    prediction: Prediction | Model | str,
    value: Any,
    *,
    source: str = "",
    observed_at: datetime | None = None,
    model: str = "",
    user: Any = None,
) -> Labelled:
    """Say what turned out true for one prediction, and return what became of that: which revision, and whether it is new.

    `prediction` is what `trivet.predict` returned, its row in the log, its id, or an entity key or the saved instance that it
    is of; the last two with a `model`, and then the newest prediction with that key is meant which was made before
    `observed_at` (with an offset; now, where it is not given).
    `value` is a text, a number, a bool or a list of them; NumPy scalars and members of an Enum are taken as their values.
    The same value again changes nothing, another is the next revision. `source` says who or what knew, in at most 64
    characters. `user`, a user of the project or a text, is recorded; whether they may is for your code to ask (`can`).

    Raises `NotFound` for a prediction that is not in the log, where one that was just made is within a second or two;
    `Refused` for one that is another model's or no longer kept; `InvalidRequest`. Do not hold a transaction open around it
    for long: the log is not written meanwhile.
    """
    said = said_of(prediction, value, source=source, observed_at=observed_at, model=model)
    (answer,) = label_many([said], model=model, actor=caller_of(user))
    if isinstance(answer, TrivetError):
        raise answer
    return answer


def label_many(labels: Sequence[SaidLabel], *, actor: Actor, model: str = "") -> list[Labelled | TrivetError]:
    """Apply labels in one transaction; each gets what became of it, or the error that it is refused with."""
    answers = say(labels, actor=actor, model=model, beside=LabelFolding())
    for answer in answers:
        if isinstance(answer, Labelled):
            count_label(answer.model, answer.result)
    return answers


def said_of(
    prediction: Prediction | Model | str,
    value: Any,
    *,
    source: str = "",
    observed_at: datetime | None = None,
    weight: float = 1.0,
    model: str = "",
) -> SaidLabel:
    """Return a label of what is a prediction, its id or an entity key, within the bounds of one that comes over HTTP."""
    name = _name_of(prediction, model)
    if observed_at is not None and observed_at.utcoffset() is None:
        raise InvalidRequest("observed_at has no time zone: give it one.", code="BAD_PARAMETER", field="observed_at")
    by = "prediction_id" if split_row_id(name) else "entity_key"
    return said_label(_plain(value), **{by: name}, source=source, observed_at=observed_at, weight=weight)


def _name_of(prediction: Prediction | Model | str, model: str) -> str:
    """Return the id of a prediction, or the key of an entity of `model`."""
    if isinstance(prediction, Prediction):
        return prediction.id
    if isinstance(prediction, LoggedPrediction):
        return prediction.public_id
    if isinstance(prediction, str | Model):
        return entity_key_of(prediction, model)
    raise InvalidRequest(f"what is labelled is a prediction, its id or an entity, not {quoted(prediction)}.")


def _plain(value: Any) -> LabelValue:
    """Return `value` as JSON would have brought it."""
    if isinstance(value, Enum):
        value = value.value
    if not isinstance(value, bool | int | float | str | list | None) and hasattr(value, "tolist"):
        value = value.tolist()  # of NumPy, an array as well
    if isinstance(value, list | tuple):
        return [_scalar(element) for element in value]
    return _scalar(value)


def _scalar(value: Any) -> bool | int | float | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest("a label is not NaN and not infinite: leave it out.", code="NOT_FINITE")
    if isinstance(value, str):
        return str.__str__(value)  # np.str_, SafeString
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    raise InvalidRequest(f"a label is a text, a number, a bool or a list of them, not {quoted(value)}.")
