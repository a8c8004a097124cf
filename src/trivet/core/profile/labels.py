"""The label table: what turned out true, by the score and the decision it was true of. A correction is exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np

from trivet.core.decisions import in_words
from trivet.core.errors import BundleError
from trivet.core.profile import sparse
from trivet.core.profile.bins import CategoryBins
from trivet.core.profile.layout import Answers, predicted_of, word_of
from trivet.core.profile.profile import UNREADABLE
from trivet.core.profile.scores import MOST, ScoreBins

LABEL_TABLE_FORMAT = 2
READ_FORMATS = (1, 2)  # the first has lists of numbers
ERROR_SUMS = 6  # labels, Σe, Σ|e|, Σe², Σy, Σy² of a regression, e = prediction - truth
BARE = frozenset(("true", "1", "false", "0"))  # yes and no, as languages write them
_SAME = {"true": "1", "false": "0"}
YES, NO = frozenset(("true", "yes", "on", "positive")), frozenset(("false", "no", "off", "negative", "0"))
PAIRS = frozenset((("1", "-1"), ("y", "n"), ("t", "f")))  # of which one says little without the other


class Answered(Protocol):
    """Of a reference, the bins that answers are counted in."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of a classification."""

    @property
    def decisions(self) -> CategoryBins | None:
        """Where decisions are counted."""

    @property
    def scores(self) -> tuple[ScoreBins, ...]:
        """Where scores are counted."""


