"""What `/feedback` is sent (protocol, section 10): what turned out true, one by one, as a list, or a line each."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from trivet.core.errors import InvalidRequest, quoted
from trivet.core.ids import split_row_id
from trivet.core.records import LabelValue, SaidLabel
from trivet.dataplane.protocol.decode import decode_json, refuse_duplicate_keys
from trivet.dataplane.protocol.parameters import LARGEST_INTEGER, LEAST_INTEGER, MAX_CALLERS_KEY, MAX_TEXT

MAX_LABELS = 1000  # of a request
MAX_LINES = 2 * MAX_LABELS  # empty ones among them: a body of nothing else would be millions
MAX_ELEMENTS = 100  # of a label that is a list: classes of one row, items of one ranking
MAX_SOURCE = 64  # characters
MOST_WEIGHT = 1e6  # chosen: one over the propensity of what was shown one time in a million
CLOCKS_DIFFER = timedelta(days=1)  # what turned out true later than so long after now is a slip of the pen
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)  # RFC 3339


class _Label(msgspec.Struct, forbid_unknown_fields=True):
    """One label as it is sent."""

    label: LabelValue
    prediction_id: str | None = None
    entity_key: str | None = None
    observed_at: str | None = None
    source: str | None = None


class _Labels(msgspec.Struct, forbid_unknown_fields=True):
    """Several."""

    labels: list[_Label]


_one = msgspec.json.Decoder(_Label)
_many = msgspec.json.Decoder(_Labels)
_names = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode_labels(body: bytes) -> list[SaidLabel]:
    """Return the labels in `body`, one or those under `labels`; raises `InvalidRequest`."""
    if "labels" not in decode_json(_names, body):
        return [_one_of(body)]
    found = decode_json(_many, body).labels
    _check_count(len(found))
    refuse_duplicate_keys(body, 1 + sum(map(_keys, found)))
    return [_at(f"label {place}", label) for place, label in enumerate(found)]


def decode_label_lines(body: bytes) -> list[SaidLabel]:
    """Return the labels in `body`, of which each line is one (NDJSON) and an empty line none; raises `InvalidRequest`."""
    if (found := body.count(b"\n")) > MAX_LINES:
        raise InvalidRequest(f"{found} lines; at most {MAX_LINES} are read.", code="TOO_MANY")
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
    _check_count(len(lines))
    return list(_of_lines(lines))


def _of_lines(lines: list[tuple[int, bytes]]) -> Iterator[SaidLabel]:
    for number, line in lines:
        try:
            yield _one_of(line)
        except InvalidRequest as error:
            raise _placed(f"line {number}", error) from None


def _check_count(labels: int) -> None:
    if labels > MAX_LABELS:
        raise InvalidRequest(f"{labels} labels; at most {MAX_LABELS} are read.", code="TOO_MANY")


def _one_of(body: bytes) -> SaidLabel:
    label = decode_json(_one, body)
    refuse_duplicate_keys(body, _keys(label))
    return _said(label)


def _keys(label: _Label) -> int:
    optional = (label.prediction_id, label.entity_key, label.observed_at, label.source)
    return 1 + sum(value is not None for value in optional)


def _at(place: str, label: _Label) -> SaidLabel:
    try:
        return _said(label)
    except InvalidRequest as error:
        raise _placed(place, error) from None


def _placed(place: str, error: InvalidRequest) -> InvalidRequest:
    return InvalidRequest(f"{place}: {error.message}", code=error.code, field=error.field)


def _said(label: _Label) -> SaidLabel:
    moment = None if label.observed_at is None else _moment(label.observed_at)
    return said_label(
        label.label,
        prediction_id=label.prediction_id,
        entity_key=label.entity_key,
        source=label.source or "",
        observed_at=moment,
    )


def said_label(
    value: LabelValue,
    *,
    prediction_id: str | None = None,
    entity_key: str | None = None,
    source: str = "",
    observed_at: datetime | None = None,
    weight: float = 1.0,
) -> SaidLabel:
    """Return a label that is within its bounds, whatever door it comes by; raises `InvalidRequest`.

    `observed_at` has an offset.
    """
    _check_value(value)
    if len(source) > MAX_SOURCE:
        raise InvalidRequest(f"source: at most {MAX_SOURCE} characters.", code="BAD_PARAMETER", field="source")
    if not 0 < weight <= MOST_WEIGHT:
        raise InvalidRequest(f"weight {weight:g}: above 0, and at most {MOST_WEIGHT:g}.", code="OUT_OF_RANGE")
    observed = 0 if observed_at is None else _nanoseconds(observed_at)
    if prediction_id is not None and entity_key is not None:
        raise InvalidRequest("a label has a prediction_id or an entity_key, not both.", code="BAD_PARAMETER")
    if entity_key is not None:
        if not 1 <= len(entity_key) <= MAX_CALLERS_KEY:
            raise InvalidRequest(
                f"entity_key: 1 to {MAX_CALLERS_KEY} characters.", code="BAD_PARAMETER", field="entity_key"
            )
        return SaidLabel(value, entity_key=entity_key, observed_at=observed, source=source, weight=weight)
    if prediction_id is None:
        raise InvalidRequest("a label has a prediction_id or an entity_key.", code="MISSING_FIELD")
    named = split_row_id(prediction_id)
    if named is None:
        raise InvalidRequest(
            f"prediction_id {quoted(prediction_id)}: an id as it was answered, '<uuid>' or '<uuid>:<row>'.",
            code="BAD_ID",
            field="prediction_id",
        )
    return SaidLabel(value, *named, observed_at=observed, source=source, weight=weight)


def _check_value(value: Any) -> None:
    if isinstance(value, list):
        if len(value) > MAX_ELEMENTS:
            raise InvalidRequest(f"label: {len(value)} elements; at most {MAX_ELEMENTS}.", code="TOO_MANY")
        for element in value:
            _check_value(element)
    elif isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise InvalidRequest(f"label: a text has at most {MAX_TEXT} characters.", code="TOO_MANY")
    elif isinstance(value, int) and not LEAST_INTEGER <= value <= LARGEST_INTEGER:
        raise InvalidRequest("label: a whole number has at most 64 bits.", code="OUT_OF_RANGE")


def _moment(text: str) -> datetime:
    """Return the instant of an RFC 3339 text."""
    try:
        moment = datetime.fromisoformat(text.upper()) if _MOMENT.fullmatch(text) else None
    except ValueError:  # a 13th month, a 61st second
        moment = None
    if moment is None:
        raise InvalidRequest(
            f"observed_at {quoted(text)}: a time with its offset, as '2026-11-30T09:15:00+01:00' (RFC 3339).",
            code="BAD_PARAMETER",
            field="observed_at",
        )
    return moment


def _nanoseconds(moment: datetime) -> int:
    """Return an instant in nanoseconds since 1970, to a microsecond."""
    try:
        since = moment - EPOCH
    except OverflowError:
        since = timedelta.min
    if not timedelta(0) <= since <= timedelta(seconds=time.time()) + CLOCKS_DIFFER:
        raise InvalidRequest(
            f"observed_at {moment.isoformat()}: between 1970 and now.", code="OUT_OF_RANGE", field="observed_at"
        )
    return since // timedelta(microseconds=1) * 1000
