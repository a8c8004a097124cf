"""How right a regression was: its errors, from exact sums that are kept by the hour of the predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from trivet.control.monitoring.estimates import ENOUGH_ROWS, Estimate, Estimates
from trivet.control.monitoring.measures import OF_A_NUMBER
from trivet.control.monitoring.performance import (
    DRAWS,
    ENOUGH_LABELS,
    LEVEL,
    SEED,
    Figure,
    Figures,
    NoFigure,
    not_yet,
    percentiles,
)
from trivet.control.monitoring.truths import shares
from trivet.core.profile.losses import Loss, Sums

EXPECTED = ("mae", "rmse")  # of a regression, without labels
ENOUGH_PARTS = 20  # chosen: fewer hours say too little of how much one differs from another

Interval = tuple[float | None, float | None]


class RegressionSums(NamedTuple):
    """Sums over labelled rows of a regression, of e = prediction − truth and of the truth y, as they are stored.

    `rows`, Σe, Σ|e|, Σe², Σy, Σy²: whole numbers in multiples of `unit` and of its square, hence exact.
    """

    rows: int
    error: int
    absolute: int
    squared: int
    truth: int
    truth_squared: int
    unit: float = 1.0


def realised_regression(parts: Sequence[RegressionSums], *, need: int = ENOUGH_LABELS) -> Figures:
    """Return `mae`, `rmse`, `me` (mean error, positive where predictions are too high) and `r2` of all `parts`.

    The means of errors have normal intervals from their standard errors, of independent rows. For RMSE and R² the sums
    would have to hold higher powers: their intervals are the percentiles of 500 Poisson bootstraps of whole parts, hours
    as a rule, which also allows for rows of one hour that are alike; there is none below twenty parts. R² is a `NoFigure`
    where all truths are the same.
    """
    parts = [part for part in parts if part.rows]
    sums = _total(parts)
    if sums.rows < need or sums.rows <= 0:
        return {name: not_yet(sums.rows, need) for name in OF_A_NUMBER}
    mean_square = sums.squared / sums.rows * sums.unit**2
    of_root, of_determination = _intervals(parts, sums)
    return {
        "mae": _mean_figure(sums.absolute, sums, lowest=0.0),
        "rmse": Figure(math.sqrt(mean_square), *of_root, sums.rows),
        "me": _mean_figure(sums.error, sums, lowest=-math.inf),
        "r2": _determination(sums, of_determination),
    }


def estimated_regression(losses: Sums, loss: Loss, unit: float, *, need: int = ENOUGH_ROWS) -> Estimates:
    """Return the `mae` and `rmse` to be expected of rows, by the sums of what the loss model says of each.

    The mean of the expected errors a, and the root of the mean of the expected squares s. The error of the first is
    √Σ(s − a²) / n; of the second √((κ − 1) Σs²) / n of the mean square, by its slope, with the kurtosis κ that the reference's
    labels had. Assumes no concept drift and independent rows. Fewer than `need` rows make a `NoFigure`.
    """
    rows, absolute, squared, of_absolute, of_squared = losses or (0,) * 5
    if rows < max(need, 1):
        return {name: not_yet(rows, need, "rows whose inputs are kept") for name in EXPECTED}
    root = math.sqrt(squared / rows)
    error_of_square = math.sqrt((loss.kurtosis - 1.0) * of_squared) / rows
    return {
        "mae": Estimate(absolute / rows * unit, math.sqrt(max(squared - of_absolute, 0)) / rows * unit, rows),
        "rmse": Estimate(root * unit, error_of_square / (2 * root) * unit if root else 0.0, rows),
    }


def _total(parts: Sequence[RegressionSums]) -> RegressionSums:
    return RegressionSums(
        sum(part.rows for part in parts),
        sum(part.error for part in parts),
        sum(part.absolute for part in parts),
        sum(part.squared for part in parts),
        sum(part.truth for part in parts),
        sum(part.truth_squared for part in parts),
        parts[0].unit if parts else 1.0,
    )


def _mean_figure(total: int, sums: RegressionSums, lowest: float) -> Figure:
    mean = total / sums.rows * sums.unit
    variance = (
        (sums.rows * sums.squared - total * total) / sums.rows**2 * sums.unit**2
    )  # population form, exact until here
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(variance / sums.rows)
    return Figure(mean, max(lowest, mean - reach), mean + reach, sums.rows)


def _determination(sums: RegressionSums, interval: Interval) -> Figure | NoFigure:
    spread = sums.rows * sums.truth_squared - sums.truth * sums.truth
    if spread <= 0:
        return NoFigure(f"all {sums.rows} truths are the same")
    return Figure(1 - sums.rows * sums.squared / spread, *interval, sums.rows)


def _intervals(parts: Sequence[RegressionSums], total: RegressionSums) -> tuple[Interval, Interval]:
    """Return the intervals of RMSE and R²."""
    if len(parts) < ENOUGH_PARTS:
        return (None, None), (None, None)
    middle = total.truth // total.rows  # truths that are large and close lose no digits about it
    sums = np.array([_about(part, middle) for part in parts], dtype=np.float64)
    weights = np.random.default_rng(SEED).poisson(1.0, (DRAWS, len(parts)))
    rows, squared, truth, truth_squared = (weights @ sums).T
    spread = truth_squared - shares(truth**2, rows)
    return (
        percentiles(np.sqrt(shares(squared, rows)) * total.unit),
        percentiles(1 - shares(squared, spread)),
    )


def _about(part: RegressionSums, middle: int) -> tuple[int, int, int, int]:
    """Return n, Σe², Σ(y − m) and Σ(y − m)² of a part."""
    truth = part.truth - middle * part.rows
    return part.rows, part.squared, truth, part.truth_squared - 2 * middle * part.truth + middle**2 * part.rows
