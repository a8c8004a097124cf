"""Moments: sums and products of a reference's numbers, of which it is read later how features move together.

A number is taken in deviations of the reference, from its mean, in whole steps of 1/4096, and one that is missing or not finite
as the mean. So the sums are whole numbers: exact in any order and any sharding, and what was added can be taken away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trivet.core.profile.bins import Bins, NumericBins

MOST_NUMBERS = 64  # features: the first ones that vary; the products are some d² / 2
STEPS = 4096  # of a deviation: a value is at most 0.00013 deviations off
FARTHEST = 10.0  # deviations; what is farther counts as this much, so that no single row outweighs all others
ROWS_AT_ONCE = 64  # chosen: a product this small stays in the processor's cache, and in one thread


class Sums(NamedTuple):
    """What was summed over `rows` rows of d numbers, in deviations: Σz (d,) and Σzzᵀ (d, d), float64."""

    rows: int
    values: np.ndarray
    products: np.ndarray


class Moments:
    """Where in a profile's `moments` what is summed of the features lies: rows, Σz, then the upper triangle of Σzzᵀ."""

    def __init__(self, features: Sequence[Bins]) -> None:
        """Take the first 64 numbers that vary; none where there are fewer than two, which do nothing together."""
        numbers = [bins for bins in features if isinstance(bins, NumericBins) and _varies(bins)]
        kept = numbers[:MOST_NUMBERS] if len(numbers) > 1 else []
        self.names = tuple(bins.name for bins in kept)
        self._means = np.array([bins.mean for bins in kept])[:, np.newaxis]
        self._deviations = np.array([bins.deviation for bins in kept])[:, np.newaxis]
        self._upper = np.triu_indices(len(kept))
        self.width = 1 + len(kept) + len(self._upper[0]) if kept else 0

    def fold(self, columns: Mapping[str, Any]) -> np.ndarray:
        """Return the sums of some rows: (width,) int64; all 0 where one of the features is not given."""
        sums = np.zeros(self.width, dtype=np.int64)
        found = [columns[name] for name in self.names if name in columns]
        if not found or len(found) < len(self.names):
            return sums
        steps = self._steps(np.array(found, dtype=np.float64))
        numbers, rows = steps.shape
        products = np.zeros((numbers, numbers))
        for start in range(0, rows, ROWS_AT_ONCE):
            part = steps[:, start : start + ROWS_AT_ONCE]
            products += part @ part.T  # whole numbers, exact below 2^53: of five million rows that are all farthest off
        sums[0], sums[1 : numbers + 1] = rows, steps.sum(axis=1)
        sums[numbers + 1 :] = products[self._upper]
        return sums

    def read(self, sums: np.ndarray) -> Sums:
        """Return what `sums` (width,), or an empty array, say."""
        numbers = len(self.names)
        products = np.zeros((numbers, numbers))
        if not len(sums):
            return Sums(0, np.zeros(numbers), products)
        products[self._upper] = sums[numbers + 1 :] / STEPS**2
        return Sums(int(sums[0]), sums[1 : numbers + 1] / STEPS, products + np.triu(products, 1).T)

    def _steps(self, values: np.ndarray) -> np.ndarray:
        """Return `values` (d, rows) in whole steps from the mean."""
        known = np.isfinite(values)
        with np.errstate(over="ignore", invalid="ignore"):
            values -= self._means
            values /= self._deviations
            np.clip(values, -FARTHEST, FARTHEST, out=values)
        values *= STEPS
        values[~known] = 0.0
        return np.rint(values, out=values)


def _varies(bins: NumericBins) -> bool:
    """Tell whether the reference had two values at least; rounding alone gives many equal ones a deviation, too."""
    return bins.low < bins.high and bins.deviation > 0.0
