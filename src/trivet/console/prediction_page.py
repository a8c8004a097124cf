"""One prediction: what was asked and answered, by which version and why, what turned out true, and a form to say it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from trivet.console.answer import BARS_SHOWN, Flag, ShownShare
from trivet.console.charts.shares import shares
from trivet.console.figures import Moment, count, duration, moment, number, percent
from trivet.console.form import float_in
from trivet.console.prediction_rows import (
    Actor,
    actor_of,
    label_words,
    probabilities_of,
    route_of,
    unit_of,
    value_of,
)
from trivet.console.subject import Subject
from trivet.console.words import FLAGS, enumerated
from trivet.control.predictions.meaning import CLASSES_NAMED, label_classes
from trivet.control.predictions.models import Label, LabelState, Prediction
from trivet.control.registry.models import ModelVersion
from trivet.core.errors import InvalidRequest, quoted
from trivet.core.redaction import hidden_fields
from trivet.core.signature import Signature
from trivet.serving.label_files import value_in

LABELS_SHOWN = 50
CHARACTERS_SHOWN = 10_000  # of one value


@dataclass(frozen=True)
class Value:
    """One input, output or parameter. Of a sensitive input there is nothing to read."""

    name: str
    words: str
    is_sensitive: bool = False


@dataclass(frozen=True)
class LabelLine:
    """One thing that somebody said about the prediction."""

    revision: int
    words: str
    source: str
    who: Actor
    observed: Moment
    received: Moment
    stands: bool
    refused: str  # why


@dataclass(frozen=True)
class LabelForm:
    """The form "it turned out …": a choice, a number, or any text."""

    kind: str
    choices: tuple[str, ...]
    unit: str
    value: str
    error: str


@dataclass(frozen=True)
class PredictionPage:
    """The page. `inputs` is None for who may not see them; `erased` says why they are not there."""

    id: str
    name: str
    title: str
    headline: str
    value: str
    shares: tuple[ShownShare, ...]
    classes_left_out: int
    flags: tuple[Flag, ...]
    outputs: tuple[Value, ...]
    made: Moment
    version: int
    has_version: bool
    digest: str
    route: str
    caller: Actor
    door: str
    latency: str
    is_cached: bool
    generation: int
    entity: str
    request: str
    caller_id: str
    inputs: tuple[Value, ...] | None
    parameters: tuple[Value, ...]
    erased: str
    labels: tuple[LabelLine, ...]
    form: LabelForm | None


@dataclass(frozen=True)
class Looker:
    """What the person who looks may do."""

    sees_inputs: bool
    may_label: bool


def prediction_page(
    prediction: Prediction, shown: Subject, looker: Looker, now: datetime, *, said: str = "", problem: str = ""
) -> PredictionPage:
    """Return the page of `prediction` of the model `shown`, with what somebody `said` and the `problem` with it."""
    signature = signature_of(prediction, shown)
    headline = prediction.decision or value_of(prediction, unit_of(signature))
    bars = shares(_numbers(probabilities_of(prediction)), prediction.decision)
    return PredictionPage(
        id=prediction.public_id,
        name=prediction.model,
        title=shown.model.heading,
        headline=headline or _("no number"),
        value=value_of(prediction, unit_of(signature)) if prediction.decision else "",
        shares=tuple(ShownShare(bar, percent(bar.value)) for bar in bars[:BARS_SHOWN]),
        classes_left_out=max(len(bars) - BARS_SHOWN, 0),
        flags=tuple(Flag(field, str(FLAGS.get(flag, flag))) for field, flag in prediction.flags.items()),
        outputs=_values(prediction.output),
        made=moment(prediction.made_at, now),
        version=prediction.version,
        has_version=prediction.version > 0,
        digest=prediction.digest,
        route=route_of(prediction),
        caller=actor_of(prediction.caller),
        door=prediction.door,
        latency=duration(prediction.latency_us),
        is_cached=prediction.cached,
        generation=prediction.generation,
        entity=prediction.entity_key,
        request=prediction.request_id,
        caller_id=prediction.caller_id,
        inputs=_inputs(prediction, shown, signature) if looker.sees_inputs else None,
        parameters=_values(prediction.parameters) if looker.sees_inputs else (),
        erased=_erased(prediction),
        labels=_labels(prediction, now),
        form=_form(signature, said, problem) if looker.may_label else None,
    )


def signature_of(prediction: Prediction, shown: Subject) -> Signature | None:
    """Return the signature of the version that answered; for a constant, that of the version that is shown."""
    version = ModelVersion.objects.filter(model=shown.model, number=prediction.version).defer("manifest").first()
    return version.read_signature() if version is not None else shown.signature


def truth_in(text: str, signature: Signature | None) -> Any:
    """Return what turned out true as somebody wrote it. Raises `InvalidRequest`, with the value and what is expected."""
    kind, classes = _kind(signature), label_classes(signature) if signature else ()
    if not text:
        raise InvalidRequest(_("Say what turned out."))
    if kind == "choice":
        if text not in classes:
            told = _("%(value)s is none of the classes: choose %(classes)s.")
            values = {"value": quoted(text), "classes": enumerated(classes, CLASSES_NAMED)}
            raise InvalidRequest(told % values)
        return text
    if kind == "number":
        try:
            found = float_in(text)
        except ValueError:
            raise InvalidRequest(_("%(value)s is no number: write it as 12.5.") % {"value": quoted(text)}) from None
        return int(found) if found.is_integer() and abs(found) < 2**53 else found
    return value_in(text)


def _form(signature: Signature | None, said: str, problem: str) -> LabelForm:
    choices = label_classes(signature) if signature else ()
    return LabelForm(_kind(signature), choices, unit_of(signature), said, problem)


def _kind(signature: Signature | None) -> str:
    if signature is not None and label_classes(signature):
        return "choice"
    is_number = signature is not None and signature.task == "regression" and len(signature.outputs) == 1
    return "number" if is_number else "text"


def _inputs(prediction: Prediction, shown: Subject, signature: Signature | None) -> tuple[Value, ...]:
    """Return the inputs; those that are sensitive by name alone, also where they were recorded before they were marked."""
    marked = shown.model.sensitive or ()
    hidden = hidden_fields(signature, marked) if signature else frozenset(marked)
    given: Any = prediction.inputs or {}  # JSON
    return tuple(
        Value(name, "", is_sensitive=True) if name in hidden else Value(name, _words(value))
        for name, value in given.items()
    )


def _erased(prediction: Prediction) -> str:
    """Return why the inputs are not there; nothing where they are."""
    if prediction.inputs is not None:
        return ""
    if prediction.erased_by is not None:
        return _("Erased: whom it is about was forgotten.")
    if prediction.inputs_digest:
        return _("Erased for their age: inputs are kept for a while only.")
    if prediction.inputs_sha256:
        return _("Too large to keep; their SHA-256 is %(digest)s.") % {"digest": prediction.inputs_sha256}
    return _("They were not kept.")


def _labels(prediction: Prediction, now: datetime) -> tuple[LabelLine, ...]:
    """Return what was said of it, the newest first; what waits can be no more, for the prediction is there."""
    about = Label.objects.filter(prediction_id=prediction.prediction_id, row=prediction.row)
    rows = list(about.exclude(state=LabelState.WAITING).order_by("-received_at", "-pk")[:LABELS_SHOWN])
    newest = max((row.revision for row in rows if row.state == LabelState.APPLIED), default=0)
    return tuple(
        LabelLine(
            revision=row.revision,
            words=label_words(row.value),
            source=row.source,
            who=actor_of(row.caller),
            observed=moment(row.observed_at, now),
            received=moment(row.received_at, now),
            stands=row.state == LabelState.APPLIED and row.revision == newest,
            refused=row.reason if row.state == LabelState.REFUSED else "",
        )
        for row in rows
    )


def _values(found: Any) -> tuple[Value, ...]:
    """Return what a column of JSON holds, by name."""
    if not isinstance(found, dict):
        return () if found is None else (Value("", _words(found)),)
    return tuple(Value(str(name), _words(value)) for name, value in found.items())


def _words(value: Any) -> str:
    """Return a value in words: missing ones as such, what is nested as JSON, cut where it is long."""
    if value is None:
        return _("missing")
    if isinstance(value, bool):
        return label_words(value)
    text = number(value) if isinstance(value, int | float) else value
    if not isinstance(text, str):
        text = json.dumps(value, ensure_ascii=False)
    rest = len(text) - CHARACTERS_SHOWN
    if rest <= 0:
        return text
    return _("%(shown)s… and %(rest)s characters more") % {"shown": text[:CHARACTERS_SHOWN], "rest": count(rest)}


def _numbers(probabilities: Mapping[str, Any]) -> dict[str, float]:
    return {name: share for name, share in probabilities.items() if isinstance(share, int | float)}
