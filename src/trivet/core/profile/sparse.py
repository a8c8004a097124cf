"""Sparse: arrays of whole numbers of which most are 0, as they are encoded: the gaps between the others, and these."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

MOST_PLACES = 4_000_000
NO_PLACE = "a place is beyond its layout, or told twice"

Sparse = tuple[int, list[int], list[int]]  # width; gaps between the places that are not empty; what they hold


def sparse(values: np.ndarray) -> Sparse:
    """Return `values` (places,) without the zeros: of a minute's profile they are nearly all."""
    places = np.flatnonzero(values)
    return len(values), np.diff(places, prepend=0).tolist(), values[places].tolist()


def dense(few: Sparse) -> np.ndarray:
    """Return (places,) int64; raises `ValueError` or `IndexError` for what `sparse` never made."""
    width, gaps, held = few
    if not 0 <= width <= MOST_PLACES:
        raise ValueError(f"{width} places")
    values = np.zeros(width, dtype=np.int64)
    values[np.cumsum(numbers([gaps]))] = numbers([held])
    return values


def stacked(pieces: Sequence[Sparse], rows: Sequence[int], height: int, width: int) -> np.ndarray:
    """Return the sum of the `pieces` of each row: (height, width) int64; raises `ValueError` for what `sparse` never made.

    The places of all pieces come from one running sum over their gaps, which each of them begins anew.
    """
    lengths = np.array([len(gaps) for _, gaps, _ in pieces], np.int64)
    if [len(held) for _, _, held in pieces] != lengths.tolist():
        raise ValueError(NO_PLACE)
    steps, filled = numbers([gaps for _, gaps, _ in pieces]).copy(), lengths > 0
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


def numbers(lists: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the numbers of `lists`, one after the other: int64, not to be written to. NumPy itself takes twice as long."""
    joined: list[int] = []
    for some in lists:
        joined += some
    try:
        packed = struct.pack(f"={len(joined)}q", *joined)
    except struct.error as error:
        raise ValueError(f"a number is too large: {error}") from None
    return np.frombuffer(packed, np.int64)
