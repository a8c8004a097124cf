"""Evidence over time: the line of what windows left, where the alarm is, and pins where something happened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from trivet.console.charts.timeline import LEFT, RIGHT, Mark, anchor
from trivet.console.figures import count

HEIGHT = 200  # pixels
FOOT, HEAD = 22, 26  # below for the dates, above for the pins
POINTS = 240  # drawn at most: more are less than two pixels apart
ROOM = 1.3  # of the budget's height, where nothing is higher
QUIET = 1.0  # where evidence rests
APART = 7.0  # percent: pins closer than that lie over each other on a phone


@dataclass(frozen=True)
class Point:
    """What was known at a time: the evidence, and the budget that it had."""

    at: datetime
    evidence: float
    budget: float


@dataclass(frozen=True)
class Pin:
    """Something that happened, at `x` percent; `text` leads to its line in the list, or to those of one time: `2`, `2–4`."""

    x: str
    text: str
    is_alert: bool

    @property
    def width(self) -> int:
        """How many pixels its text takes."""
        return 10 + 6 * len(self.text)

    @property
    def left(self) -> int:
        """Where it begins, in pixels from its middle."""
        return -self.width // 2


@dataclass(frozen=True)
class EvidenceChart:
    """What a template draws: the line's path in a box of 100 by `height`, the heights of budget and rest, pins and texts."""

    height: int
    line: str
    budget: float
    rest: float
    pins: tuple[Pin, ...]
    marks: tuple[Mark, ...]


def evidence_chart(
    points: Sequence[Point], happened: Sequence[tuple[datetime, bool]], dates: Sequence[tuple[datetime, str]]
) -> EvidenceChart | None:
    """Return `points`, oldest first, on a logarithmic scale; `happened` says when, and whether it was an alert.

    None where there are not two moments. Of many, the highest of those that lie together is drawn.
    """
    if not points or points[0].at == points[-1].at:
        return None
    first, last = points[0].at, points[-1].at
    budget = points[-1].budget
    highest = max(budget, *(point.evidence for point in points))
    top = max(math.log1p(budget) * ROOM, math.log1p(highest) * 1.05)

    def x(at: datetime) -> float:
        share = (at - first) / (last - first)
        return LEFT + min(max(share, 0.0), 1.0) * (RIGHT - LEFT)

    def y(evidence: float) -> float:
        return round(HEIGHT - FOOT - math.log1p(evidence) / top * (HEIGHT - HEAD - FOOT), 1)

    drawn = _highest(points, (last - first) / POINTS)
    path = "".join(f"{'L' if place else 'M'}{x(one.at):.2f} {y(one.evidence)}" for place, one in enumerate(drawn))
    return EvidenceChart(
        height=HEIGHT,
        line=path,
        budget=y(budget),
        rest=y(QUIET),
        pins=_pins([(x(at), is_alert) for at, is_alert in happened]),
        marks=(
            Mark("0%", y(budget) + 4, count(round(budget)), "start"),
            Mark("0%", y(QUIET) + 4, "1", "start"),
            *(Mark(f"{x(at):.2f}%", HEIGHT - 5, title, anchor(x(at))) for at, title in dates if first <= at <= last),
        ),
    )


def _pins(happened: Sequence[tuple[float, bool]]) -> tuple[Pin, ...]:
    """Return a pin for each that happened, by where it is drawn and whether it was an alert; one for those that lie together."""
    together: list[list[int]] = []
    for number, (x, _) in enumerate(happened):
        if together and x - happened[together[-1][0]][0] < APART:
            together[-1].append(number)
        else:
            together.append([number])
    return tuple(
        Pin(
            f"{happened[some[0]][0]:.2f}%",
            f"{some[0] + 1}–{some[-1] + 1}" if len(some) > 1 else f"{some[0] + 1}",
            any(happened[number][1] for number in some),
        )
        for some in together
    )


def _highest(points: Sequence[Point], span: timedelta) -> list[Point]:
    """Return the highest of the points of each `span`."""
    kept: list[Point] = []
    until = points[0].at
    for point in points:
        if point.at >= until or not kept:
            kept.append(point)
            until = point.at + span
        elif point.evidence > kept[-1].evidence:
            kept[-1] = point
    return kept
