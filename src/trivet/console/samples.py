"""Recorded rows: the real ones that a version's bundle keeps, as named rows."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from trivet.control.registry.storage import fetch_bundle
from trivet.core.errors import TrivetError
from trivet.core.examples import fields_of
from trivet.core.signature import Input, Signature
from trivet.model.bundle.sample import SAMPLE_NAME

ROWS_SHOWN = 20
Row = dict[str, Any]  # field name -> a value as JSON holds it


def recorded_rows(digest: str) -> tuple[Row, ...]:
    """Return up to 20 recorded rows of the bundle; none where it has none, or cannot be read now."""
    try:
        return _read(digest)
    except TrivetError:
        return ()


def made_up_row(signature: Signature) -> Row:
    """Return a row that fits the signature, for where none was recorded: the middle of each range, first categories."""
    return {name: _made_up(tensor) for tensor in signature.inputs for name in tensor.field_names}


@lru_cache(maxsize=64)
def _read(digest: str) -> tuple[Row, ...]:
    """Read and verify the bundle; what a digest names never changes, so it is done once. An error is not kept."""
    bundle = fetch_bundle(digest)
    lines = bundle.files.get(SAMPLE_NAME, b"").splitlines()[:ROWS_SHOWN]
    rows = [_named(bundle.signature, line) for line in lines]
    return tuple(row for row in rows if row is not None)


class _Line(msgspec.Struct):
    inputs: dict[str, Any]  # a value, or a list of them, as the signature says


def _named(signature: Signature, line: bytes) -> Row | None:
    try:
        return fields_of(signature, msgspec.json.decode(line, type=_Line).inputs)
    except (msgspec.DecodeError, KeyError, ValueError):  # no JSON; an input without a value, or with as many as fields
        return None


def _made_up(tensor: Input) -> Any:
    if tensor.datatype == "BOOL":
        return False
    if tensor.datatype == "BYTES":
        return tensor.categories[0] if tensor.categories else "text"
    low, high = tensor.low or 0.0, tensor.high if tensor.high is not None else tensor.low or 0.0
    middle = (low + high) / 2
    return middle if tensor.datatype.startswith("FP") else round(middle)