@dataclass(frozen=True, eq=False)
class LabelTable:
    """What turned out true of `labels` predictions.

    `cells` (places,) int64: for each score of a class, at each of its places, how often the class was not true and how often it
    was; then how often each decision met each truth. `errors`: for each score of a regression, six whole numbers. The table of
    a dimension's segments holds other cells, and sums for each segment (`SegmentLayout`).
    """

    labels: int
    cells: np.ndarray
    errors: tuple[tuple[int, ...], ...]

    def __add__(self, other: LabelTable) -> LabelTable:
        """Return the table of the labels of both."""
        return LabelTable(self.labels + other.labels, self.cells + other.cells, _summed(self.errors, other.errors, 1))

    def __sub__(self, other: LabelTable) -> LabelTable:
        """Return the table without the labels of `other`, which were among them."""
        return LabelTable(self.labels - other.labels, self.cells - other.cells, _summed(self.errors, other.errors, -1))

    def __eq__(self, other: object) -> bool:
        """Tell whether both hold the same."""
        return (
            isinstance(other, LabelTable)
            and (self.labels, self.errors) == (other.labels, other.errors)
            and np.array_equal(self.cells, other.cells)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have none


def empty_labels(reference: Answered) -> LabelTable:
    """Return the table of no labels."""
    return LabelTable(0, np.zeros(_width(reference), np.int64), ((0,) * ERROR_SUMS,) * _regressions(reference))


def fold_labels(reference: Answered, answers: Answers, truths: Sequence[Any]) -> LabelTable:
    """Return the table of `truths` (rows,), what turned out true of what `answers` say: a class, a yes or no, or a number."""
    cells, errors = [], []
    words = words_of(reference, truths)
    for bins, numbers in zip(reference.scores, answers.scores, strict=True):
        if bins.is_of_class:
            places = bins.places(numbers, predicted_of(bins, answers.decisions))
            true = np.fromiter((word == bins.name for word in words), np.int64, len(truths))
            cells.append(np.bincount(places * 2 + true, minlength=bins.width * 2))
        else:
            errors.append(error_sums(bins, numbers, truths))
    if reference.decisions is not None:
        width = reference.decisions.width
        said, was = decision_pairs(reference.decisions, answers.decisions, words)
        cells.append(np.bincount(said * width + was, minlength=width * width))
    return LabelTable(len(truths), np.concatenate(cells) if cells else np.zeros(0, np.int64), tuple(errors))


def words_of(reference: Answered, truths: Sequence[Any]) -> list[str]:
    """Return what turned out true in words: of a classification the class that is meant."""
    if reference.classes:
        return [class_of(truth, reference.classes) for truth in truths]
    return [in_words(truth) for truth in truths]


def decision_pairs(bins: CategoryBins, decisions: Sequence[str], words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the places (rows,) of `decisions`, and of what turned out true of them as `words_of` says."""
    was = [bins.place(word if word in bins.common else word_of(word)) for word in words]
    return np.array([bins.place(word) for word in decisions], np.int64), np.array(was, np.int64)


def error_sums(bins: ScoreBins, numbers: np.ndarray, truths: Sequence[Any]) -> tuple[int, ...]:
    """Return the six sums of a regression's errors, in units of the score's bins and their squares.

    A label that is no number counts in none.
    """
    sums = [0] * ERROR_SUMS
    most = MOST * bins.unit  # what is larger counts as this much
    for number, truth in zip(numbers.tolist(), truths, strict=True):
        if isinstance(truth, bool) or not isinstance(truth, int | float) or truth != truth or not math.isfinite(number):  # noqa: PLR0124
            continue
        said, was = (round(min(max(value, -most), most) / bins.unit) for value in (number, truth))
        error = said - was
        for place, value in enumerate((1, error, abs(error), error * error, was, was * was)):
            sums[place] += value
    return tuple(sums)


def truths_by_score(reference: Answered, table: LabelTable, number: int) -> np.ndarray:
    """Return, of the score of a class with `number`, how often it was not true and was: (bins, sides, 2) int64."""
    starts = np.cumsum([0, *(bins.width * 2 for bins in reference.scores)])
    bins = reference.scores[number]
    cells = table.cells[starts[number] : starts[number] + bins.width * 2].reshape(bins.width, 2)
    by_score: np.ndarray = cells[:-1].reshape(bins.bins, bins.sides, 2)
    return by_score


def confusion(reference: Answered, table: LabelTable) -> np.ndarray | None:
    """Return how often each decision (rows) met each truth (columns), in the places of the reference's decisions."""
    if reference.decisions is None:
        return None
    width = reference.decisions.width
    matrix: np.ndarray = table.cells[-width * width :].reshape(width, width)
    return matrix


def count_meaningless(reference: Answered, table: LabelTable) -> int:
    """Return how many labels of `table` are none of the classes or, of one regression, no number.

    Of more classes than have a place of their own nobody can tell, and of several regressions; then it is 0.
    """
    met = confusion(reference, table)
    if (
        met is not None
        and reference.decisions is not None
        and set(reference.classes) <= set(reference.decisions.common)
    ):
        return int(met[:, len(reference.decisions.common) :].sum()) if reference.classes else 0
    return table.labels - table.errors[0][0] if len(table.errors) == 1 else 0


def class_of(truth: Any, classes: Sequence[str]) -> str:
    """Return the one of `classes` that `truth` means, or its words where it means none.

    It may come as its sender's language writes it: true, 1, "1" and "True" mean the same. Of two classes that is the one that is
    called so (`place_of_yes`), and otherwise the second, which is a guess: whoever takes labels from people refuses it.
    """
    words = in_words(truth)
    if words in classes:
        return words
    plain = _plain(words)
    for name in classes:
        if _plain(name) == plain:
            return name
    if len(classes) == 2 and plain in ("0", "1"):
        place = place_of_yes(classes)
        return classes[(1 if place is None else place) if plain == "1" else (0 if place is None else 1 - place)]
    return words


def is_guess(truth: Any, classes: Sequence[str]) -> bool:
    """True where a bare yes or no means one of two `classes` by their order alone: no name bears it out."""
    words = in_words(truth).casefold()
    if len(classes) != 2 or words not in BARE or words in map(str.casefold, classes):
        return False
    return place_of_yes(classes) is None


def place_of_yes(classes: Sequence[str]) -> int | None:
    """Return which of two classes a bare yes means: the one called so, or the one beside a no; None where no name says it."""
    plain = [name.casefold() for name in classes]
    for place in (1, 0):
        name, other = plain[place], plain[1 - place]
        if name in YES or other in NO or (name, other) in PAIRS:
            return place
    return None


def encode_labels(table: LabelTable) -> bytes:
    """Return `table` as msgpack; sums may be larger than its integers, so they travel as text."""
    errors = [list(map(str, sums)) for sums in table.errors]
    return msgspec.msgpack.encode([LABEL_TABLE_FORMAT, table.labels, sparse.sparse(table.cells), errors])


def decode_labels(data: bytes | memoryview) -> LabelTable:
    """Return the table in `data`; raises `BundleError` for anything else."""
    read = read_labels(data)
    try:
        return LabelTable(read.labels, sparse.dense(read.cells), tuple(tuple(map(int, sums)) for sums in read.errors))
    except UNREADABLE as error:
        raise unreadable(error) from None


def read_labels(data: bytes | memoryview) -> Encoded:
    """Return what `data` holds as it is encoded, with its places still in gaps; raises `BundleError` for what is no table."""
    try:
        read = msgspec.msgpack.decode(data, type=Encoded)
    except UNREADABLE as error:
        raise unreadable(error) from None
    if read.format not in READ_FORMATS:
        raise BundleError(
            f"label table format {read.format} is unknown here; this release reads formats 1 to {LABEL_TABLE_FORMAT}."
        )
    return read


def unreadable(error: Exception) -> BundleError:
    """Return what is to be raised where the bytes of a label table are none."""
    return BundleError(f"a label table cannot be read: {error}")


class Encoded(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What a label table is as msgpack."""

    format: int
    labels: int
    cells: sparse.Sparse
    errors: list[list[str]]


def _plain(words: str) -> str:
    folded = words.casefold()
    return _SAME.get(folded, folded)


def _summed(
    one: tuple[tuple[int, ...], ...], other: tuple[tuple[int, ...], ...], sign: int
) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(a + sign * b for a, b in zip(x, y, strict=True)) for x, y in zip(one, other, strict=True))


def _width(reference: Answered) -> int:
    decisions = reference.decisions.width**2 if reference.decisions is not None else 0
    return sum(bins.width * 2 for bins in reference.scores if bins.is_of_class) + decisions


def _regressions(reference: Answered) -> int:
    return sum(not bins.is_of_class for bins in reference.scores)
