"""What is appended to the spool before an answer is sent: a PredictionRecord of what was answered, a LabelRecord of what was
said to have turned out true.

A prediction is a msgpack array, as it was in every release; a label is a map. The first byte tells them apart.
"""

from __future__ import annotations

from typing import Any

import msgspec

RECORD_FORMAT = 1
SHADOW = "shadow"  # the kind, and the route, of what ran beside an answer


class PredictionRecord(msgspec.Struct, frozen=True, array_like=True):
    """One answered request; the keeper makes one row of the prediction log per input row from it.

    `inputs` and `outputs` hold one flat, row-major list per tensor, in the order of the version's signature (missing
    numbers are None, missing strings None). New fields are added at the end, so old readers read new records.
    """

    id: str  # UUIDv7; row i of the log is "<id>:<i>"
    made_at: int  # nanoseconds since 1970
    model: str
    version: int  # 0: a constant answered
    digest: str
    generation: int
    route: str  # why this version: only, split, sticky, audience, alias, pinned, fallback
    caller: str  # "key:<id>", "user:<name>", "process:<name>", "anonymous"
    door: str  # "rest", "rows", "csv", "v1", "python"
    rows: int
    inputs: list[list[Any]] | None
    outputs: list[list[Any]]
    output_names: list[str]
    flags: dict[int, dict[str, str]] | None = None  # row -> field -> flag
    request_id: str = ""
    caller_id: str = ""  # the `id` the caller sent
    entity_key: str = ""
    latency_us: int = 0
    cached: bool = False
    kind: str = "predict"  # "shadow": nobody was given this
    format: int = RECORD_FORMAT
    inputs_sha256: str = ""  # in place of `inputs` that made the record too large
    fallback_from: int = 0  # the version that failed, where another answered for it
    shadow_of: str = ""  # of kind "shadow": the prediction that was answered meanwhile; it has the inputs
    entity_keys: list[str] | None = None  # one per row, in place of `entity_key`
    places: list[int] | None = None  # of the rows among those asked, where some did not fit and are not here
    parameters: dict[str, Any] | None = None  # as the caller sent them
    traceparent: str = ""  # W3C Trace Context, as the caller sent it


LabelValue = bool | int | float | str | list[bool | int | float | str]


class SaidLabel(msgspec.Struct, frozen=True, array_like=True):
    """What one prediction is said to have come true as, found by its id or by the newest with this entity key."""

    value: LabelValue
    prediction_id: str = ""  # UUID; empty: by `entity_key`
    row: int = 0
    entity_key: str = ""
    observed_at: int = 0  # nanoseconds since 1970; 0: when it came
    source: str = ""
    weight: float = 1.0


class LabelRecord(msgspec.Struct, frozen=True):
    """Labels that one request brought, in its order; those of a large one stand in several records with one receipt."""

    receipt: str  # UUIDv7
    received_at: int  # nanoseconds since 1970
    model: str
    caller: str
    labels: list[SaidLabel]
    request_id: str = ""
    format: int = RECORD_FORMAT


Record = PredictionRecord | LabelRecord

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PredictionRecord)
_label_decoder = msgspec.msgpack.Decoder(LabelRecord)
_MAPS = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))  # first bytes of a map, in msgpack


def encode_record(record: Record) -> bytes:
    """Return `record` as msgpack."""
    return _encoder.encode(record)


def decode_record(payload: bytes | memoryview) -> PredictionRecord:
    """Return the record in `payload`; raises `msgspec.DecodeError` when it is not one."""
    return _decoder.decode(payload)


def decode_any(payload: bytes | memoryview) -> Record:
    """Return what `payload` is, a prediction or labels; raises `msgspec.DecodeError` when it is neither."""
    return (_label_decoder if payload[:1] and payload[0] in _MAPS else _decoder).decode(payload)


def recorded_at(record: Record) -> int:
    """Return when `record` was appended, by the clock of its host: nanoseconds since 1970."""
    return record.received_at if isinstance(record, LabelRecord) else record.made_at
