"""Where the original stops to answer: the range of a number outside which it raises, found by asking it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from trivet.model.compile.fields import Field, Layout
from trivet.model.compile.original import Original
from trivet.model.compile.rows import extremes

MOST_CELLS = 4_000_000  # asked at once
SIGN = np.int64(np.iinfo(np.int64).max)
TOO_LARGE_FOR_A_FLOAT32 = (2 - 2**-24) * 2.0**127  # the first that is rounded to infinity
USUAL_ENDS = (0.0, -1.0, 1.0, TOO_LARGE_FOR_A_FLOAT32, -TOO_LARGE_FOR_A_FLOAT32)  # of logarithms, roots, arcs; of trees

Tried = tuple[int, float]  # a field's place, and what is put there


def with_bounds(original: Original, layout: Layout, sample: pd.DataFrame) -> Layout:
    """Return `layout` with `low` and `high` of the numbers that the original refuses below and above.

    Each number far from the sample is tried alone in the sample's first row. Where the original raises, the last value
    that it takes is found by halving, exactly, as if it refused all beyond: the gate's rows show whether it does.
    """
    numbers = [place for place, field in enumerate(layout.fields) if field.datatype in ("FP64", "INT64")]
    tried = [
        (place, value)
        for place in numbers
        for value in extremes(layout.fields[place], sample[layout.names[place]])
        if not _is_inside(sample[layout.names[place]], value)
    ]
    ask = _asking(original, layout, sample)
    refused = [one for one, is_taken in zip(tried, _taken(ask, tried), strict=True) if not is_taken]
    if not refused:
        return layout
    fields = list(layout.fields)
    for place in sorted({place for place, _ in refused}):
        values = [value for where, value in refused if where == place]
        fields[place] = _bounded(fields[place], sample[layout.names[place]], values, place, ask)
    return layout.with_fields(_shared(fields) if layout.is_matrix else fields)


def _bounded(field: Field, seen: pd.Series, refused: list[float], place: int, ask: Ask) -> Field:
    low, high = float(np.nanmin(seen.to_numpy(np.float64))), float(np.nanmax(seen.to_numpy(np.float64)))
    below, above = [v for v in refused if v < low], [v for v in refused if v > high]

    def is_taken(value: float) -> bool:
        return ask([(place, value)])

    step = _halve_whole if field.datatype == "INT64" else _halve
    return replace(
        field,
        low=step(low, max(below), is_taken) if below else None,
        high=step(high, min(above), is_taken) if above else None,
    )


Ask = Callable[[list[Tried]], bool]


def _asking(original: Original, layout: Layout, sample: pd.DataFrame) -> Ask:
    """Return a function that tells whether the original answers rows with one value changed in each."""
    first = sample.head(1)

    def ask(tried: list[Tried]) -> bool:
        rows = first.iloc[np.zeros(len(tried), int)].reset_index(drop=True)
        columns: dict[str, Any] = {name: rows[name].to_numpy().copy() for name in layout.names}
        for row, (place, value) in enumerate(tried):
            name = layout.names[place]
            columns[name][row] = int(value) if layout.fields[place].datatype == "INT64" else value
        try:
            original.answers(layout.frame(columns))
        except Exception:  # noqa: BLE001  (whatever it raises, it is a refusal)
            return False
        return True

    def in_parts(tried: list[Tried]) -> bool:
        size = max(MOST_CELLS // len(layout.fields), 1)
        return all(ask(tried[start : start + size]) for start in range(0, len(tried), size))

    return in_parts


def _taken(ask: Ask, tried: list[Tried]) -> list[bool]:
    """Return which of `tried` the original answers: all at once, and by halving where it refuses some."""
    if not tried:
        return []
    if ask(tried):
        return [True] * len(tried)
    if len(tried) == 1:
        return [False]
    half = len(tried) // 2
    return _taken(ask, tried[:half]) + _taken(ask, tried[half:])


def _is_inside(seen: pd.Series, value: float) -> bool:
    numbers = seen.to_numpy(np.float64)
    return not np.isfinite(numbers).any() or bool(np.nanmin(numbers) <= value <= np.nanmax(numbers))


def _halve(taken: float, refused: float, is_taken: Callable[[float], bool]) -> float:
    """Return the last double from `taken` towards `refused` that is taken: a few questions at a usual end, else 60."""
    good, bad = _place(taken), _place(refused)
    likely = [_place(end) + step for end in USUAL_ENDS for step in (0, -1, 1)]
    while abs(good - bad) > 1:
        first, last = min(good, bad), max(good, bad)
        middle = next((place for place in likely if first < place < last), (good + bad) // 2)
        good, bad = (middle, bad) if is_taken(_double(middle)) else (good, middle)
    return _double(good)


def _halve_whole(taken: float, refused: float, is_taken: Callable[[float], bool]) -> float:
    good, bad = int(taken), int(refused)
    while abs(good - bad) > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if is_taken(middle) else (good, middle)
    return good


def _place(value: float) -> int:
    """Return the number of `value` in the order of all doubles; both zeros are 0."""
    bits = int(np.float64(value).view(np.int64))
    return bits if bits >= 0 else -(bits & int(SIGN))


def _double(place: int) -> float:
    return float(np.int64(abs(place)).view(np.float64)) * (1.0 if place >= 0 else -1.0)


def _shared(fields: list[Field]) -> list[Field]:
    """Return the columns of a matrix with the range that suits all: its tensor has one."""
    lows = [field.low for field in fields if field.low is not None]
    highs = [field.high for field in fields if field.high is not None]
    low, high = max(lows, default=None), min(highs, default=None)
    return [replace(field, low=low, high=high) for field in fields]
