"""Recorded rows: the real ones that a version's bundle keeps, as named rows."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from trivet.control.registry.storage import fetch_bundle
from trivet.core.errors import TrivetError
from trivet.core.examples import row_of_sample
from trivet.model.bundle.sample import SAMPLE_NAME

ROWS_SHOWN = 20
Row = dict[str, Any]  # field name -> a value as JSON holds it


def recorded_rows(digest: str) -> tuple[Row, ...]:
    """Return up to 20 recorded rows of the bundle; none where it has none, or cannot be read now."""
    try:
        return _read(digest)
    except TrivetError:
        return ()


@lru_cache(maxsize=64)
def _read(digest: str) -> tuple[Row, ...]:
    """Read and verify the bundle; what a digest names never changes, so it is done once. An error is not kept."""
    bundle = fetch_bundle(digest)
    lines = bundle.files.get(SAMPLE_NAME, b"").splitlines()[:ROWS_SHOWN]
    rows = [row_of_sample(bundle.signature, line) for line in lines]
    return tuple(row for row in rows if row is not None)
