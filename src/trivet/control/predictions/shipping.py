"""From records to rows of the log: once each, however often a record is shipped."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from trivet import conf, signals
from trivet.control.predictions.forgetting import forgotten_rows
from trivet.control.predictions.models import LogHead, Prediction, SpoolCursor
from trivet.control.predictions.sealing import (
    NOTHING_PRIVATE,
    SAID_COLUMNS,
    SALT_BYTES,
    SALT_LENGTH,
    SEAL_COLUMNS,
    Line,
    Private,
    content_of_request,
    content_of_row,
    link_of,
    private_digest,
    record_digest,
    sealed,
)
from trivet.control.registry.models import RegisteredModel
from trivet.control.registry.remembered_signatures import signature_of, signature_of_version
from trivet.core.chain import instant
from trivet.core.constants import NO_VERSION
from trivet.core.decisions import Decision, decide, named_outputs, split
from trivet.core.records import SHADOW, PredictionRecord
from trivet.core.redaction import redacted
from trivet.core.signature import Signature

BATCH_ROWS = 1000  # rows of one INSERT
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST_INTEGER = 2**31 - 1  # of an integer column
NUL_IN_THE_LOG = "␀"  # U+2400: PostgreSQL keeps no U+0000 in text
ESCAPED_NUL = "\\u0000"
NO_FLAGS: tuple[dict[str, str], str] = ({}, "{}")  # as stored
IDS_ASKED_AT_ONCE = 500
UNKNOWN_SIGNATURE = Signature(inputs=(), outputs=())
COLUMNS = (
    *SAID_COLUMNS,
    "prediction_id",
    "made_at",
    "shadow_of",
    "caller_id",
    "inputs_sha256",
    "parameters",
    "row",
    "entity_key",
    "inputs",
    "output",
    "score",
    "decision",
    "flags",
    *SEAL_COLUMNS,
)
PREDICTION_ID = Prediction._meta.get_field("prediction_id")
SHADOW_OF = Prediction._meta.get_field("shadow_of")
MADE_AT = Prediction._meta.get_field("made_at")

_encode = msgspec.json.Encoder().encode


class Cursor(NamedTuple):
    """How far a segment of a worker's spool is shipped, in bytes."""

    worker: str
    segment: int
    offset: int


NO_CURSOR = Cursor("", 0, 0)


class Shipped(NamedTuple):
    """A record of which `rows`, places among its own, were new to the log."""

    record: PredictionRecord
    rows: Sequence[int]


Beside = Callable[[Sequence[Shipped]], object]


def ship(
    records: Iterable[PredictionRecord],
    *,
    cursor: tuple[str, int, int] | None = None,
    beside: Beside | None = None,
) -> int:
    """Write one row of the log per input row of `records`, and move `cursor` (worker, segment, offset) with them.

    One transaction: after a kill either both are there or neither is. A row that is there already stays as it is, so
    shipping a record again is harmless. The new ones become one link of the log's chain (`sealing.py`). Returns the number
    of rows shipped, those that were there included. Sends `predictions_recorded` per model on commit. The keeper calls
    this, and whatever process ships in its place.

    `beside` is called last in that transaction, with what was new: what it writes is there if the rows are, and as often.
    """
    batch = _Batch(list(records), Cursor(*cursor) if cursor is not None else None, beside)
    while True:
        lines = batch.lines()
        try:
            batch.write(lines)
        except _Again:
            continue
        return len(lines)


class _Again(Exception):
    """What was made ready does not fit what is there: make it ready anew."""


