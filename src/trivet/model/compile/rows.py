"""The rows of the parity gate: the sample, and rows made to hurt (extremes, missing, unseen, exactly on a threshold)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from trivet.model.compile.fields import WORDS, Field, Layout

if TYPE_CHECKING:
    from trivet.model.compile.graph import Split

MOST_ROWS = 20_000
MOST_CELLS = 20_000_000  # so that wide models take 160 MB, not 650
MOST_SAMPLE_ROWS = 1_000
MOST_THRESHOLDS = 4_000  # spread evenly over columns
MOST_CATEGORY_ROWS = 2_000  # a column
QUANTILES = np.linspace(0.1, 0.9, 9)
EVENLY = 12  # values spread between the smallest and the largest
EXTREME = 1e30
ABOVE_FLOAT32_INTEGERS = 2**24 + 1
HARD_WORDS = ("an unseen value", "", " ", "ünïcödé 漢字", "x" * 1000)
TEXTS = ("the of and a", "again again again", "mixed смешанный 混合 text")  # only stop words, repeated, several scripts
SEED = 20130701
MOST_OF_INT64 = 2**63
ROWS_OF_THE_WIDEST = 2_000

Change = tuple[str, str, Any]  # kind, field, value


@dataclass(frozen=True)
class GateRows:
    """Rows with the kind of each; the first ones are the sample's, in its order."""

    frame: pd.DataFrame
    kinds: np.ndarray
    sample_rows: int
    left_out: int = 0  # rows that would have been too many


def gate_rows(layout: Layout, sample: pd.DataFrame, splits: Sequence[Split]) -> GateRows:
    """Return at most 20,000 rows: up to 1,000 of `sample`, then each change alone in a random sample row.

    No change is made twice, and none that the signature refuses.
    """
    most = min(MOST_ROWS, max(MOST_CELLS // len(layout.fields), ROWS_OF_THE_WIDEST))
    sample = spread(sample, min(MOST_SAMPLE_ROWS, most // 2))
    others, cuts = _distinct(_changes(layout, sample)), _distinct(_threshold_changes(layout, splits))
    room = most - len(sample) - 1
    changes = _at_most(others, max(room // 2, room - len(cuts)))
    changes += _at_most(cuts, room - len(changes))
    picked = np.random.default_rng(SEED).integers(len(sample), size=len(changes))
    frame = pd.concat([sample, sample.iloc[picked]], ignore_index=True)
    frame = _changed(layout, frame, changes, len(sample))
    kinds = np.array(["sample"] * len(sample) + [kind for kind, _, _ in changes], dtype=object)
    empty = _empty_row(layout, sample)
    if empty is not None:
        frame = pd.concat([frame, empty], ignore_index=True)
        kinds = np.append(kinds, "missing")
    left_out = len(others) + len(cuts) - len(changes)
    return GateRows(layout.frame({name: frame[name] for name in layout.names}), kinds, len(sample), left_out)


def spread(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return `frame`, or `most` of its rows spread evenly in their order: its first rows may be one day's."""
    return frame if len(frame) <= most else frame.iloc[places(len(frame), most)].reset_index(drop=True)


def places(count: int, most: int) -> np.ndarray:
    """Return the places of at most `most` of `count` things, the first and the last among them: (places,) int64."""
    return np.unique(np.linspace(0, count - 1, min(max(most, 1), count)).round().astype(np.int64))


def _distinct(changes: Iterator[Change]) -> list[Change]:
    """Return `changes` without those that put the same value into the same field; -0.0 and 0.0 are two."""
    seen: dict[tuple[str, str], Change] = {}
    for change in changes:
        _, name, value = change
        seen.setdefault((name, repr(value)), change)
    return list(seen.values())


def _changes(layout: Layout, sample: pd.DataFrame) -> Iterator[Change]:
    for field in layout.fields:
        if field.datatype == WORDS:
            yield from _word_changes(field, sample[field.name])
        elif field.datatype == "BOOL":
            yield from (("categorical", field.name, value) for value in (False, True))
        else:
            yield from _number_changes(field, sample[field.name])


def _number_changes(field: Field, values: pd.Series) -> Iterator[Change]:
    is_whole = field.datatype == "INT64"
    for value in extremes(field, values):
        if field.takes(value):
            yield "numeric", field.name, int(value) if is_whole else value
    if field.nullable:
        yield "missing", field.name, np.nan


def extremes(field: Field, values: pd.Series) -> list[float]:
    """Return numbers to try in `field`: the ends and quantiles of `values`, zeros, and far beyond what was seen."""
    numbers = values.to_numpy(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    inside = []
    if len(numbers):
        low, high = numbers.min(), numbers.max()
        between = np.linspace(low, high, EVENLY)  # where codes of categories have gaps
        inside = [low, high, *np.quantile(numbers, QUANTILES).tolist(), *between.tolist()]
    if field.datatype == "INT64":
        beside = [int(numbers.min()) - 1, int(numbers.max()) + 1] if len(numbers) else []
        return [*map(round, inside), *beside, 0, ABOVE_FLOAT32_INTEGERS]
    return [*map(float, inside), 0.0, -0.0, ABOVE_FLOAT32_INTEGERS, EXTREME, -EXTREME]


def _word_changes(field: Field, values: pd.Series) -> Iterator[Change]:
    for word in (field.categories or ())[:MOST_CATEGORY_ROWS]:
        yield "categorical", field.name, word
    if field.nullable:
        yield "missing", field.name, field.gap
    if not field.rejects_unknown:
        first = next(iter(field.categories or values.dropna()), "a")
        for word in (*HARD_WORDS, *TEXTS, first.swapcase(), first + " "):
            yield "unseen", field.name, word


def _threshold_changes(layout: Layout, splits: Sequence[Split]) -> Iterator[Change]:
    fields = {field.name: field for field in layout.fields}
    splits = [split for split in splits if fields[split.field].datatype not in (WORDS, "BOOL")]
    for split in _evenly(splits):
        field = fields[split.field]
        for value in _beside(split):
            for cut in (math.floor(value), math.ceil(value)) if field.datatype == "INT64" else (value,):
                if field.takes(cut) and (field.datatype != "INT64" or abs(cut) < MOST_OF_INT64):
                    yield split.kind, field.name, cut


def _evenly(splits: Sequence[Split]) -> list[Split]:
    """Return `splits` with at most 4,000 thresholds: no column has many more than another that would have them too."""
    left, columns = MOST_THRESHOLDS, len(splits)
    kept = []
    for split in sorted(splits, key=lambda split: len(split.thresholds)):
        cuts = split.thresholds[np.isfinite(split.thresholds)]
        share = max(left // columns, 1)
        some = places(len(cuts), share)
        kept.append(replace(split, thresholds=cuts[some]))
        left, columns = left - len(some), columns - 1
    return kept


def _beside(split: Split) -> Iterator[float]:
    """Give each threshold and its neighbours on both sides, as values of the caller's row."""
    for cut in split.thresholds.tolist():
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
    return [changes[place] for place in places(len(changes), most).tolist()]
