"""Bins: how the values of one feature become places to be counted in, frozen when a reference is made.

Each kind of bins has `width` places and gives, for an array of values, the places they are counted in. A value may count in
more than one: one beyond the reference's range counts in its end bin and beside it.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np

NUMERIC_BINS = 64  # 64 quantile bins give KS within 0.0017 of exact (living-models.md, section 2)
COMMON_VALUES = 50  # categories with a place of their own
KNOWN_VALUES = 10_000  # further ones that count as seen
TEXT_BINS = 24  # lengths by powers of two: 1, 2-3, 4-7, ... 8 MiB
UNSEEN_SHOWN = 20
UNSEEN_LETTERS = 100
LARGEST = float(np.finfo(np.float64).max)

Edges = tuple[float, ...]


class FeatureCounts(NamedTuple):
    """What was counted of one feature: `bins` in the order of its values, and what is no value among them.

    `bins` of categories: the common ones, the other seen, the unseen. `rows` is how often it was given at all, missing
    included; 0 where it is not counted, as a sensitive one is.
    """

    bins: np.ndarray  # (bins,) int64
    missing: int
    non_finite: int = 0
    under: int = 0
    over: int = 0
    unseen: int = 0

    @property
    def values(self) -> int:
        """How many had a value that is in a bin."""
        return int(self.bins.sum())

    @property
    def rows(self) -> int:
        """How many rows were counted."""
        return self.values + self.missing + self.non_finite


class NumericBins(msgspec.Struct, frozen=True, tag="numeric", dict=True):
    """Quantile bins of a number: bin b is (edge b-1, edge b], the first and last are open.

    Places: the bins, then missing, non-finite, below the reference's smallest value, above its largest.
    """

    name: str
    edges: Edges
    low: float
    high: float
    mean: float
    deviation: float  # of the reference, population form

    @property
    def width(self) -> int:
        """How many places it has."""
        return len(self.edges) + 5

    @cached_property
    def _bounds(self) -> np.ndarray:
        """The edges between all that is told apart: -inf, below, the bins, above, inf; NaN sorts behind them."""
        below = math.nextafter(self.low, -math.inf)
        return np.array([-np.inf, below, *self.edges, self.high, LARGEST, np.inf], dtype=np.float64)

    def count(self, values: np.ndarray) -> np.ndarray:
        """Return how many of `values` (rows,), NaN for a missing one, fall into each place: (width,) int64."""
        bounds = self._bounds
        until = np.zeros(len(bounds) + 2, dtype=np.int64)
        until[1:-1] = np.sort(values).searchsorted(bounds, side="right")  # sorting is faster than to look each value up
        until[-1] = len(values)
        found = until[1:] - until[:-1]
        minus, under, *_, over, plus, missing = found[[0, 1, -3, -2, -1]].tolist()
        found[2] += under
        found[-4] += over
        return np.append(found[2:-3], (missing, minus + plus, under, over))

    def read(self, counts: np.ndarray) -> FeatureCounts:
        """Return what `counts` (width,) say."""
        bins = len(self.edges) + 1
        missing, non_finite, under, over = map(int, counts[bins:])
        return FeatureCounts(counts[:bins], missing, non_finite, under, over)

    def titles(self) -> list[str]:
        """Return what each bin holds, in words."""
        bounds = [f"{edge:.4g}" for edge in self.edges]
        if not bounds:
            return ["all"]
        between = [f"{low} to {high}" for low, high in pairwise(bounds)]
        return [f"up to {bounds[0]}", *between, f"over {bounds[-1]}"]


class CategoryBins(msgspec.Struct, frozen=True, tag="category", dict=True):
    """A place for each common value, one for the others that the reference had, one for those it never had.

    Places: the common values, other seen, unseen, missing.
    """

    name: str
    common: tuple[str, ...]
    others: tuple[int, ...]  # 64-bit hashes, sorted

    @property
    def width(self) -> int:
        """How many places it has."""
        return len(self.common) + 3

    @cached_property
    def _places(self) -> dict[Any, int]:
        return {value: place for place, value in enumerate(self.common)} | {None: len(self.common) + 2}

    @cached_property
    def _others(self) -> frozenset[int]:
        return frozenset(self.others)

    def count(self, values: Iterable[Any]) -> np.ndarray:
        """Return how many of `values`, None for a missing one, fall into each place: (width,) int64."""
        counts = np.zeros(self.width, dtype=np.int64)
        for value, number in Counter(values).items():
            counts[self.place(value)] += number
        return counts

    def unseen_of(self, values: Iterable[Any]) -> dict[str, int]:
        """Return how often the commonest values were there that the reference never had, their first hundred letters."""
        place, unseen = len(self.common) + 1, Counter[str]()
        for value, number in Counter(values).items():
            if self.place(value) == place:
                unseen[str(value)[:UNSEEN_LETTERS]] += number
        return dict(unseen.most_common(UNSEEN_SHOWN))

    def read(self, counts: np.ndarray) -> FeatureCounts:
        """Return what `counts` (width,) say."""
        bins = len(self.common) + 2
        return FeatureCounts(counts[:bins], int(counts[bins]), unseen=int(counts[bins - 1]))

    def titles(self) -> list[str]:
        """Return what each bin holds, in words."""
        return [*self.common, "other seen", "never seen"]

    def place(self, value: Any) -> int:
        """Return the place that `value` counts in."""
        place = self._places.get(value)
        if place is None:
            place = len(self.common) + (0 if value_hash(value) in self._others else 1)
        return place


class BooleanBins(msgspec.Struct, frozen=True, tag="boolean"):
    """Places: false, true, missing."""

    name: str

    @property
    def width(self) -> int:
        """How many places it has."""
        return 3

    def count(self, values: np.ndarray) -> np.ndarray:
        """Return how many of `values` (rows,), NaN for a missing one, fall into each place: (3,) int64."""
        numbers = np.asarray(values, dtype=np.float64)
        missing = np.isnan(numbers)
        return np.bincount(np.where(missing, 2, numbers != 0).astype(np.int64), minlength=3)

    def read(self, counts: np.ndarray) -> FeatureCounts:
        """Return what `counts` (3,) say."""
        return FeatureCounts(counts[:2], int(counts[2]))

    def titles(self) -> list[str]:
        """Return what each bin holds, in words."""
        return ["false", "true"]


class TextBins(msgspec.Struct, frozen=True, tag="text"):
    """Lengths of a free text by powers of two. Places: empty, then the lengths, missing, and those not all ASCII."""

    name: str

    @property
    def width(self) -> int:
        """How many places it has."""
        return TEXT_BINS + 3

    def count(self, values: Sequence[Any]) -> np.ndarray:
        """Return how many of `values`, None for a missing one, fall into each place: (width,) int64."""
        texts = [value for value in values if value is not None]
        lengths = (min(len(text).bit_length(), TEXT_BINS) for text in texts)
        counts = np.bincount(np.fromiter(lengths, np.int64, len(texts)), minlength=self.width)
        counts[-2:] = len(values) - len(texts), sum(not text.isascii() for text in texts)
        return counts

    def read(self, counts: np.ndarray) -> FeatureCounts:
        """Return what `counts` (width,) say."""
        return FeatureCounts(counts[:-2], int(counts[-2]))

    def titles(self) -> list[str]:
        """Return what each bin holds, in words."""
        return ["empty", *(f"{2**place} to {2 ** (place + 1) - 1} letters" for place in range(TEXT_BINS))]


Bins = NumericBins | CategoryBins | BooleanBins | TextBins


def numeric_bins(name: str, values: np.ndarray, bins: int = NUMERIC_BINS) -> NumericBins:
    """Return the bins of a number from the reference's `values` (rows,) float64: one a value, or quantiles of many."""
    numbers = np.asarray(values, dtype=np.float64)
    kept = numbers[np.isfinite(numbers)]
    if not len(kept):
        return NumericBins(name, (), -LARGEST, LARGEST, 0.0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = (float(np.nan_to_num(number)) for number in (kept.mean(), kept.std()))
    return NumericBins(name, quantile_edges(kept, bins), float(kept.min()), float(kept.max()), mean, deviation)


def quantile_edges(values: np.ndarray, bins: int) -> Edges:
    """Return the inner edges of `bins` quantile bins of the finite `values`; of at most as many distinct ones, one bin each."""
    distinct = np.unique(values)
    if len(distinct) <= bins:
        return tuple(distinct[:-1].tolist())
    between = np.clip(values, -LARGEST / 4, LARGEST / 4)  # what lies between two of them is a number
    return tuple(np.unique(np.quantile(between, np.arange(1, bins) / bins)).tolist())


def category_bins(name: str, values: Iterable[Any], common: int = COMMON_VALUES) -> CategoryBins:
    """Return the places of a category from the reference's `values`: its commonest, then the hashes of further ones."""
    counted = Counter(value for value in values if value is not None)
    ranked = sorted(counted, key=lambda value: (-counted[value], str(value)))
    others = sorted(value_hash(value) for value in ranked[common : common + KNOWN_VALUES])
    return CategoryBins(name, tuple(ranked[:common]), tuple(others))


def value_hash(value: Any) -> int:
    """Return 63 bits of a hash of `value`, the same on every machine."""
    digest = hashlib.blake2b(str(value).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
