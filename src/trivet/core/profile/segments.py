"""Segments: the rows of each value of one column, counted apart, as far as what was decided and what turned out true goes.

Which values those are is frozen when counting begins, from the reference of the version: so whoever counts finds the same
place for the same value, and counts add up in any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from trivet.core.errors import BundleError
from trivet.core.profile.bins import BooleanBins, CategoryBins, NumericBins, TextBins
from trivet.core.profile.labels import ERROR_SUMS, LabelTable, decision_pairs, error_sums, words_of
from trivet.core.profile.layout import Answers, predicted_of
from trivet.core.profile.profile import Profile
from trivet.core.profile.reference import BINARY, CLASSES, REGRESSION, Reference
from trivet.core.redaction import HIDDEN

MOST_VALUES = 50  # of a column, with a place of their own (living-models.md, section 2)
RANGES = 10  # of about equal count, of a number with more values than that; chosen
SCORE_GROUPS = (
    64  # of neighbouring bins: what they hide of an AUC is a tenth of what chance does to one of 1,000 labels
)
OTHER, MISSING, NOT_KEPT = "other", "missing", "not kept"  # the places after those of the values
LARGEST_WHOLE = 1e15  # of a number that is written with all its digits
DIMENSION_FORMAT = 1
RIGHT, WRONG, ELSEWHERE = range(3)  # what became of a decision among several classes; the last of one without a place


class Dimension(msgspec.Struct, frozen=True, dict=True):
    """A column whose values part the rows.

    Places: its values, then every other one, missing ones, and rows whose inputs were not kept, or are hidden. Of a number
    value b is the range (bounds[b], bounds[b+1]]; of texts there are no bounds. `since` is the nanosecond since 1970 from
    which on predictions are counted by it; 0 where all of the version's are.
    """

    name: str
    values: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    since: int = 0
    format: int = DIMENSION_FORMAT

    @property
    def width(self) -> int:
        """How many places there are."""
        return len(self.values) + 3

    @property
    def titles(self) -> tuple[tuple[str, bool], ...]:
        """Return what each place holds, and whether that is a value of the column."""
        return (*((value, True) for value in self.values), (OTHER, False), (MISSING, False), (NOT_KEPT, False))

    @cached_property
    def _texts(self) -> dict[Any, int]:
        return {value: place for place, value in enumerate(self.values)} | {None: len(self.values) + 1}

    @cached_property
    def _numbers(self) -> np.ndarray:
        return np.array(self.bounds, dtype=np.float64)

    def places(self, values: Any, rows: int) -> np.ndarray:
        """Return the place (rows,) of each of `values`, as `columns_of` gives them; None where they were not kept."""
        if values is None:
            return np.full(rows, self.width - 1)
        if not self.bounds:
            return np.fromiter(map(self._place_of_text, values), np.int64, rows)
        numbers = np.asarray(values, dtype=np.float64)
        places = self._numbers.searchsorted(numbers, side="left") - 1
        known = np.where(places < 0, len(self.values), places)
        return np.where(np.isfinite(numbers), known, len(self.values) + 1)  # a log has no infinity, but null

    def place(self, value: Any) -> int:
        """Return the place of one value as the log has it."""
        if not self.bounds:
            return self._place_of_text(value)
        if isinstance(value, str):  # hidden
            return self.width - 1
        return int(self.places([math.nan if value is None else value], 1)[0])

    def _place_of_text(self, value: Any) -> int:
        place = self._texts.get(value)
        if place is None:
            place = self.width - 1 if str(value).startswith(HIDDEN) else len(self.values)
        return place


def dimension_of(reference: Reference, name: str, *, is_whole: bool, since: int = 0) -> Dimension | None:
    """Return how the values of the column called `name` part rows; None of free texts, and of what the reference has not.

    Of words the commonest fifty of the reference, of a number the values or ranges of its bins, ten where those are more.
    `is_whole` of a column of whole numbers, whose ranges are then called by the numbers that are in them.
    """
    bins = next((one for one in reference.features if one.name == name), None)
    if bins is None or isinstance(bins, TextBins):
        return None
    if isinstance(bins, CategoryBins):
        return Dimension(name, bins.common[:MOST_VALUES], since=since) if bins.common else None
    if isinstance(bins, BooleanBins):
        return Dimension(name, ("false", "true"), (-0.5, 0.5, 1.5), since)
    counts = reference.layout.feature(reference.whole, bins).bins
    if not counts.any():
        return None
    edges = bins.edges if len(counts) <= MOST_VALUES else _ranges(bins, counts)
    ends = tuple(dict.fromkeys((*edges, bins.high)))
    bounds = (math.nextafter(bins.low, -math.inf), *ends)
    return Dimension(name, _titles(bins.low, ends, is_whole=is_whole), bounds, since)


def _ranges(bins: NumericBins, counts: np.ndarray) -> tuple[float, ...]:
    """Return the edges that part the reference's rows into ten ranges of about equal count."""
    shares = np.cumsum(counts)[:-1] / max(int(counts.sum()), 1)
    places = np.searchsorted(shares, np.arange(1, RANGES) / RANGES, side="left")
    return tuple(bins.edges[place] for place in np.unique(np.minimum(places, len(bins.edges) - 1)))


