"""How right a version was: measures of a table of labels by score, each with an interval and what the bins hide.

Values and functions on NumPy arrays, nothing of Django. The table is all that is needed: any threshold can be looked at
afterwards, and so can what is only expected, as a table of expected counts (`estimates`). Nothing is ever 0 for want of
labels: it is a `NoFigure`, which says what is missing.

Labels are taken as they come. Where one exists only after a positive decision, every figure here is of those rows alone
(selective labels).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from trivet.control.monitoring.truths import SCORE_UNIT, Confusion, Truths, confusion, shares
from trivet.core import roc
from trivet.core.calibration import GROUPS, equal_count_groups

ENOUGH_LABELS = 200  # chosen: a share of one half is then known to ± 0.07
LEVEL = 0.95  # of intervals
DRAWS = 500  # of a bootstrap
SEED = 20_080_915  # chosen; the same table has the same interval
DEFINED_DRAWS = 0.95  # a measure that fewer draws have has no interval


class NoFigure(NamedTuple):
    """Why there is no figure, in words."""

    reason: str

    def __str__(self) -> str:
        return self.reason


def not_yet(have: float, need: int, what: str = "labels") -> NoFigure:
    """Return that there are too few: `not yet: 132 of 200 labels`."""
    return NoFigure(f"not yet: {have:.0f} of {need} {what}")


class Figure(NamedTuple):
    """A measure of `labels` rows: its value, an interval for sampling, and how far off the bins may put it besides.

    `low` and `high` are None where nothing that is known gives an interval, `binning` where nothing bounds it; it is 0
    for what does not depend on the bins.
    """

    value: float
    low: float | None
    high: float | None
    labels: float
    binning: float | None = 0.0


Figures = dict[str, Figure | NoFigure]


class ReliabilityPoint(NamedTuple):
    """A group of neighbouring bins: what the scores said, and what was true with its interval."""

    mean_score: float
    share: float
    low: float
    high: float
    labels: float


def reliability(table: Truths, groups: int = GROUPS) -> list[ReliabilityPoint]:
    """Return at most `groups` points of about equal count, in ascending order of the score; bins stay whole."""
    counts, positives, sums = (part.sum(-1) for part in (table.counts, table.positives, table.score_sums))
    group = equal_count_groups(counts, groups)
    merged = [np.bincount(group, part, minlength=groups) for part in (counts, positives, sums)]
    return [
        ReliabilityPoint(total / rows, good / rows, *wilson(good, rows), rows)
        for rows, good, total in zip(*(part.tolist() for part in merged), strict=True)
        if rows > 0
    ]


def wilson(successes: float, trials: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (Wilson 1927), NaN without trials.

    It assumes independent trials.
    """
    if trials <= 0:
        return math.nan, math.nan
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    reach = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    low, high = max(0.0, centre - reach), min(1.0, centre + reach)
    return (0.0 if successes <= 0 else low), (1.0 if successes >= trials else high)


class Measure(NamedTuple):
    """One way to say how right. `of` and `binning` take tables with any leading axes."""

    of: Callable[[Truths], np.ndarray]
    undefined: str  # why there may be none
    binning: Callable[[Truths], np.ndarray] | None  # by how much the bins may be wrong at most; None: not known
    proportion: Callable[[Confusion], tuple[float, float]] | None = None  # successes, trials


def _of_bins(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[Truths], np.ndarray]:
    return lambda table: function(_either(table.positives), _either(table.negatives))


def _accuracy(table: Truths) -> np.ndarray:
    return shares(_decided(table.positives, 1) + _decided(table.negatives, 0), table.counts.sum((-2, -1)))


def _precision(table: Truths) -> np.ndarray:
    return shares(_decided(table.positives, 1), _decided(table.counts, 1))


def _recall(table: Truths) -> np.ndarray:
    return shares(_decided(table.positives, 1), table.positives.sum((-2, -1)))


