"""Score bins: where the numbers a model answers with are counted, and beside each count the exact sum of the numbers."""

from __future__ import annotations

import math
from functools import cached_property

import msgspec
import numpy as np

from trivet.core.profile.bins import Edges, quantile_edges

BINARY_BINS = 512  # misplace AUC by 4e-5 where 1 % are positive (living-models.md, section 2)
OTHER_BINS = 256  # of each class among several, and of a regression
SUM_BITS = 30  # of the largest number of the reference, so that sums are whole numbers and exact in any order
MOST = 2.0**33  # of a number in those units; what is larger counts as this much


class ScoreBins(msgspec.Struct, frozen=True, dict=True):
    """Quantile bins of one score, each twice where a class may be predicted or not.

    Places: bin 0 not predicted, bin 0 predicted, bin 1 not predicted, ..., then missing. Of a regression: the bins, missing.
    `name` is the class the score is of, or the output.
    """

    name: str
    edges: Edges
    unit: float  # sums are in multiples of it
    is_of_class: bool = True

    @property
    def bins(self) -> int:
        """How many bins there are, whatever is predicted."""
        return len(self.edges) + 1

    @property
    def sides(self) -> int:
        """How many places a bin has."""
        return 2 if self.is_of_class else 1

    @property
    def width(self) -> int:
        """How many places there are."""
        return self.bins * self.sides + 1

    @property
    def is_share(self) -> bool:
        """True where the reference's numbers lie between 0 and 1, as probabilities do."""
        return not self.edges or (self.edges[0] >= 0.0 and self.edges[-1] <= 1.0)

    @cached_property
    def _array(self) -> np.ndarray:
        return np.array(self.edges, dtype=np.float64)

    def places(self, scores: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return the place (rows,) of each of `scores` (rows,) float64; `predicted` (rows,) is 1 where the class was chosen."""
        finite = np.isfinite(scores)
        places = self._array.searchsorted(np.where(finite, scores, 0.0), side="left") * self.sides
        if self.is_of_class:
            places = places + predicted
        return np.where(finite, places, self.width - 1)

    def sums(self, scores: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the sum of `scores` in each of `places`, in units: (width,) int64, exact in any order."""
        with np.errstate(invalid="ignore"):
            whole = np.clip(np.rint(scores / self.unit), -MOST, MOST)
        whole = np.where(places == self.width - 1, 0.0, whole)
        if len(scores) * MOST < 2**52:  # a float64 holds each partial sum exactly
            return np.bincount(places, weights=whole, minlength=self.width).astype(np.int64)
        sums = np.zeros(self.width, dtype=np.int64)
        np.add.at(sums, places, whole.astype(np.int64))
        return sums

    def means(self, counts: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """Return the mean score (bins, sides) of what `counts` and `sums` (width,) hold; NaN in an empty place."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums[:-1] * self.unit / counts[:-1]
        table: np.ndarray = means.reshape(self.bins, self.sides)
        return table

    def table(self, counts: np.ndarray) -> np.ndarray:
        """Return `counts` (width,) without the missing: (bins, sides)."""
        return counts[:-1].reshape(self.bins, self.sides)


def score_bins(name: str, scores: np.ndarray, bins: int, *, is_of_class: bool = True) -> ScoreBins:
    """Return the bins of a score from the reference's `scores` (rows,) float64."""
    kept = scores[np.isfinite(scores)]
    if not len(kept):
        return ScoreBins(name, (), 2.0**-SUM_BITS, is_of_class)
    largest = float(np.abs(kept).max())
    exponent = math.frexp(largest)[1] if largest > 1.0 else 0
    return ScoreBins(name, quantile_edges(kept, bins), 2.0 ** (exponent - SUM_BITS), is_of_class)
