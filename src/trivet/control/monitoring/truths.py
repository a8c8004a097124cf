"""What turned out true of a score of a class, as counts by its bins; and the confusion at any threshold.

It is read from what is stored (`truths_of`), and holds what is only expected as well (`estimates`), in fractions of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from trivet.core.profile.labels import LabelTable, confusion as matrix_of, truths_by_score
from trivet.core.profile.profile import Profile
from trivet.core.profile.reference import Reference
from trivet.core.profile.scores import ScoreBins

SCORE_UNIT = (
    2.0**-30
)  # sums of scores are whole multiples of it, so that they are exact in any order: core/profile/scores.py


@dataclass(frozen=True, eq=False)
class Truths:
    """How many rows turned out positive and negative, by bin of the score and by predicted class.

    All arrays have shape (..., bins, 2): bins in ascending order of the score of the positive class, then predicted
    negative, predicted positive. `score_sums` holds the sum of the scores of those rows, in units of the score. Counts
    are whole where rows were counted and fractions where they are expected. Tables add and subtract; a part of a whole
    (what one machine saw of a correction) may hold negative counts, the whole may not.
    """

    positives: np.ndarray
    negatives: np.ndarray
    score_sums: np.ndarray

    def __post_init__(self) -> None:
        """Refuse arrays that are no table."""
        shapes = {self.positives.shape, self.negatives.shape, self.score_sums.shape}
        if len(shapes) > 1 or self.positives.shape[-1:] != (2,):
            raise ValueError("Truths are three arrays of one shape (..., bins, 2).")

    @classmethod
    def empty(cls, bins: int) -> Truths:
        """Return a table without rows: what is added to it stays what it is."""
        return cls(np.zeros((bins, 2), np.int64), np.zeros((bins, 2), np.int64), np.zeros((bins, 2)))

    def __add__(self, other: Truths) -> Truths:
        """Return the table of both."""
        return Truths(
            self.positives + other.positives, self.negatives + other.negatives, self.score_sums + other.score_sums
        )

    def __sub__(self, other: Truths) -> Truths:
        """Return this table without the other, bit for bit what it was before that one was added."""
        return Truths(
            self.positives - other.positives, self.negatives - other.negatives, self.score_sums - other.score_sums
        )

    @cached_property
    def counts(self) -> np.ndarray:
        """Rows by bin and predicted class, (..., bins, 2)."""
        counts: np.ndarray = self.positives + self.negatives
        return counts

    @property
    def labels(self) -> float:
        """How many rows there are."""
        return float(self.counts.sum())

    @cached_property
    def mean_scores(self) -> np.ndarray:
        """The mean score of each cell, (..., bins, 2); 0 where a cell is empty."""
        counts = self.counts
        means: np.ndarray = np.where(counts > 0, self.score_sums / np.where(counts > 0, counts, 1), 0.0)
        return means


class Confusion(NamedTuple):
    """Rows by what was predicted and what was true. Shares are NaN where they are of nothing.

    `in_doubt` counts the rows that may be on the other side of the threshold: those of the bin that it falls into.
    """

    true_positives: float
    false_positives: float
    false_negatives: float
    true_negatives: float
    in_doubt: float = 0.0

    @property
    def labels(self) -> float:
        """All rows."""
        return sum(self[:4])

    @property
    def accuracy(self) -> float:
        """Share of rows that are right."""
        return _share(self.true_positives + self.true_negatives, self.labels)

    @property
    def precision(self) -> float:
        """Share of what was predicted positive that is."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of the positives that was found: the true positive rate."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def false_positive_rate(self) -> float:
        """Share of the negatives that was predicted positive."""
        return _share(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def specificity(self) -> float:
        """Share of the negatives that was left alone."""
        return _share(self.true_negatives, self.false_positives + self.true_negatives)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return _share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def selection_rate(self) -> float:
        """Share of rows that was predicted positive."""
        return _share(self.true_positives + self.false_positives, self.labels)

    @property
    def lift(self) -> float:
        """How many times as many positives are among the predicted ones as among all."""
        return _share(self.precision, _share(self.true_positives + self.false_negatives, self.labels))

    def cost(
        self, false_positive: float, false_negative: float, true_positive: float = 0.0, true_negative: float = 0.0
    ) -> float:
        """Return what a row costs on average, given what each kind of row costs (a gain is negative)."""
        costs = (true_positive, false_positive, false_negative, true_negative)
        return _share(sum(count * cost for count, cost in zip(self[:4], costs, strict=True)), self.labels)


def truths_of(reference: Reference, labels: LabelTable, profile: Profile, number: int = 0) -> Truths:
    """Return the truths of the score with `number` among the reference's: of a binary version the only one.

    `labels` and `profile` are of the same windows, `labels` of all ages that are to count. A row's score is taken as the
    mean of all rows of its bin and side, labelled or not.
    """
    bins = reference.scores[number]
    counts = truths_by_score(reference, labels, number)
    means = mean_scores(bins, *reference.layout.score(profile, number))
    return Truths(counts[..., 1], counts[..., 0], counts.sum(-1) * means)


def scores_of(reference: Reference, profile: Profile, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return how many rows of `profile` were in each bin, and the sum of their scores, by predicted class: (bins, 2) each."""
    bins = reference.scores[number]
    counts, sums = reference.layout.score(profile, number)
    return bins.table(counts), bins.table(sums) * bins.unit


def mean_scores(bins: ScoreBins, counts: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return the mean score of each bin and side, (bins, sides), of what a profile holds; where it is empty, the bin's middle."""
    edges = np.array(bins.edges or (0.0,))
    middles = (np.concatenate([edges[:1], edges]) + np.concatenate([edges, edges[-1:]])) / 2
    means = bins.means(counts, sums)
    filled: np.ndarray = np.where(np.isnan(means), middles[: bins.bins, None], means)
    return filled


def classes_of(reference: Reference, labels: LabelTable) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the confusion matrix of the classes that have a place of their own, and these.

    Rows are decisions, columns truths; the last of both is of every other class together, (classes + 1, classes + 1).
    """
    matrix = matrix_of(reference, labels)
    if matrix is None or reference.decisions is None:
        return np.zeros((1, 1), np.int64), ()
    common = reference.decisions.common
    ends = np.arange(len(common) + 1)
    return np.add.reduceat(np.add.reduceat(matrix, ends, axis=0), ends, axis=1), common


def wrong_of(reference: Reference, labels: LabelTable) -> tuple[int, int]:
    """Return how many were decided otherwise than they turned out, and of how many; 0 of 0 where nothing is decided.

    Of rows that were decided to be of no class with a place of its own, nobody knows which it was: they do not count.
    """
    matrix, _ = classes_of(reference, labels)
    of = int(matrix[:-1].sum())
    return of - int(np.trace(matrix[:-1, :-1])), of


def confusion(table: Truths) -> Confusion:
    """Return the confusion of what the version decided; exact, whatever the bins."""
    positives, negatives = table.positives.sum(-2), table.negatives.sum(-2)
    return Confusion(float(positives[1]), float(negatives[1]), float(positives[0]), float(negatives[0]))


def confusion_at(table: Truths, edges: np.ndarray, threshold: float, unit: float = SCORE_UNIT) -> Confusion:
    """Return the confusion if a score of at least `threshold` were predicted positive.

    `edges` and `unit` are those of the score's bins.

    Cells above and below are exact. Of the bin that holds the threshold, each cell is taken whole, on the side of its
    mean score, and counted as `in_doubt` unless all of it lies on the bin's upper edge. At the version's own threshold
    its cells are on the right sides, so the result is `confusion(table)`. Raises `ValueError` for NaN and infinities.
    """
    if not math.isfinite(threshold):
        raise ValueError(f"A threshold is a finite number, not {threshold}.")
    bins = np.arange(len(edges) + 1)
    holds = int(np.searchsorted(edges, threshold, side="left"))
    counts = table.counts
    selected = np.broadcast_to((bins > holds)[:, None], counts.shape).copy()
    rows, at_most = counts[holds], table.score_sums[holds] + counts[holds] * (unit / 2)  # sums were rounded
    selected[holds] = at_most >= rows * threshold
    doubtful = rows if holds == len(edges) else np.where(at_most >= rows * edges[holds], 0, rows)
    found, wrong = (float(part[selected].sum()) for part in (table.positives, table.negatives))
    missed, spared = (float(part[~selected].sum()) for part in (table.positives, table.negatives))
    return Confusion(found, wrong, missed, spared, float(doubtful.sum()))


@dataclass(frozen=True, eq=False)
class Cuts:
    """The confusion at every place between two bins, as arrays of shape (bins + 1,).

    Cut k predicts positive what is in bin k or above: each score above `edges[k - 1]`. Cut 0 selects all rows, the last
    none. ROC, precision-recall, cost and lift curves are read from it.
    """

    true_positives: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray
    true_negatives: np.ndarray

    @property
    def recall(self) -> np.ndarray:
        """True positive rate; NaN without positives."""
        return shares(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def false_positive_rate(self) -> np.ndarray:
        """False positive rate; NaN without negatives."""
        return shares(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def precision(self) -> np.ndarray:
        """Precision; NaN where nothing is selected."""
        return shares(self.true_positives, self.true_positives + self.false_positives)

    def cost(
        self, false_positive: float, false_negative: float, true_positive: float = 0.0, true_negative: float = 0.0
    ) -> np.ndarray:
        """Return what a row costs on average at each cut."""
        total = (
            self.true_positives * true_positive
            + self.false_positives * false_positive
            + self.false_negatives * false_negative
            + self.true_negatives * true_negative
        )
        return shares(total, self.true_positives + self.false_negatives + self.false_positives + self.true_negatives)


def cuts(table: Truths) -> Cuts:
    """Return the confusion at every cut; exact."""
    positives, negatives = table.positives.sum(-1), table.negatives.sum(-1)
    missed, spared = (np.concatenate([[0], part.cumsum()]) for part in (positives, negatives))
    return Cuts(positives.sum() - missed, negatives.sum() - spared, missed, spared)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, elementwise; NaN where the whole is nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