def _specificity(table: Truths) -> np.ndarray:
    return shares(_decided(table.negatives, 0), table.negatives.sum((-2, -1)))


def _f1(table: Truths) -> np.ndarray:
    both = 2 * _decided(table.positives, 1)
    return shares(both, both + _decided(table.negatives, 1) + _decided(table.positives, 0))


def _brier(table: Truths) -> np.ndarray:
    """Mean squared error of the bins' mean scores."""
    score = table.mean_scores
    return shares(
        (table.positives * (1 - score) ** 2 + table.negatives * score**2).sum((-2, -1)), table.counts.sum((-2, -1))
    )


def _log_loss(table: Truths) -> np.ndarray:
    """Mean negative log-likelihood of mean scores, in nats; a score of 0 or 1 counts as half a unit of the sums."""
    score = np.clip(table.mean_scores, SCORE_UNIT / 2, 1 - SCORE_UNIT / 2)
    return shares(
        -(table.positives * np.log(score) + table.negatives * np.log1p(-score)).sum((-2, -1)),
        table.counts.sum((-2, -1)),
    )


def _calibration_error(table: Truths) -> np.ndarray:
    """Expected calibration error over ten groups of bins: over single bins of a few rows each it would measure noise."""
    counts, gaps = _either(table.counts), _either(table.score_sums - table.positives)
    group = equal_count_groups(counts.reshape(-1, counts.shape[-1]).sum(0), GROUPS)
    of_groups = [np.abs(gaps[..., group == number].sum(-1)) for number in range(GROUPS)]
    return shares(np.sum(of_groups, axis=0), counts.sum(-1))


def _either(counts: np.ndarray) -> np.ndarray:
    """Return what was predicted negative and positive together: `counts.sum(-1)`, which of two takes NumPy ten times as long."""
    both: np.ndarray = counts[..., 0] + counts[..., 1]
    return both


def _exact(table: Truths) -> np.ndarray:
    return np.zeros(table.positives.shape[:-2])


def _decided(counts: np.ndarray, predicted: int) -> np.ndarray:
    total: np.ndarray = counts[..., predicted].sum(-1)
    return total


ONE_CLASS = "all {labels:.0f} labels are of one class"
NO_POSITIVE = "none of {labels:.0f} labels is positive"
MEASURES: Mapping[str, Measure] = {
    "auc": Measure(_of_bins(roc.area), ONE_CLASS, _of_bins(roc.area_binning_bound)),
    "average_precision": Measure(
        _of_bins(roc.average_precision), NO_POSITIVE, _of_bins(roc.average_precision_binning_bound)
    ),
    "accuracy": Measure(_accuracy, "no labels", _exact, lambda c: (c.true_positives + c.true_negatives, c.labels)),
    "precision": Measure(
        _precision,
        "none of {labels:.0f} rows was predicted positive",
        _exact,
        lambda c: (c.true_positives, c.true_positives + c.false_positives),
    ),
    "recall": Measure(_recall, NO_POSITIVE, _exact, lambda c: (c.true_positives, c.true_positives + c.false_negatives)),
    "specificity": Measure(
        _specificity,
        "none of {labels:.0f} labels is negative",
        _exact,
        lambda c: (c.true_negatives, c.true_negatives + c.false_positives),
    ),
    "f1": Measure(_f1, "none of {labels:.0f} rows is positive, in truth or as predicted", _exact),
    "brier": Measure(_brier, "no labels", None),
    "log_loss": Measure(_log_loss, "no labels", None),
    "calibration_error": Measure(_calibration_error, "no labels", None),
}


def realised(table: Truths, measures: Iterable[str] = tuple(MEASURES), *, need: int = ENOUGH_LABELS) -> Figures:
    """Return each of `measures` (names of `MEASURES`) of what turned out true, with 95 % intervals.

    Proportions have Wilson's interval, the AUC that of DeLong, everything else the 2.5 and 97.5 percentiles of 500
    Poisson bootstraps of the table's cells, the same ones each time. All assume that rows are independent. With fewer
    than `need` labels every one is a `NoFigure`, and so is one that is not defined.
    """
    names = list(measures)
    if (labels := table.labels) < need:
        return {name: not_yet(labels, need) for name in names}
    draws = _Draws(table)
    return {name: _figure(name, table, draws) for name in names}


