"""A timeline: what was measured and what was expected over time, and the band of what is usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from trivet.console.charts.axis import ticks
from trivet.console.figures import number

HEIGHT = 220  # pixels
FOOT, HEAD = 22, 14  # below for the dates, above for the highest number
LEFT, RIGHT = 9.0, 98.0  # percent of the width: before it stand the numbers
DATES = 5
ALONE = 1.5  # percent of the width to either side of what was expected of one moment alone
ROOM = 0.08  # of the span, above and below what is drawn


@dataclass(frozen=True)
class Moment:
    """One place of a timeline: what was measured, with its interval where there is one, and what was expected."""

    at: datetime
    title: str
    measured: float | None
    low: float | None
    high: float | None
    expected: float | None
    is_open: bool  # it may still change


@dataclass(frozen=True)
class Dot:
    """What was measured: a dot at (`x` percent, `y` pixels) with a whisker from `top` to `bottom`."""

    x: str
    y: float
    top: float
    bottom: float
    is_open: bool


@dataclass(frozen=True)
class Mark:
    """A text of an axis at its place."""

    x: str
    y: float
    text: str
    anchor: str


@dataclass(frozen=True)
class Timeline:
    """What a template draws: the band's and the line's paths in a box of 100 by `height`, dots, the axes' lines and texts."""

    height: int
    band: str
    line: str
    dots: tuple[Dot, ...]
    lines: tuple[float, ...]
    marks: tuple[Mark, ...]


def timeline(moments: Sequence[Moment], band: tuple[float, float] | None) -> Timeline | None:
    """Return `moments`, oldest first, as a timeline; None where none of them has a number."""
    drawn = [value for one in moments for value in (one.measured, one.low, one.high, one.expected) if value is not None]
    if not drawn:
        return None
    drawn += band or ()
    low, high = _range(min(drawn), max(drawn))
    first, last = moments[0].at, moments[-1].at
    whole = (last - first).total_seconds() or 1.0

    def x(at: datetime) -> float:
        share = (at - first).total_seconds() / whole if last > first else 0.5
        return LEFT + share * (RIGHT - LEFT)

    def y(value: float) -> float:
        return round(HEAD + (high - value) / (high - low) * (HEIGHT - HEAD - FOOT), 1)

    scale = ticks(low, high, 5)
    step = max(1, -(-len(moments) // DATES))
    dates = list(moments[::step])
    return Timeline(
        height=HEIGHT,
        band=f"M{LEFT} {y(band[1])}H{RIGHT}V{y(band[0])}H{LEFT}z" if band else "",
        line=_line([(x(one.at), None if one.expected is None else y(one.expected)) for one in moments]),
        dots=tuple(
            Dot(
                f"{x(one.at):.2f}%",
                y(one.measured),
                y(_or(one.high, one.measured)),
                y(_or(one.low, one.measured)),
                one.is_open,
            )
            for one in moments
            if one.measured is not None
        ),
        lines=tuple(y(value) for value in scale),
        marks=(
            *(Mark("0%", y(value) + 4, number(value), "start") for value in scale),
            *(Mark(f"{x(one.at):.2f}%", HEIGHT - 5, one.title, anchor(x(one.at))) for one in dates),
        ),
    )


def _range(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * ROOM or max(abs(high) * ROOM, 0.01)
    return low - room, high + room


def _line(points: Sequence[tuple[float, float | None]]) -> str:
    """Return a path through `points`, with a gap where there is no number; a point that stands alone is a dash."""
    parts = []
    for is_known, run in groupby(points, key=lambda point: point[1] is not None):
        places = [(x, y) for x, y in run]
        if is_known and len(places) == 1:
            ((x, y),) = places
            parts.append(f"M{x - ALONE:.2f} {y}L{x + ALONE:.2f} {y}")
        elif is_known:
            parts.append("M" + "L".join(f"{x:.2f} {y}" for x, y in places))
    return "".join(parts)


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def anchor(x: float) -> str:
    """Return how a text at `x` percent is anchored, so that it stays within the chart."""
    return "start" if x < LEFT + 5 else "end" if x > RIGHT - 5 else "middle"
