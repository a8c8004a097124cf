"""Grouping: from the many bins of a profile to the few bars that somebody can read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trivet.console.charts.axis import ticks
from trivet.console.figures import number

MOST_BARS = 20
MOST_ROWS = 10
READABLE_AS_THEY_ARE = 24  # bins


@dataclass(frozen=True)
class Bar:
    """One place of a histogram: its title, and the shares that it had and has, None where nothing is known."""

    title: str
    reference: float | None
    current: float | None


def by_value(
    titles: Sequence[str], bounds: Sequence[float], reference: Sequence[float], current: Sequence[float]
) -> tuple[Bar, ...]:
    """Return a number's bars: its bins where they are few, else bars of equal width, and one for each tail.

    `bounds` (bins + 1,) are the ends of the bins, increasing, or none where they are hidden: then there is a bar for each
    bin. `reference` and `current` (bins,) are their shares. Rows count as evenly spread within a bin; the tails are the two
    outermost bins, which have no end.
    """
    whole = tuple(Bar(*facts) for facts in zip(titles, reference, current, strict=True))
    if len(whole) <= READABLE_AS_THEY_ARE or not bounds:
        return whole
    edges = np.array(bounds[1:-1])
    places = ticks(float(edges[0]), float(edges[-1]), MOST_BARS)
    if len(places) < 2:
        return whole
    inner = [f"{number(low)} to {number(high)}" for low, high in pairwise(places)]
    shown = [f"up to {number(places[0])}", *inner, f"over {number(places[-1])}"]
    were, are = (_shares_between(places, edges, shares) for shares in (reference, current))
    return tuple(Bar(*facts) for facts in zip(shown, were, are, strict=True))


def by_size(bars: Sequence[Bar], known: Collection[str] | None, others: str) -> tuple[Bar, ...]:
    """Return the largest of `bars` in their order, and one called `others` for the rest.

    Titles that are not among `known` are the rest as well: they are values that somebody may not see. None: all are known.
    """
    open_ones = [bar for bar in bars if known is None or bar.title in known]
    largest = sorted(open_ones, key=lambda bar: -max(bar.reference or 0.0, bar.current or 0.0))[:MOST_ROWS]
    kept = tuple(bar for bar in open_ones if bar in largest)
    rest = [bar for bar in bars if bar not in kept and (bar.reference or bar.current)]
    if not rest:
        return kept
    return (*kept, Bar(others, *(sum(getattr(bar, side) or 0.0 for bar in rest) for side in ("reference", "current"))))


def _shares_between(places: Sequence[float], edges: np.ndarray, shares: Sequence[float]) -> list[float]:
    """Return the shares below the first of `places`, between each two, and above the last."""
    below = np.cumsum(shares)[:-1]  # at each inner edge
    at_places = np.interp(places, edges, below)
    total = float(np.sum(shares))
    between: list[float] = np.maximum(np.diff([0.0, *at_places, total]), 0.0).tolist()
    return between