class _Batch:
    """Records that become rows, a link of the chain and a cursor's place, in one transaction."""

    def __init__(self, records: list[PredictionRecord], cursor: Cursor | None, beside: Beside | None) -> None:
        self.records, self.cursor, self.beside = records, cursor, beside
        self.database = router.db_for_write(Prediction)
        self.connection = connections[self.database]
        self.erasures = 0
        self.is_partly_there = not _COUNTS_NEW_ROWS.get(self.connection.vendor, False)

    def lines(self) -> list[Line]:
        """Return the rows as they are written, before any lock is taken: without what was to be forgotten."""
        self.erasures = LogHead.objects.using(self.database).read().erasures
        forgotten = forgotten_rows(self.records, self.database) if self.erasures else {}
        marked = RegisteredModel.objects.filter(sensitive__isnull=False).values_list("name", "sensitive")
        sensitive = {name: names or [] for name, names in marked}
        return [
            line
            for place, record in enumerate(self.records)
            for line in lines_of(record, self.connection, forgotten.get(place, ()), sensitive.get(record.model, ()))
        ]

    def write(self, lines: list[Line]) -> None:
        """Write everything, or nothing and raise `_Again`. The head's lock makes one line of all who write."""
        with transaction.atomic(using=self.database):
            head = LogHead.objects.using(self.database).lock()
            if head.erasures != self.erasures:
                raise _Again
            new = self._not_there(lines) if self.is_partly_there else lines
            if new:
                self._link(head, new)
            if self.cursor is not None:
                move_cursor(self.cursor)
            for model, ids in _ids_by_model(self.records).items():
                told = partial(signals.predictions_recorded.send_robust, sender=Prediction, model=model, ids=ids)
                transaction.on_commit(told, using=self.database)
            if self.beside is not None:
                self.beside(self._shipped(new))

    def _link(self, head: LogHead, lines: list[Line]) -> None:
        number, before = head.links + 1, self._last_id()
        rows, digest = sealed(lines, number)
        written = _insert(rows, self.connection)
        if not self.is_partly_there and written != len(rows):
            self.is_partly_there = True
            raise _Again
        until = max(line.made_at for line in lines)
        link = link_of(
            head,
            self.cursor or NO_CURSOR,
            ids=(before + 1, self._last_id()),
            rows=len(rows),
            until=until,
            digest=digest,
        )
        link.save(using=self.database, force_insert=True)
        LogHead.objects.using(self.database).filter(pk=head.pk).update(links=number, sha256=link.sha256)

    def _shipped(self, new: list[Line]) -> list[Shipped]:
        """Return the records of `new` rows: where nothing was there, those are all, in their order."""
        if not self.is_partly_there:
            return [Shipped(record, range(record.rows)) for record in self.records]
        left = {(line.prediction_id, line.row) for line in new}
        shipped = []
        for record in self.records:
            prediction_id = UUID(record.id)
            numbers = record.places or range(record.rows)
            rows = [place for place, number in enumerate(numbers) if (prediction_id, number) in left]
            left -= {(prediction_id, numbers[place]) for place in rows}  # a record may be there twice
            if rows:
                shipped.append(Shipped(record, rows))
        return shipped

    def _last_id(self) -> int:
        return Prediction.objects.using(self.database).order_by("-pk").values_list("pk", flat=True).first() or 0

    def _not_there(self, lines: list[Line]) -> list[Line]:
        """Return those of `lines` that are not in the log, each once."""
        found: set[tuple[UUID, int]] = set()
        ids = list({line.prediction_id for line in lines})
        for start in range(0, len(ids), IDS_ASKED_AT_ONCE):
            asked = ids[start : start + IDS_ASKED_AT_ONCE]
            there = Prediction.objects.using(self.database).filter(prediction_id__in=asked)
            found.update(there.values_list("prediction_id", "row"))
        new = {(line.prediction_id, line.row): line for line in reversed(lines)}
        return [line for place, line in reversed(list(new.items())) if place not in found]


def shipped_offset(worker: str, segment: int) -> int:
    """Return how far a segment is shipped, in bytes; 0 when nothing of it is."""
    cursors = SpoolCursor.objects.filter(worker=worker, segment=segment)
    return cursors.values_list("offset", flat=True).first() or 0


def forget_segment(worker: str, segment: int) -> None:
    """Drop the cursor of a segment whose file is gone."""
    SpoolCursor.objects.filter(worker=worker, segment=segment).delete()


def lines_of(
    record: PredictionRecord,
    connection: BaseDatabaseWrapper,
    forgotten: Collection[int] = (),
    sensitive: Collection[str] = (),
) -> Iterator[Line]:
    """Yield the rows of the log that `record` stands for, as `connection` takes them, in the order of `COLUMNS`.

    Where its version is no longer registered, inputs and outputs keep their order but not their names. Rows in `forgotten`
    are without what would tell of whom they are; inputs called `sensitive` are hidden.
    """
    signature = _signature(record) or UNKNOWN_SIGNATURE
    given = record.inputs
    if given is not None and sensitive:  # from before they were marked, or by a release that knew of no marks
        given = redacted(given, signature, sensitive, record.rows, conf.peppers())
    answers = dict(zip(record.output_names, record.outputs, strict=False))
    shared = _shared(record, connection)
    told = zip(
        named_inputs(signature, given, record.rows),
        named_outputs(signature, answers, record.rows),
        decide(signature, answers, record.rows),
        strict=True,
    )
    salts = os.urandom(SALT_BYTES * record.rows).hex()
    for row, one in enumerate(told):
        salt = salts[row * SALT_LENGTH : (row + 1) * SALT_LENGTH]
        yield _line(record, row, shared, one, salt=salt, is_forgotten=row in forgotten)


