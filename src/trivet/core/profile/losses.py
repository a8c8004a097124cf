"""Losses: how wrong a regression probably was, row by row, as exact sums beside the counts; and what its loss model is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from trivet.core.profile.bins import Bins, CategoryBins, TextBins
from trivet.core.profile.scores import MOST

LOSS_SUMS = 5  # rows, Σa, Σs, Σa², Σs², of the expected absolute error a and the expected squared error s
LEAST_LABELS = 2_000  # of the sample's rows: of fewer, nothing is learned of errors (living-models.md, section 6.2)

FEW, SLOW, FAILED, TOOLS = "few", "slow", "failed", "tools"
WHY_NONE: Mapping[str, str] = {
    FEW: f"a model of its errors takes {LEAST_LABELS:,} rows with labels",
    SLOW: "to learn its errors took too long",
    FAILED: "no model of its errors passed the gates",
    TOOLS: "its environment lacks what learns errors",
}
"""Why a version with labels has no loss model, by the word that its reference keeps."""

Sums = tuple[int, ...]


class Loss(msgspec.Struct, frozen=True):
    """What is known of a version's loss model: by rows that it had not seen, each estimated by one that was learned from others.

    `explained` is the share of the variance of absolute errors that it tells, below 0 where it tells none; `kurtosis` is the mean
    of e⁴ over that of the square of what it expects of e², at least 1: by it follows what chance does to an RMSE.
    """

    rows: int  # it was learned from
    explained: float
    kurtosis: float

    def line(self) -> str:
        """Return it in words."""
        return f"errors expected by {self.rows:,} of them, {max(self.explained, 0.0):.0%} told by the inputs"


def loss_inputs(features: Sequence[Bins], columns: Mapping[str, Any], predictions: np.ndarray) -> np.ndarray | None:
    """Return what a loss model is given of some rows: a column for each of `features`, and the prediction, (rows, n + 1) float64.

    Numbers as they are, NaN for what is none; categories by their place among the reference's, texts by their length. None where
    a feature is not in `columns`, as those of inputs that were not kept, or are sensitive meanwhile.
    """
    if any(bins.name not in columns for bins in features):
        return None
    numbers = [*(_numbers(bins, columns[bins.name]) for bins in features), predictions]
    matrix = np.stack(numbers, axis=1).astype(np.float64, copy=False)
    return np.where(np.isfinite(matrix), matrix, np.nan)


def loss_sums(absolute: np.ndarray, squared: np.ndarray, unit: float) -> Sums:
    """Return the five sums of what is expected of some rows, (rows,) each, in multiples of `unit` and of its powers.

    Whole numbers, hence exact in any order. A row of which nothing finite is expected is in none; an expected square is at least
    that of the expected error.
    """
    known = np.isfinite(absolute) & np.isfinite(squared)
    errors = np.rint(np.clip(absolute[known] / unit, 0.0, MOST))
    squares = np.rint(np.clip(squared[known] / unit / unit, errors**2, MOST**2))
    whole, of_squares = list(map(int, errors.tolist())), list(map(int, squares.tolist()))
    return (
        len(whole),
        sum(whole),
        sum(of_squares),
        sum(number * number for number in whole),
        sum(number * number for number in of_squares),
    )


def are_sums(losses: Sums, rows: int) -> bool:
    """Tell whether `losses` may be the sums of at most `rows` rows."""
    if not losses:
        return True
    if len(losses) != LOSS_SUMS or min(losses) < 0:
        return False
    known, absolute, squared, of_absolute, of_squared = losses
    return (
        known <= rows
        and absolute**2 <= known * of_absolute
        and of_absolute <= squared
        and squared**2 <= known * of_squared <= known**2 * int(MOST) ** 4
    )


def _numbers(bins: Bins, values: Any) -> np.ndarray:
    if isinstance(bins, CategoryBins):
        return np.array([np.nan if value is None else bins.place(value) for value in values], dtype=np.float64)
    if isinstance(bins, TextBins):
        return np.array([np.nan if value is None else len(value) for value in values], dtype=np.float64)
    return np.asarray(values, dtype=np.float64)
