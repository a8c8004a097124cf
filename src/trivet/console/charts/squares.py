"""Squares from 0 to 1 on both sides: the ROC curve, and what scores mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trivet.console.figures import percent

SIDE = 240  # pixels high
FOOT, HEAD = 20, 10
TABLE_ROWS = 10  # places of a curve that are told in figures


@dataclass(frozen=True)
class Point:
    """A point with the whisker of its interval, percent along the page and pixels down it."""

    x: str
    y: float
    top: float
    bottom: float


@dataclass(frozen=True)
class SquareRow:
    """One place of a square in figures."""

    first: str
    second: str
    note: str


@dataclass(frozen=True)
class Square:
    """What a template draws: a path in a box of 100 by `height`, points, the diagonal from corner to corner, and the table."""

    height: int
    path: str
    diagonal: str
    points: tuple[Point, ...]
    lines: tuple[float, ...]
    rows: tuple[SquareRow, ...]


def roc(positives: np.ndarray, negatives: np.ndarray) -> Square | None:
    """Return the ROC curve of counts by bin, (bins,) in ascending order of the score; None where a class has no row."""
    if not positives.sum() or not negatives.sum():
        return None
    found = np.concatenate([[0.0], np.cumsum(positives[::-1]) / positives.sum()])
    wrong = np.concatenate([[0.0], np.cumsum(negatives[::-1]) / negatives.sum()])
    path = "".join(
        f"{'L' if place else 'M'}{x * 100:.2f} {_y(y)}" for place, (x, y) in enumerate(zip(wrong, found, strict=True))
    )
    told = [int(np.searchsorted(wrong, share, side="right")) - 1 for share in np.linspace(0.0, 1.0, TABLE_ROWS + 1)]
    rows = tuple(
        SquareRow(percent(float(wrong[place])), percent(float(found[place])), "") for place in dict.fromkeys(told)
    )
    return Square(SIDE, path, _DIAGONAL, (), _LINES, rows)


def reliability(points: Sequence[tuple[float, float, float, float, float]]) -> Square | None:
    """Return what scores mean: each of `points` is a mean score, the share that was true, its interval and its rows."""
    if not points:
        return None
    return Square(
        height=SIDE,
        path="",
        diagonal=_DIAGONAL,
        points=tuple(
            Point(f"{score * 100:.2f}%", _y(share), _y(high), _y(low)) for score, share, low, high, _ in points
        ),
        lines=_LINES,
        rows=tuple(
            SquareRow(percent(score), percent(share), f"{percent(low)} – {percent(high)}")
            for score, share, low, high, _ in points
        ),
    )


def _y(share: float) -> float:
    return round(HEAD + (1.0 - min(max(float(share), 0.0), 1.0)) * (SIDE - HEAD - FOOT), 1)


_DIAGONAL = f"M0 {_y(0.0)}L100 {_y(1.0)}"
_LINES = (_y(0.0), _y(0.5), _y(1.0))
