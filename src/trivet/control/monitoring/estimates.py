"""How right a version probably is before any label comes: confidence-based estimates from the histogram of its scores.

A calibrated score is the probability that the row is positive. So the counts of a window, split by it, are the table of
labels that is to be expected, and every measure of `performance` is read from that. It assumes that the probability of
the truth given the features is what it was when the version was calibrated (no concept drift), which only labels can
tell: `trust` tests it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from trivet.control.monitoring.performance import MEASURES, NoFigure, not_yet
from trivet.control.monitoring.truths import Confusion, Truths, confusion
from trivet.core import roc
from trivet.core.calibration import Calibration

ENOUGH_ROWS = 200  # chosen, as for labels
ENOUGH_CHUNKS = 5  # chosen: the deviation of fewer is off by more than a third
BAND_DEVIATIONS = 3
ROUNDING = 1e-6  # by which single precision may miss a probability of 0 or 1
DRAWS = 500
SEED = 20_130_807  # chosen; the same window has the same sampling error
MEASURED = ("auc", "average_precision", "accuracy", "precision", "recall", "specificity", "f1")
NOT_A_PROBABILITY = "the scores are no probabilities and no calibration says what they mean"


class Estimate(NamedTuple):
    """An expected measure of `rows` rows, and the standard deviation of the realised one by chance alone."""

    value: float
    sampling_error: float | None
    rows: float


Estimates = dict[str, Estimate | NoFigure]


def expected_labels(counts: np.ndarray, score_sums: np.ndarray, calibration: Calibration | None) -> Truths:
    """Return the labels to be expected of a window: `counts` and `score_sums` by bin and predicted class, (bins, 2).

    A cell of n rows with the mean score s holds n·c positives and n·(1 − c) negatives, c = calibration(s), or s itself
    without one. Raises `ValueError` where that is no probability.
    """
    counts, score_sums = np.asarray(counts, dtype=np.float64), np.asarray(score_sums, dtype=np.float64)
    scores = np.where(counts > 0, score_sums / np.where(counts > 0, counts, 1.0), 0.0)
    chances = calibrated(scores, calibration)
    return Truths(counts * chances, counts * (1 - chances), score_sums)


def calibrated(scores: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """Return the chance of being positive, for scores of any shape; raises `ValueError` as `probabilities` does."""
    return probabilities(np.asarray(scores, dtype=np.float64) if calibration is None else calibration.apply(scores))


def probabilities(numbers: np.ndarray) -> np.ndarray:
    """Return `numbers` within 0 and 1, where rounding has put some beyond; raises `ValueError` for one further out, or
    NaN.
    """
    if not ((numbers >= -ROUNDING) & (numbers <= 1 + ROUNDING)).all():
        raise ValueError(NOT_A_PROBABILITY)
    within: np.ndarray = np.clip(numbers, 0.0, 1.0)
    return within


def estimated(
    counts: np.ndarray,
    score_sums: np.ndarray,
    calibration: Calibration | None,
    measures: Iterable[str] = MEASURED,
    *,
    need: int = ENOUGH_ROWS,
) -> Estimates:
    """Return the expected value of each of `measures` in a window, with its sampling error.

    Of ratios it is the ratio of expectations. The error of the accuracy is √(Σ n c(1−c)) / n, those of precision,
    recall, specificity and F1 follow by their slopes (delta method), that of the AUC is DeLong's on expected counts, of
    anything else the deviation over 500 draws of the labels, binomial by cell and the same ones each time. Assumes no
    concept drift, a calibration that holds, independent rows. Fewer than `need` rows, a class that is not expected at
    all or scores that are no probabilities make a `NoFigure`.
    """
    names = list(measures)
    if (rows := float(np.sum(counts))) < need or rows <= 0:
        return {name: not_yet(rows, need, "rows") for name in names}
    try:
        table = expected_labels(counts, score_sums, calibration)
    except ValueError:
        return dict.fromkeys(names, NoFigure(NOT_A_PROBABILITY))
    draws = Draws(table)
    return {name: estimate_of(name, draws, rows) for name in names}


class Draws:
    """The table that is expected of a window, and tables as it may turn out: drawn once, when a measure first asks for them."""

    def __init__(self, table: Truths) -> None:
        """Expect `table`."""
        self.table = table

    @cached_property
    def tables(self) -> Truths:
        """500 tables, (500, bins, 2): the labels of each cell are binomial."""
        counts = np.rint(self.table.counts).astype(np.int64)
        shape = (DRAWS, *counts.shape)
        positives = np.random.default_rng(SEED).binomial(counts, chances_of(self.table), shape)
        return Truths(positives, counts - positives, np.broadcast_to(self.table.score_sums, shape))


def estimate_of(name: str, draws: Draws, rows: float) -> Estimate | NoFigure:
    """Return what a measure of `rows` rows is by what is expected; a `NoFigure` where it has none."""
    value = float(MEASURES[name].of(draws.table))
    if math.isnan(value):
        return NoFigure(MEASURES[name].undefined.format(labels=rows).replace("labels", "expected labels"))
    return Estimate(value, sampling_error(name, draws), rows)


def sampling_error(name: str, draws: Draws) -> float | None:
    """Return the standard deviation of a measure by what is expected; None where it has none."""
    table = draws.table
    if name == "auc":
        error = float(roc.area_error(table.positives.sum(-1), table.negatives.sum(-1)))
        return None if math.isnan(error) else error
    if name in SLOPES:
        of_negative, of_positive = (table.positives * (1 - chances_of(table))).sum(-2)  # Σ n c (1 − c)
        by_found, by_missed = SLOPES[name](confusion(table))
        return math.sqrt(by_found**2 * float(of_positive) + by_missed**2 * float(of_negative))
    values = MEASURES[name].of(draws.tables)
    return float(np.std(values)) if np.isfinite(values).all() else None


def _recall_slopes(c: Confusion) -> tuple[float, float]:
    positives = c.true_positives + c.false_negatives
    return c.false_negatives / positives**2, c.true_positives / positives**2


def _specificity_slopes(c: Confusion) -> tuple[float, float]:
    negatives = c.false_positives + c.true_negatives
    return c.true_negatives / negatives**2, c.false_positives / negatives**2


def _f1_slopes(c: Confusion) -> tuple[float, float]:
    wrong = c.false_positives + c.false_negatives
    both = 2 * c.true_positives
    return (both + 2 * wrong) / (both + wrong) ** 2, both / (both + wrong) ** 2


# By how much a measure moves with one more positive among the rows predicted positive, and among the others.
SLOPES: Mapping[str, Callable[[Confusion], tuple[float, float]]] = {
    "accuracy": lambda c: (1 / c.labels, 1 / c.labels),
    "precision": lambda c: (1 / (c.true_positives + c.false_positives), 0.0),
    "recall": _recall_slopes,
    "specificity": _specificity_slopes,
    "f1": _f1_slopes,
}


def chances_of(table: Truths) -> np.ndarray:
    """Return the expected share of positives of each cell, 0 where it is empty."""
    counts = table.counts
    chances: np.ndarray = np.clip(table.positives / np.where(counts > 0, counts, 1.0), 0.0, 1.0)
    return chances


class Band(NamedTuple):
    """Where a realised measure was, in reference chunks of the window's size: mean ± 3 standard deviations."""

    low: float
    high: float
    mean: float
    deviation: float
    chunks: int

    def holds(self, value: float) -> bool:
        """Return whether `value` is in the band."""
        return self.low <= value <= self.high


def band(values: Sequence[float], *, need: int = ENOUGH_CHUNKS) -> Band | NoFigure:
    """Return the band of the realised measure of reference chunks, by the population deviation.

    Chunks without a value (NaN) do not count.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if len(known) < max(need, 1):
        return not_yet(len(known), need, "reference chunks")
    mean, deviation = float(known.mean()), float(known.std())
    reach = BAND_DEVIATIONS * deviation
    return Band(mean - reach, mean + reach, mean, deviation, len(known))
