"""Taking the log away: whose predictions, which columns, and the rows page by page, whatever file they end in.

Who takes it needs `export_predictions`; inputs are left out for who may not `view_inputs`, and sensitive ones are digests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.db.models import Max

from trivet import conf
from trivet.control.predictions.models import Prediction, PredictionQuerySet
from trivet.control.registry.actions.change import changing
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.models import ModelVersion, RegisteredModel
from trivet.control.registry.permissions import can
from trivet.core.redaction import hidden, hidden_fields

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor
    from trivet.core.signature import Input

EXPORT = "export_predictions"
PAGE_ROWS = 1_000  # in memory at a time


class Kind(StrEnum):
    """What the cells of a column are. JSON is a text that holds it; words are a text as it is, and what is none as JSON."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    TRUTH = "truth"
    MOMENT = "moment"
    JSON = "json"
    WORDS = "words"


@dataclass(frozen=True)
class Column:
    """One column of the file. `field` is where its cells stand in a row of the log; for an input its own name."""

    name: str
    kind: Kind
    field: str
    is_input: bool = False
    is_hidden: bool = False  # a sensitive input: a digest stands in place of each value


COLUMNS = (
    Column("prediction_id", Kind.TEXT, "prediction_id"),
    Column("row", Kind.INTEGER, "row"),
    Column("made_at", Kind.MOMENT, "made_at"),
    Column("model", Kind.TEXT, "model"),
    Column("version", Kind.INTEGER, "version"),
    Column("digest", Kind.TEXT, "digest"),
    Column("route", Kind.TEXT, "route"),
    Column("caller", Kind.TEXT, "caller"),
    Column("door", Kind.TEXT, "door"),
    Column("entity_key", Kind.TEXT, "entity_key"),
    Column("request_id", Kind.TEXT, "request_id"),
    Column("decision", Kind.TEXT, "decision"),
    Column("score", Kind.NUMBER, "score"),
    Column("output", Kind.JSON, "output"),
    Column("flags", Kind.JSON, "flags"),
    Column("cached", Kind.TRUTH, "cached"),
    Column("fallback_from", Kind.INTEGER, "fallback_from"),
    Column("latency_us", Kind.INTEGER, "latency_us"),
)
OF_LABELS = (
    Column("label", Kind.WORDS, "label"),
    Column("label_observed_at", Kind.MOMENT, "label_observed_at"),
    Column("label_source", Kind.TEXT, "label_source"),
)


@dataclass(frozen=True)
class Export:
    """What is taken away: the columns, how many rows there were when it was asked for, and the rows, when they are read."""

    columns: tuple[Column, ...]
    rows: int
    has_inputs: bool
    _found: PredictionQuerySet

    def pages(self) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows, the oldest first, at most 1,000 at a time: each is a tuple in the order of the columns.

        A page begins after the last row of the page before, by time and primary key, so that memory does not grow with the
        log, and no cursor of the database stays open. What is shipped meanwhile is not among them.
        """
        fields = list(dict.fromkeys(["made_at", "pk", *(_field(column) for column in self.columns)]))
        pepper = conf.peppers()[0]
        found = self._found.order_by("made_at", "pk")
        after = found
        while page := list(after.values(*fields)[:PAGE_ROWS]):
            yield [tuple(_cell(column, line, pepper) for column in self.columns) for line in page]
            after = found.following(page[-1]["made_at"], page[-1]["pk"])


def export_predictions(
    *,
    model: str,
    actor: Actor,
    since: datetime | None = None,
    until: datetime | None = None,
    version: int | None = None,
    with_labels: bool = False,
    reason: str = "",
) -> Export:
    """Return the answers of `model` from `since` to just before `until`, of one `version` where that is asked for.

    `actor` needs `export_predictions`; without `view_inputs` there are no inputs among the columns. The Event, written before
    a row is read, says who took how much of what away. Raises `PermissionDenied`, and `NotFound` for a model or a version that
    is not there.
    """
    name = permitted(actor, EXPORT, to=EXPORT, model=model)
    versions = [ModelVersion.objects.resolve(model, version)] if version else list(ModelVersion.objects.of_model(model))
    registered = RegisteredModel.objects.named(model)
    has_inputs = isinstance(actor, str) or can(actor, "view_inputs", model)
    found = Prediction.objects.of_model(model).answers()
    if version is not None:
        found = found.of_version(version)
    if since is not None:
        found = found.since(since)
    if until is not None:
        found = found.filter(made_at__lt=until)
    last = Prediction.objects.aggregate(last=Max("pk"))["last"] or 0
    found = found.filter(pk__lte=last)
    rows = found.count()
    columns = (*COLUMNS, *(OF_LABELS if with_labels else ()))
    if has_inputs:
        columns += _of_inputs(versions, registered.sensitive or ())
    with changing() as change:
        change.record(
            EXPORT,
            actor=name,
            model=model,
            version=version,
            after={
                "rows": rows,
                "since": since and since.isoformat(),
                "until": until and until.isoformat(),
                "inputs": has_inputs,
                "labels": with_labels,
            },
            reason=reason,
        )
    return Export(columns, rows, has_inputs, found.with_labels() if with_labels else found)


def _of_inputs(versions: Sequence[ModelVersion], sensitive: Sequence[str]) -> tuple[Column, ...]:
    """Return a column for each input of `versions`; one that has several datatypes in them is JSON."""
    kinds: dict[str, set[Kind]] = {}
    marked: set[str] = set(sensitive)
    for version in versions:
        signature = version.read_signature()
        marked |= hidden_fields(signature, sensitive)
        for spec in signature.inputs:
            for name in spec.field_names or (spec.name,):
                kinds.setdefault(name, set()).add(_kind(spec))
    return tuple(
        Column(
            f"input.{name}",
            Kind.TEXT if name in marked else found.pop() if len(found) == 1 else Kind.JSON,
            name,
            is_input=True,
            is_hidden=name in marked,
        )
        for name, found in kinds.items()
    )


def _kind(spec: Input) -> Kind:
    if not spec.field_names:  # an array a row
        return Kind.JSON
    if spec.datatype.startswith(("FP", "BF")):
        return Kind.NUMBER
    if spec.datatype.startswith(("INT", "UINT")):
        return Kind.JSON if spec.datatype == "UINT64" else Kind.INTEGER
    return Kind.TRUTH if spec.datatype == "BOOL" else Kind.TEXT


def _field(column: Column) -> str:
    return "inputs" if column.is_input else column.field


def _cell(column: Column, line: Mapping[str, Any], pepper: bytes) -> Any:
    """Return a value of the column's kind, or None."""
    if column.is_input:
        value = (line["inputs"] or {}).get(column.field)
        if column.is_hidden:
            return _hidden(value, column.field, pepper)
    else:
        value = line[column.field]
    if value is None:
        return None
    if column.kind is Kind.JSON or (column.kind is Kind.WORDS and not isinstance(value, str)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value) if column.kind is Kind.TEXT else value


def _hidden(value: Any, name: str, pepper: bytes) -> str | None:
    """Return a digest in place of a value, also where it was recorded before its input was marked."""
    if isinstance(value, list):
        return json.dumps([_hidden(element, name, pepper) for element in value])
    return hidden(value, name, pepper)
