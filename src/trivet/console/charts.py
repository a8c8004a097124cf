"""Charts as functions from numbers to what a template draws: no markup here, so that a test can read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GAP = 0.25  # of a bar's place
SMALLEST_BAR = 1.5  # a minute with one request is seen, however busy the others were


@dataclass(frozen=True)
class Bars:
    """Bars over equal steps of time as one SVG path; `peak` is the highest count and fills the height."""

    width: int
    height: int
    path: str
    total: int
    peak: int


@dataclass(frozen=True)
class Share:
    """One class's probability: a horizontal bar `width` percent long."""

    name: str
    value: float
    width: str
    is_chosen: bool


def bars(counts: Sequence[int], *, width: int, height: int) -> Bars:
    """Return `counts`, oldest first, as bars that fill `width` by `height` units."""
    peak = max(counts, default=0)
    step = width / max(len(counts), 1)
    parts = []
    for place, count in enumerate(counts):
        if count:
            tall = max(count / peak * height, SMALLEST_BAR)
            parts.append(f"M{place * step:.2f} {height}v-{tall:.2f}h{step * (1 - GAP):.2f}v{tall:.2f}z")
    return Bars(width, height, "".join(parts), sum(counts), peak)


def shares(probabilities: Mapping[str, float], chosen: str) -> tuple[Share, ...]:
    """Return one bar per class, the likeliest first."""
    ordered = sorted(probabilities.items(), key=lambda pair: -pair[1])
    return tuple(Share(name, value, f"{_clamped(value) * 100:.2f}", name == chosen) for name, value in ordered)


def _clamped(value: float) -> float:
    return min(max(value, 0.0), 1.0)