def _titles(low: float, ends: Sequence[float], *, is_whole: bool) -> tuple[str, ...]:
    """Return what the ranges that end with `ends` hold; the first begins with `low`, the others behind the one before."""
    first = _number(low) if ends[0] == low else f"{_number(low)} to {_number(ends[0])}"
    if not is_whole:
        return (first, *(f"over {_number(start)} to {_number(end)}" for start, end in pairwise(ends)))
    whole = ((math.floor(start) + 1, math.floor(end)) for start, end in pairwise(ends))
    return (first, *(f"{start}" if start == end else f"{start} to {end}" for start, end in whole))


def _number(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < LARGEST_WHOLE else f"{value:g}"


class SegmentLayout:
    """Where in a profile and a label table each segment of one dimension is counted.

    Of a profile, at each place: the rows; of two classes those that were not selected, and those that were. Of a label
    table, at each place: of two classes the groups of neighbouring score bins, each not selected and selected, then no
    score, each not true and true, and beside them the sum of the scores; of several classes right, wrong, and what is
    neither; of a regression the sums of its errors.
    """

    def __init__(self, reference: Reference, dimension: Dimension) -> None:
        """Lay out the segments of `dimension`, for what `reference` says is answered."""
        self._reference, self._dimension = reference, dimension
        self._task, self._width = reference.task, dimension.width
        self._sides = 2 if self._task == BINARY else 1
        self._groups = min(SCORE_GROUPS, reference.scores[0].bins) if self._task == BINARY else 0
        self._cells = {BINARY: (2 * self._groups + 1) * 2, CLASSES: 3}.get(self._task, 0)
        self._sums = {BINARY: 1, REGRESSION: ERROR_SUMS}.get(self._task, 0)

    @property
    def empty(self) -> Profile:
        """The profile of no rows."""
        return Profile(0, np.zeros(self._width * self._sides, np.int64), np.zeros(0, np.int64))

    @property
    def empty_labels(self) -> LabelTable:
        """The table of no labels."""
        return LabelTable(0, np.zeros(self._width * self._cells, np.int64), ((0,) * self._sums,) * self._width)

    def fold(self, values: Any, answers: Answers) -> Profile:
        """Return the profile of rows: `values` of the column as `columns_of` gives them, and what was answered."""
        rows = len(answers.decisions)
        cells = self._dimension.places(values, rows)
        if self._task == BINARY:
            cells = cells * 2 + predicted_of(self._reference.scores[0], answers.decisions)
        counts = np.bincount(cells, minlength=self._width * self._sides)
        return Profile(rows, counts, np.zeros(0, np.int64))

    def fold_labels(self, places: Sequence[int], answers: Answers, truths: Sequence[Any]) -> LabelTable:
        """Return the table of `truths` (rows,) of rows at `places`, what turned out true of what `answers` say."""
        at = np.array(places, dtype=np.int64)
        if self._task == BINARY:
            return self._fold_two(at, answers, truths)
        if self._task == CLASSES:
            return self._fold_several(at, answers, truths)
        return self._fold_numbers(at, answers, truths)

    def _fold_two(self, at: np.ndarray, answers: Answers, truths: Sequence[Any]) -> LabelTable:
        bins, numbers = self._reference.scores[0], answers.scores[0]
        scored = bins.places(numbers, predicted_of(bins, answers.decisions))
        groups = np.where(
            scored == bins.width - 1, self._groups * 2, scored // 2 * self._groups // bins.bins * 2 + scored % 2
        )
        true = np.fromiter((word == bins.name for word in words_of(self._reference, truths)), np.int64, len(at))
        cells = (at * (2 * self._groups + 1) + groups) * 2 + true
        sums = [0] * self._width
        for place in np.unique(at).tolist():
            some = at == place
            sums[place] = int(bins.sums(numbers[some], scored[some]).sum())
        counts = np.bincount(cells, minlength=self._width * self._cells)
        return LabelTable(len(truths), counts, tuple((total,) for total in sums))

    def _fold_several(self, at: np.ndarray, answers: Answers, truths: Sequence[Any]) -> LabelTable:
        kinds = np.full(len(at), ELSEWHERE)
        if self._reference.decisions is not None:
            words = words_of(self._reference, truths)
            said, was = decision_pairs(self._reference.decisions, answers.decisions, words)
            common = len(self._reference.decisions.common)
            has_place = (said < common) & (was < common)
            kinds = np.where(has_place, np.where(said == was, RIGHT, WRONG), ELSEWHERE)
        counts = np.bincount(at * 3 + kinds, minlength=self._width * self._cells)
        return LabelTable(len(truths), counts, self.empty_labels.errors)

    def _fold_numbers(self, at: np.ndarray, answers: Answers, truths: Sequence[Any]) -> LabelTable:
        bins, numbers, sums = self._reference.scores[0], answers.scores[0], list(self.empty_labels.errors)
        for place in np.unique(at).tolist():
            some = np.flatnonzero(at == place).tolist()
            sums[place] = error_sums(bins, numbers[some], [truths[row] for row in some])
        return LabelTable(len(truths), np.zeros(0, np.int64), tuple(sums))

    def rows(self, profile: Profile) -> np.ndarray:
        """Return the rows at each place: (width, 1), of two classes not selected and selected, (width, 2)."""
        rows: np.ndarray = profile.cells.reshape(self._width, self._sides)
        return rows

    def by_score(self, table: LabelTable) -> np.ndarray:
        """Return, of two classes, the labels at each place by score, side and truth: (width, groups, 2, 2)."""
        cells = table.cells.reshape(self._width, self._cells)[:, :-2]
        by_score: np.ndarray = cells.reshape(self._width, self._groups, 2, 2)
        return by_score

    def by_outcome(self, table: LabelTable) -> np.ndarray:
        """Return, of several classes, the labels at each place that were right, wrong, or neither: (width, 3)."""
        outcomes: np.ndarray = table.cells.reshape(self._width, 3)
        return outcomes


def encode_dimension(dimension: Dimension) -> bytes:
    """Return `dimension` as msgpack."""
    return msgspec.msgpack.encode(dimension)


def decode_dimension(data: bytes | memoryview) -> Dimension:
    """Return the dimension in `data`; raises `BundleError` for anything else."""
    try:
        dimension = msgspec.msgpack.decode(data, type=Dimension)
    except (msgspec.DecodeError, ValueError) as error:
        raise BundleError(f"the values of a segment cannot be read: {error}") from None
    if dimension.format != DIMENSION_FORMAT:
        raise BundleError(
            f"segment format {dimension.format} is unknown here; this release reads format {DIMENSION_FORMAT}."
        )
    return dimension
