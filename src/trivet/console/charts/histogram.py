"""Histograms of then and now: a wide pale bar for the reference, a narrow strong one inside it for what is current.

What tells the two apart is their width, not their colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trivet.console.charts.axis import ticks
from trivet.console.charts.grouping import Bar
from trivet.console.figures import percent

HEIGHT = 132  # of columns, in pixels
FOOT, HEAD = 20, 16  # below the columns, for their titles, and above them, for the scale's
LEFT = 10  # percent of the width before the columns, for the scale
BESIDE, GAP = 15, 3  # percent for what is no value, missing and unseen, and between it and the values
WIDE, NARROW = 0.86, 0.4  # of a bar's place
ROW, ROW_GAP = 22, 8
TITLES, FIGURES = 40, 86  # percent: where the bars of rows begin and end
LONGEST_TITLE = 17  # letters beside a bar on a phone
FEWEST_WITH_A_MIDDLE = 5  # bars: below it the titles of the first and the last say it all
ENDS = {"start": 0.0, "middle": 0.5, "end": 1.0}  # of a bar's place: where its title is held
EMPTY = 0.01  # the scale's end where nothing was counted


@dataclass(frozen=True)
class Label:
    """A text at a place: `x` in percent of the width, `y` in pixels; `anchor` is start, middle or end."""

    x: str
    y: int
    text: str
    anchor: str


@dataclass(frozen=True)
class TableRow:
    """A bar in figures."""

    title: str
    reference: str
    current: str


@dataclass(frozen=True)
class Histogram:
    """What a template draws: two paths in a box of 100 by `height`, the heights of lines across it, labels, and the table."""

    height: int
    reference: str
    current: str
    lines: tuple[float, ...]
    labels: tuple[Label, ...]
    rows: tuple[TableRow, ...]


def columns(bars: Sequence[Bar], beside: Sequence[Bar]) -> Histogram:
    """Return `bars`, one or more, as columns in their order, and `beside` them what is no value."""
    aside = 100.0 - BESIDE * len(beside)
    step = (aside - GAP - LEFT) / len(bars)
    peak = _peak([*bars, *beside])
    scale = ticks(0.0, peak, 3)
    places = [(LEFT + place * step, step) for place in range(len(bars))]
    places += [(aside + place * BESIDE + BESIDE / 4, BESIDE / 2) for place in range(len(beside))]
    drawn = list(zip([*bars, *beside], places, strict=True))
    middle = len(bars) // 2
    titled = {0: "start", len(bars) - 1: "end"} | ({middle: "middle"} if len(bars) >= FEWEST_WITH_A_MIDDLE else {})
    labels = [Label("0%", _y(share, peak) + 4, percent(share), "start") for share in scale[1:]]
    labels += [
        Label(f"{LEFT + (place + ENDS[anchor]) * step:.2f}%", HEIGHT - 5, bars[place].title, anchor)
        for place, anchor in titled.items()
    ]
    labels += [
        Label(f"{aside + place * BESIDE + BESIDE / 2:.2f}%", HEIGHT - 5, bar.title, "middle")
        for place, bar in enumerate(beside)
    ]
    return Histogram(
        height=HEIGHT,
        reference="".join(_column(bar.reference, *place, WIDE, peak) for bar, place in drawn),
        current="".join(_column(bar.current, *place, NARROW, peak) for bar, place in drawn),
        lines=tuple(_y(share, peak) for share in scale),
        labels=tuple(labels),
        rows=_table([*bars, *beside]),
    )


def rows(bars: Sequence[Bar], beside: Sequence[Bar]) -> Histogram:
    """Return `bars` as rows, each with its title before it and the current share behind it, and `beside` below them."""
    peak = _peak([*bars, *beside])
    drawn = [(bar, ROW * place + (ROW_GAP if place >= len(bars) else 0)) for place, bar in enumerate([*bars, *beside])]
    labels = [Label("0%", y + 15, _short(bar.title), "start") for bar, y in drawn]
    labels += [Label("100%", y + 15, _share(bar.current), "end") for bar, y in drawn]
    return Histogram(
        height=ROW * len(drawn) + (ROW_GAP if beside else 0),
        reference="".join(_row(bar.reference, y, WIDE, peak) for bar, y in drawn),
        current="".join(_row(bar.current, y, NARROW, peak) for bar, y in drawn),
        lines=(),
        labels=tuple(labels),
        rows=_table([*bars, *beside]),
    )


def _peak(bars: Sequence[Bar]) -> float:
    return max((share for bar in bars for share in (bar.reference, bar.current) if share), default=EMPTY)


def _y(share: float, peak: float) -> int:
    return round(HEIGHT - FOOT - share / peak * (HEIGHT - FOOT - HEAD))


def _column(share: float | None, x: float, step: float, part: float, peak: float) -> str:
    if not share:
        return ""
    tall = max(share / peak * (HEIGHT - FOOT - HEAD), 1.0)
    return f"M{x + step * (1 - part) / 2:.2f} {HEIGHT - FOOT}v-{tall:.1f}h{step * part:.2f}v{tall:.1f}z"


def _row(share: float | None, y: int, part: float, peak: float) -> str:
    if not share:
        return ""
    thick = (ROW - 4) * part
    long = max(share / peak * (FIGURES - TITLES), 0.4)
    return f"M{TITLES} {y + (ROW - thick) / 2:.1f}h{long:.2f}v{thick:.1f}h-{long:.2f}z"


def _table(bars: Sequence[Bar]) -> tuple[TableRow, ...]:
    return tuple(TableRow(bar.title, _share(bar.reference), _share(bar.current)) for bar in bars)


def _share(share: float | None) -> str:
    return "–" if share is None else percent(share)


def _short(title: str) -> str:
    return title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 1]}…"
