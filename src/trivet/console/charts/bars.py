"""Bars over equal steps of time."""

from __future__ import annotations

from collections.abc import Sequence
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
