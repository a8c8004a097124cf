"""The rows of the parity gate: the sample, and rows made to hurt (extremes, missing, unseen, exactly on a threshold)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trivet.model.compile.fields import WORDS, Field, Layout
from trivet.model.compile.graph import Split

MOST_ROWS = 20_000
MOST_SAMPLE_ROWS = 1_000
MOST_THRESHOLD_ROWS = 4_000
MOST_CATEGORY_ROWS = 2_000  # a column
QUANTILES = np.linspace(0.1, 0.9, 9)
EXTREME = 1e30
ABOVE_FLOAT32_INTEGERS = 2**24 + 1
HARD_WORDS = ("an unseen value", "", " ", "ünïcödé 漢字", "x" * 1000)
SEED = 20130701

Change = tuple[str, str, Any]  # kind, field, value


@dataclass(frozen=True)
class GateRows:
    """Rows with the kind of each; the first ones are the sample's, in its order."""

    frame: pd.DataFrame
    kinds: np.ndarray
    sample_rows: int


def gate_rows(layout: Layout, sample: pd.DataFrame, splits: Sequence[Split]) -> GateRows:
    """Return at most 20,000 rows: up to 1,000 of `sample`, then each change alone in a random sample row."""
    sample = sample.head(MOST_SAMPLE_ROWS)
    changes = _at_most(list(_changes(layout, sample)), MOST_ROWS - MOST_THRESHOLD_ROWS - len(sample))
    changes += _at_most(list(_threshold_changes(layout, splits)), MOST_THRESHOLD_ROWS)
    picked = np.random.default_rng(SEED).integers(len(sample), size=len(changes))
    frame = pd.concat([sample, sample.iloc[picked]], ignore_index=True)
    frame = _changed(layout, frame, changes, len(sample))
    kinds = np.array(["sample"] * len(sample) + [kind for kind, _, _ in changes], dtype=object)
    empty = _empty_row(layout, sample)
    if empty is not None:
        frame = pd.concat([frame, empty], ignore_index=True)
        kinds = np.append(kinds, "missing")
    return GateRows(layout.frame({name: frame[name] for name in layout.names}), kinds, len(sample))


def _changes(layout: Layout, sample: pd.DataFrame) -> Iterator[Change]:
    for field in layout.fields:
        if field.datatype == WORDS:
            yield from _word_changes(field)
        elif field.datatype == "BOOL":
            yield from (("categorical", field.name, value) for value in (False, True))
        else:
            yield from _number_changes(field, sample[field.name])


def _number_changes(field: Field, values: pd.Series) -> Iterator[Change]:
    numbers = values.to_numpy(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers):
        for value in (numbers.min(), numbers.max(), *np.quantile(numbers, QUANTILES)):
            yield "numeric", field.name, float(value) if field.datatype == "FP64" else round(float(value))
    yield "numeric", field.name, 0
    yield "numeric", field.name, ABOVE_FLOAT32_INTEGERS
    if field.datatype == "FP64":
        for value in (-0.0, EXTREME, -EXTREME):
            yield "numeric", field.name, value
    if field.nullable:
        yield "missing", field.name, np.nan


def _word_changes(field: Field) -> Iterator[Change]:
    for word in (field.categories or ())[:MOST_CATEGORY_ROWS]:
        yield "categorical", field.name, word
    if field.nullable:
        yield "missing", field.name, field.gap
    if not field.rejects_unknown:
        first = field.categories[0] if field.categories else "a"
        for word in (*HARD_WORDS, first.swapcase(), first + " "):
            yield "unseen", field.name, word


def _threshold_changes(layout: Layout, splits: Sequence[Split]) -> Iterator[Change]:
    fields = {field.name: field for field in layout.fields}
    for split in splits:
        field = fields[split.field]
        if field.datatype in (WORDS, "BOOL"):
            continue
        for value in _beside(split):
            whole = field.datatype == "INT64"
            yield "threshold", field.name, round(value) if whole else value


def _beside(split: Split) -> Iterator[float]:
    """Give each threshold and its neighbours on both sides, as values of the caller's row."""
    for cut in split.thresholds[np.isfinite(split.thresholds)].tolist():
        near = float(np.float32(cut))
        steps = [cut, near, float(np.nextafter(np.float32(cut), -np.inf)), float(np.nextafter(np.float32(cut), np.inf))]
        if not split.rounds_input:
            steps += [float(np.nextafter(cut, -np.inf)), float(np.nextafter(cut, np.inf))]
        for step in steps:
            value = (step - split.offset) / split.scale
            if np.isfinite(value) and abs(value) < EXTREME:
                yield value


def _changed(layout: Layout, frame: pd.DataFrame, changes: list[Change], first: int) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    by_field: dict[str, list[tuple[int, Any]]] = {}
    for number, (_, name, value) in enumerate(changes):
        by_field.setdefault(name, []).append((first + number, value))
    for field in layout.fields:
        values = frame[field.name].to_numpy(object if field.datatype == WORDS else None).copy()
        for place, value in by_field.get(field.name, ()):
            values[place] = value
        columns[field.name] = values
    return layout.frame(columns)


def _empty_row(layout: Layout, sample: pd.DataFrame) -> pd.DataFrame | None:
    if not any(field.nullable for field in layout.fields):
        return None
    columns: dict[str, Any] = {}
    for field in layout.fields:
        gap = field.gap if field.datatype == WORDS else np.nan
        columns[field.name] = [gap] if field.nullable else [sample[field.name].iloc[0]]
    return layout.frame(columns)


def _at_most(changes: list[Change], most: int) -> list[Change]:
    """Return `changes`, or `most` of them spread evenly: no column loses all of its own."""
    if len(changes) <= most:
        return changes
    places = np.unique(np.linspace(0, len(changes) - 1, max(most, 1)).round().astype(int))
    return [changes[place] for place in places.tolist()]