def _line(
    record: PredictionRecord,
    row: int,
    shared: _Shared,
    told: tuple[dict[str, Any] | None, dict[str, Any], Decision],
    *,
    salt: str,
    is_forgotten: bool,
) -> Line:
    """Return a row of `record`: what all of them share, what is `told` of this one (inputs, output, decision), its seal."""
    inputs, output, decision = told
    entity = text_of(record.entity_keys[row] if record.entity_keys else record.entity_key, 256)
    kept, kept_text = (None, None) if inputs is None else stored(inputs)
    if is_forgotten:
        private, kept_text = NOTHING_PRIVATE, None
    else:
        private = Private(entity, shared.caller_id, shared.inputs_sha256, kept, shared.parameters)
    said, said_text = stored(output)
    raised, raised_text = stored(record.flags[row]) if record.flags and row in record.flags else NO_FLAGS
    score = None if decision.score is None else float(decision.score)
    words = text_of(decision.decision)
    number = record.places[row] if record.places else row
    private_sha256 = private_digest(salt, private)
    content = content_of_row(number, words, said, score, raised)
    return Line(
        (
            *shared.values,
            private.caller_id,
            private.inputs_sha256,
            stored(private.parameters)[1] if private.parameters is not None else None,
            number,
            private.entity_key,
            kept_text,
            said_text,
            score,
            words,
            raised_text,
        ),
        salt,
        private_sha256,
        record_digest(shared.content, content, private_sha256),
        shared.prediction_id,
        number,
        shared.made_at,
    )


def _signature(record: PredictionRecord) -> Signature | None:
    """Return the signature of the version that answered, or that a constant answered for."""
    if record.version == NO_VERSION:
        return signature_of_version(record.model, record.fallback_from)
    return signature_of(record.digest)


def named_inputs(signature: Signature, inputs: list[list[Any]] | None, rows: int) -> Sequence[dict[str, Any] | None]:
    """Return each row's inputs by name, a matrix by its columns' names; None each when they were not kept."""
    if inputs is None:
        return [None] * rows
    names = _column_names(signature)
    if len(names) == len(inputs) and set(map(len, inputs)) == {rows}:
        return [dict(zip(names, values, strict=True)) for values in zip(*inputs, strict=True)]
    named: list[dict[str, Any]] = [{} for _ in range(rows)]
    for place, flat in enumerate(inputs):
        name, columns = _names(signature, place)
        for row, elements in zip(named, split(flat, rows), strict=True):
            if len(columns) == len(elements):
                row.update(zip(columns, elements, strict=True))
            else:
                row[name] = list(elements)
    return named


@lru_cache(maxsize=256)
def _column_names(signature: Signature) -> tuple[str, ...]:
    """Return the names of the inputs where each has one value a row, as tables have; else none."""
    fields = [tensor.field_names for tensor in signature.inputs]
    return tuple(names[0] for names in fields) if all(len(names) == 1 for names in fields) else ()


def _names(signature: Signature, place: int) -> tuple[str, tuple[str, ...]]:
    """Return the name of the input at `place` and those of its columns."""
    if place >= len(signature.inputs):
        return f"input_{place}", ()
    tensor = signature.inputs[place]
    return tensor.name, tensor.field_names


class _Shared(NamedTuple):
    """What all rows of a record have in common."""

    values: tuple[Any, ...]  # as a database takes them, in the order of `COLUMNS`
    content: bytes
    prediction_id: UUID
    made_at: datetime
    caller_id: str
    inputs_sha256: str
    parameters: Any  # JSON


def _shared(record: PredictionRecord, connection: BaseDatabaseWrapper) -> _Shared:
    prediction_id, made_at = UUID(record.id), moment_of(record.made_at)
    shadow_of = UUID(record.shadow_of) if record.shadow_of else None
    said = (
        text_of(record.kind, 16),
        text_of(record.model, 63),
        record.version,
        text_of(record.digest, 64),
        record.generation,
        text_of(record.route, 16),
        text_of(record.caller, 200),
        text_of(record.door, 16),
        text_of(record.request_id, 128),
        min(max(record.latency_us, 0), LARGEST_INTEGER),
        record.cached,
        record.fallback_from or None,
    )
    values = (
        *said,
        PREDICTION_ID.get_db_prep_value(prediction_id, connection),
        MADE_AT.get_db_prep_value(made_at, connection),
        SHADOW_OF.get_db_prep_value(shadow_of, connection) if shadow_of else None,
    )
    return _Shared(
        values,
        content_of_request(said, prediction_id, instant(made_at), shadow_of),
        prediction_id,
        made_at,
        text_of(record.caller_id, 128),
        text_of(record.inputs_sha256, 64),
        stored(record.parameters)[0] if record.parameters else None,
    )