def _figure(name: str, table: Truths, draws: _Draws) -> Figure | NoFigure:
    measure, labels = MEASURES[name], table.labels
    value = float(measure.of(table))
    if math.isnan(value):
        return NoFigure(measure.undefined.format(labels=labels))
    binning = float(measure.binning(table)) if measure.binning else None
    if measure.proportion:
        return Figure(value, *wilson(*measure.proportion(confusion(table))), labels, binning)
    if name == "auc":
        return area_figure(table.positives.sum(-1), table.negatives.sum(-1))
    return Figure(value, *draws.interval(measure), labels, binning)


def area_figure(positives: np.ndarray, negatives: np.ndarray, *, need: int = 0) -> Figure | NoFigure:
    """Return the AUC of labels by bin, (bins,) each; none with fewer than `need` labels, or of one class alone."""
    if (labels := float(positives.sum() + negatives.sum())) < need:
        return not_yet(labels, need)
    value = float(roc.area(positives, negatives))
    if math.isnan(value):
        return NoFigure(ONE_CLASS.format(labels=labels))
    binning = float(roc.area_binning_bound(positives, negatives))
    return Figure(value, *area_interval(positives, negatives), labels, binning)


def area_interval(
    positives: np.ndarray, negatives: np.ndarray, level: float = LEVEL
) -> tuple[float | None, float | None]:
    """Return a normal interval of the AUC from its DeLong error, within 0 and 1; None below two rows of a class.

    Where no pair is out of order the error is 0, which is the sample's and not the truth's: then it is Wilson's, of as
    many trials as the rarer class has rows.
    """
    value, error = float(roc.area(positives, negatives)), float(roc.area_error(positives, negatives))
    if math.isnan(error):
        return None, None
    if error == 0:
        rarer = float(min(positives.sum(), negatives.sum()))
        return wilson(value * rarer, rarer, level)
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    return max(0.0, value - reach), min(1.0, value + reach)


class _Draws:
    """Tables as they might have been: each cell Poisson with its count as mean. Drawn once, when first asked for."""

    def __init__(self, table: Truths) -> None:
        self._table = table

    def interval(self, measure: Measure) -> tuple[float | None, float | None]:
        return percentiles(measure.of(self._without_bins if measure.binning is _exact else self._by_bin))

    @cached_property
    def _by_bin(self) -> Truths:
        return _resampled(self._table)

    @cached_property
    def _without_bins(self) -> Truths:
        """The same in law for what does not look at bins, and hundreds of times quicker."""
        parts = (self._table.positives, self._table.negatives, self._table.score_sums)
        return _resampled(Truths(*(part.sum(-2, keepdims=True) for part in parts)))


def _resampled(table: Truths) -> Truths:
    random = np.random.default_rng(SEED)
    shape = (DRAWS, *table.positives.shape)
    positives, negatives = random.poisson(table.positives, shape), random.poisson(table.negatives, shape)
    return Truths(positives, negatives, table.mean_scores * (positives + negatives))


def percentiles(values: np.ndarray, level: float = LEVEL) -> tuple[float | None, float | None]:
    """Return the middle `level` of draws, (draws,); None where more than one in twenty has no value."""
    defined = values[np.isfinite(values)]
    if len(defined) < DEFINED_DRAWS * len(values):
        return None, None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def accuracy_figure(right: float, labels: float, *, need: int = ENOUGH_LABELS) -> Figure | NoFigure:
    """Return the share of `labels` that were `right`, with Wilson's interval; none with fewer than `need`."""
    if labels < need or labels <= 0:
        return not_yet(labels, need)
    return Figure(right / labels, *wilson(right, labels), labels)
