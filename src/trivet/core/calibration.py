"""From a score to a probability: isotonic calibration as a value, and whether a version needs one.

Used at push, where labelled rows are at hand, and later on profiles: scores are binned as they were, so a map that was
fitted afterwards can be applied to windows whose rows are long gone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec
import numpy as np

from trivet.core import roc

SPLITS = 10  # each row is held out once
GROUPS = 10  # of equal count, over which the calibration error is taken
SEPARATED = 0.999  # an AUC from which on there is nothing to calibrate: next to no bin holds both classes
SEED = 20_100_131  # chosen; which rows are held out together


class Calibration(msgspec.Struct, frozen=True):
    """A map from scores to probabilities that never falls.

    Knots are `x` (scores, ascending) and `y` (probabilities): linear between them, constant below the first and above
    the last. Raises `ValueError` where the knots are no such map.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what is no such map, also one that was read from a file."""
        x, y = np.asarray(self.x, dtype=np.float64), np.asarray(self.y, dtype=np.float64)
        if not len(x) or len(x) != len(y) or not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError("A calibration needs as many finite scores as probabilities, and at least one.")
        if (np.diff(x) <= 0).any() or (np.diff(y) < 0).any() or y[0] < 0 or y[-1] > 1:
            raise ValueError("A calibration needs ascending scores, and probabilities from 0 to 1 that never fall.")

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Return the probabilities of `scores`, float64 in the same shape; NaN stays NaN."""
        return np.asarray(np.interp(np.asarray(scores, dtype=np.float64), self.x, self.y))


class CalibrationChoice(NamedTuple):
    """What `decide_calibration` found: a map or None, and why in words."""

    calibration: Calibration | None
    reason: str


def decide_calibration(scores: np.ndarray, labels: np.ndarray) -> CalibrationChoice:
    """Return a calibration of `scores` if held-out rows come nearer to their labels by it.

    `scores` and `labels` have shape (rows,), labels are 0 and 1; rows without a finite score or label are left out. Ten
    stratified splits, the same for the same data: isotonic regression on nine tenths, read on the last tenth. The map
    of all rows is returned where the calibration error (`calibration_error`, ten groups of equal count) of the held-out
    rows falls. None, with the reason, for fewer than ten rows of a class or an AUC above 0.999.
    """
    scores, labels = _whole_rows(scores, labels)
    unique, place = np.unique(scores, return_inverse=True)
    counts, positives = _by_score(place, labels, len(unique))
    if (too_few := min(positives.sum(), (counts - positives).sum())) < SPLITS:
        return CalibrationChoice(None, f"not yet: {too_few} of {SPLITS} labels of the rarer class")
    if (area := float(roc.area(positives, counts - positives))) > SEPARATED:
        return CalibrationChoice(
            None, f"the scores separate the classes (AUC {area:.4f}): there is nothing to calibrate"
        )
    held_out = _held_out(scores, labels, unique, place)
    before, after = calibration_error(scores, labels), calibration_error(held_out, labels)
    if after < before:
        return CalibrationChoice(
            fit_isotonic(scores, labels),
            f"the calibration error of held-out rows falls from {before:.4f} to {after:.4f}",
        )
    return CalibrationChoice(
        None,
        f"the scores are as good as they are: calibrated, the error of held-out rows is {after:.4f} and not {before:.4f}",
    )


def fit_isotonic(scores: np.ndarray, labels: np.ndarray) -> Calibration:
    """Return the isotonic regression of `labels` (0, 1) on `scores`, both of shape (rows,).

    Rows without a finite score or label are left out. Pool adjacent violators (Ayer and others 1955), on the mean label
    of each distinct score weighted by its rows. Raises `ValueError` without rows.
    """
    scores, labels = _whole_rows(scores, labels)
    unique, place = np.unique(scores, return_inverse=True)
    return _pooled(unique, *_by_score(place, labels, len(unique)))


def calibration_error(scores: np.ndarray, labels: np.ndarray, groups: int = GROUPS) -> float:
    """Return the expected calibration error: the sum over groups of |Σ scores − Σ labels|, over the rows.

    Equal scores stay together.
    """
    unique, place = np.unique(scores, return_inverse=True)
    counts, positives = _by_score(place, labels, len(unique))
    gaps = np.bincount(equal_count_groups(counts, groups), unique * counts - positives)
    return float(np.abs(gaps).sum() / counts.sum()) if len(scores) else math.nan


def equal_count_groups(counts: np.ndarray, groups: int) -> np.ndarray:
    """Return which of `groups` each of the ascending bins of `counts`, (bins,), belongs to: where its middle row falls.

    Bins stay whole, so a group may be larger than the others, or empty.
    """
    counts = np.asarray(counts, dtype=np.float64)
    middle = counts.cumsum() - counts / 2
    group: np.ndarray = np.minimum((middle * groups / max(counts.sum(), 1.0)).astype(np.int64), groups - 1)
    return group


def _whole_rows(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"Scores and labels are one number a row each, not of shapes {scores.shape} and {labels.shape}."
        )
    known = np.isfinite(scores) & np.isfinite(labels)
    scores, labels = scores[known], labels[known]
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("Labels are 0 and 1: whether the class that the score is of was the true one.")
    return scores, labels


def _by_score(place: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how many rows each distinct score has, and how many of them are positive."""
    return np.bincount(place, minlength=size), np.bincount(place[labels == 1], minlength=size)


def _held_out(scores: np.ndarray, labels: np.ndarray, unique: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return each row's calibrated score, by a map that has not seen the row."""
    split = _stratified(labels)
    calibrated = np.empty(len(scores))
    for number in range(SPLITS):
        out = split == number
        counts, positives = _by_score(place[~out], labels[~out], len(unique))
        seen = counts > 0
        calibrated[out] = _pooled(unique[seen], counts[seen], positives[seen]).apply(scores[out])
    return calibrated


def _stratified(labels: np.ndarray) -> np.ndarray:
    """Return a split for each row: of each class the same share in every one, give or take a row."""
    random = np.random.default_rng(SEED)
    split = np.empty(len(labels), dtype=np.int64)
    for label in (0, 1):
        rows = random.permutation(np.flatnonzero(labels == label))
        split[rows] = np.arange(len(rows)) % SPLITS
    return split


def _pooled(scores: np.ndarray, counts: np.ndarray, positives: np.ndarray) -> Calibration:
    """Return the map of blocks; `scores` are ascending, distinct, each with rows.

    Means are compared as whole numbers, hence exactly.
    """
    if not len(scores):
        raise ValueError("There is no row with a finite score and a label: nothing can be calibrated.")
    blocks: list[tuple[int, int, int]] = []  # first place, rows, positives
    for block in zip(range(len(scores)), counts.tolist(), positives.tolist(), strict=True):
        first, rows, good = block
        while blocks and blocks[-1][2] * rows >= good * blocks[-1][1]:
            first, more_rows, more_good = blocks.pop()
            rows, good = rows + more_rows, good + more_good
        blocks.append((first, rows, good))
    ends = [first - 1 for first, _, _ in blocks[1:]] + [len(scores) - 1]
    x: list[float] = []
    y: list[float] = []
    for (first, rows, good), last in zip(blocks, ends, strict=True):
        knots = [first] if first == last else [first, last]  # between them the map is constant
        x += [float(scores[knot]) for knot in knots]
        y += [good / rows] * len(knots)
    return Calibration(tuple(x), tuple(y))