def moment_of(nanoseconds: int) -> datetime:
    """Return the time `nanoseconds` after the beginning of 1970, as a column takes it."""
    moment = EPOCH + timedelta(microseconds=nanoseconds // 1000)
    return moment if settings.USE_TZ else timezone.make_naive(moment)


def text_of(text: str, limit: int | None = None) -> str:
    """Return `text` as a column takes it: a row that could not be written would hold up all that come after it."""
    return text.replace("\0", NUL_IN_THE_LOG)[:limit]


def stored(value: Any) -> tuple[Any, str]:
    """Return `value` as every database takes it, and as JSON: NaN and infinities as null, bytes in base 64, no U+0000."""
    text = _encode(value).decode()
    if ESCAPED_NUL not in text:
        return value, text
    clean = _without_nul(value)
    return clean, _encode(clean).decode()


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(element) for name, element in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(element) for element in value]
    return value


def _insert(rows: list[tuple[Any, ...]], connection: BaseDatabaseWrapper) -> int:
    """Insert what is not there yet, and return how many that were; any fault but a repeated row is raised.

    Not `bulk_create`: its `ignore_conflicts` is INSERT OR IGNORE on SQLite and INSERT IGNORE on MySQL, which drop rows
    that break a NOT NULL or a CHECK without a word. Measured on one row a record and two cores, before rows had seals:
    SQLite 36,000 rows a second instead of 11,000, PostgreSQL 14,000 instead of 10,000. Seals take 17 µs a row where
    making it ready took 36.
    """
    statement = _INSERT[connection.vendor](connection)
    written = 0
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for start in range(0, len(rows), BATCH_ROWS):
                cursor.execute(statement, list(map(list, zip(*rows[start : start + BATCH_ROWS], strict=True))))
                written += cursor.rowcount
        else:
            cursor.executemany(statement, rows)
            written = cursor.rowcount
    return written


def _insert_sqlite(connection: BaseDatabaseWrapper) -> str:
    values = ", ".join(["%s"] * len(COLUMNS))
    return f'{_into(connection)} VALUES ({values}) ON CONFLICT ("prediction_id", "row") DO NOTHING'


def _insert_mysql(connection: BaseDatabaseWrapper) -> str:
    values = ", ".join(["%s"] * len(COLUMNS))
    return f"{_into(connection)} VALUES ({values}) ON DUPLICATE KEY UPDATE `row` = `row`"


def _insert_postgresql(connection: BaseDatabaseWrapper) -> str:
    types = {field.column: field.cast_db_type(connection) for field in Prediction._meta.concrete_fields}
    arrays = ", ".join(f"%s::{types[column]}[]" for column in COLUMNS)
    rows = f"SELECT * FROM unnest({arrays})"  # noqa: S608
    return f'{_into(connection)} {rows} ON CONFLICT ("prediction_id", "row") DO NOTHING'


def _into(connection: BaseDatabaseWrapper) -> str:
    quote = connection.ops.quote_name
    return f"INSERT INTO {quote(Prediction._meta.db_table)} ({', '.join(map(quote, COLUMNS))})"


_COUNTS_NEW_ROWS = {"sqlite": True, "postgresql": True}  # MySQL counts those that were there as well
_INSERT = {"sqlite": _insert_sqlite, "mysql": _insert_mysql, "postgresql": _insert_postgresql}


def move_cursor(cursor: Cursor) -> None:
    """Note that a segment is in the log up to there, in the transaction that puts it there."""
    moved = SpoolCursor.objects.filter(worker=cursor.worker, segment=cursor.segment).update(offset=cursor.offset)
    if not moved:
        SpoolCursor.objects.create(worker=cursor.worker, segment=cursor.segment, offset=cursor.offset)


def _ids_by_model(records: Iterable[PredictionRecord]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record.kind == SHADOW:  # nobody was given it
            continue
        ids[record.model] += [f"{record.id}:{row}" for row in record.places or range(record.rows)]
    return ids
