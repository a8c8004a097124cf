"""Sparse: arrays of whole numbers of which most are 0, as they are encoded: the gaps between the others, and these."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

MOST_PLACES = 4_000_000
NO_PLACE = "a place is beyond its layout, or told twice"
KINDS: dict[int, np.dtype[Any]] = {
    width: np.dtype(kind) for width, kind in ((1, "u1"), (2, "<u2"), (4, "<i4"), (8, "<i8"))
}

Numbers = bytes | list[int]  # as `packed` returns them, or a list, as of releases before it
Sparse = tuple[int, Numbers, Numbers]  # width; gaps between the places that are not empty; what they hold


def sparse(values: np.ndarray) -> Sparse:
    """Return `values` (places,) without the zeros: of a minute's profile they are nearly all."""
    places = np.flatnonzero(values)
    return len(values), packed(np.diff(places, prepend=0)), packed(values[places])


def dense(few: Sparse) -> np.ndarray:
    """Return (places,) int64; raises `ValueError` or `IndexError` for what `sparse` never made."""
    width = few[0]
    if not 0 <= width <= MOST_PLACES:
        raise ValueError(f"{width} places")
    values: np.ndarray = stacked([few], [0], 1, width)[0]
    return values


def stacked(pieces: Sequence[Sparse], rows: Sequence[int], height: int, width: int) -> np.ndarray:
    """Return the sum of the `pieces` of each row: (height, width) int64; raises `ValueError` for what `sparse` never made.

    The places of all pieces come from one running sum over their gaps, which each of them begins anew.
    """
    lengths = np.array([count(gaps) for _, gaps, _ in pieces], np.int64)
    if [count(held) for _, _, held in pieces] != lengths.tolist():
        raise ValueError(NO_PLACE)
    steps, filled = numbers([gaps for _, gaps, _ in pieces]), lengths > 0
    begins = (np.cumsum(lengths) - lengths)[filled]
    ends = np.cumsum(steps)
    places = ends - np.repeat((ends - steps)[begins], lengths[filled])
    steps[begins] += 1  # a first place may be 0
    if (steps < 1).any() or (places >= width).any():
        raise ValueError(NO_PLACE)
    stack = np.zeros((height, width), np.int64)
    at = places + np.repeat(np.array(rows, np.int64) * width, lengths)
    np.add.at(stack.reshape(-1), at, numbers([held for _, _, held in pieces]))
    return stack


def packed(values: np.ndarray) -> bytes:
    """Return int64 `values` in as few bytes each as all of them fit in, after one byte that says how many these are.

    All first bytes come first, then all second ones: so most zeros lie together, and compress to a third less.
    """
    least, most = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    width = next(width for width, kind in KINDS.items() if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max)
    planes: bytes = values.astype(KINDS[width]).view(np.uint8).reshape(-1, width).T.tobytes()
    return bytes([width]) + planes


def count(few: Numbers) -> int:
    """Return how many numbers there are; raises `IndexError` where not even that can be told."""
    return (len(few) - 1) // max(few[0], 1) if isinstance(few, bytes) else len(few)


def numbers(pieces: Sequence[Numbers]) -> np.ndarray:
    """Return the numbers of all `pieces`, one after the other: int64, an array of their own.

    Raises `ValueError` for what `packed` never made.
    """
    arrays = [_unpacked(few) if isinstance(few, bytes) else _listed(few) for few in pieces]
    return np.concatenate(arrays, dtype=np.int64) if arrays else np.zeros(0, np.int64)


def _unpacked(few: bytes) -> np.ndarray:
    if not few or few[0] not in KINDS:
        raise ValueError("numbers of no known width")
    width = few[0]
    if len(few) == 1:
        return np.zeros(0, np.int64)
    read = np.frombuffer(few, np.uint8, offset=1)
    return read if width == 1 else read.reshape(width, -1).T.copy().view(KINDS[width]).reshape(-1)


def _listed(few: list[int]) -> np.ndarray:
    """NumPy itself takes twice as long."""
    try:
        return np.frombuffer(struct.pack(f"={len(few)}q", *few), np.int64)
    except struct.error as error:
        raise ValueError(f"a number is too large: {error}") from None
