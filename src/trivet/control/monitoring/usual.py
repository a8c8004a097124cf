"""Usual: where a measure was in pieces of a version's reference that are as large as a window, and beyond which it is bad.

Values and functions on NumPy arrays, nothing of Django.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cached_property
from statistics import NormalDist, fmean
from typing import NamedTuple

from trivet.control.monitoring.estimates import BAND_DEVIATIONS, ENOUGH_CHUNKS, ENOUGH_ROWS, Band, Estimate, band
from trivet.control.monitoring.measures import range_of
from trivet.control.monitoring.performance import ENOUGH_LABELS, LEVEL, Figure, Figures, NoFigure
from trivet.control.monitoring.tasks import Performance, Task
from trivet.core.profile.labels import LabelTable, empty_labels
from trivet.core.profile.profile import Profile

PIECES = 10  # wanted: of fewer, a band is too narrow too often to alarm by it (`tests/living/test_shortfall.py`)
ENOUGH_FOR_A_BAND = ENOUGH_CHUNKS * ENOUGH_LABELS
UNLABELLED = "no band: nobody said what turned out true of the reference (push with --labels)"


class Limit(NamedTuple):
    """Beyond what an estimate is worse than usual, and the band that this comes from; an error is the worse the higher it is."""

    at: float
    band: Band
    is_error: bool = False

    def is_passed(self, value: float) -> bool:
        """Tell whether `value` is worse."""
        return value > self.at if self.is_error else value < self.at

    def is_far(self, value: float, before: float) -> bool:
        """Tell whether `value` is worse than what was `before` by more than chance."""
        return (value - before if self.is_error else before - value) > BAND_DEVIATIONS * self.band.deviation


class Usual:
    """What is usual of the measures of a version, by its reference."""

    def __init__(self, task: Task) -> None:
        """Read it from the reference of `task`; its pieces are read when they are asked for."""
        self._task, self._reference = task, task.reference

    def band(self, rows: float) -> Band | NoFigure:
        """Return where the version's metric was in pieces of about `rows` rows."""
        return self.bands((), rows)[self._task.metric]

    def bands(self, measures: Iterable[str], rows: float) -> dict[str, Band | NoFigure]:
        """Return where the metric and each of `measures` was in pieces of about `rows` rows; it needs the labels of them.

        Where pieces have more rows than that, what chance adds in fewer is added: by the interval of the whole reference.
        No band goes beyond what its measure can be.
        """
        names = dict.fromkeys((self._task.metric, *measures))
        labels = self._reference.labels.labels if self._reference.labels is not None else 0
        if not labels:
            return dict.fromkeys(names, NoFigure(UNLABELLED))
        if labels < ENOUGH_FOR_A_BAND or not self._reference.chunk_labels:
            reason = f"no band: {labels:,} rows of the reference have labels, and a band takes {ENOUGH_FOR_A_BAND:,}"
            return dict.fromkeys(names, NoFigure(reason))
        pieces = [(counts, table) for counts, table in self._pieces(rows) if table.labels >= ENOUGH_LABELS]
        values = [self._task.values(counts, table) for counts, table in pieces]
        of_piece = fmean(table.labels for _, table in pieces) if pieces else math.inf
        more = max(1 / max(rows, ENOUGH_ROWS) - 1 / of_piece, 0.0)
        return {
            name: _possible(name, self._widened(name, band([value.get(name, math.nan) for value in values]), more))
            for name in names
        }

    def limit(self, rows: float) -> Limit | None:
        """Return beyond what an estimate of a window of `rows` rows is bad; None where too little is known to say.

        It is the worse end of the band. An estimate that is too bad of the reference itself, as of scores that nothing
        calibrates, may be as much too bad of a window.
        """
        found = self.band(rows)
        if isinstance(found, NoFigure) or found.chunks < PIECES or self._own is None:
            return None
        reach = BAND_DEVIATIONS * found.deviation
        if self._task.is_error:
            return Limit(max(found.high, self._own + reach), found, is_error=True)
        return Limit(min(found.low, self._own - reach), found)

    def _widened(self, measure: str, found: Band | NoFigure, more: float) -> Band | NoFigure:
        """Return a band with what chance adds, `more` times the variance of one row."""
        if isinstance(found, NoFigure) or not more:
            return found
        deviation = math.sqrt(found.deviation**2 + self._variance(measure) * more)
        reach = BAND_DEVIATIONS * deviation
        return Band(found.mean - reach, found.mean + reach, found.mean, deviation, found.chunks)

    @cached_property
    def _own(self) -> float | None:
        """What is estimated of the reference's own rows."""
        found = self._drawn.estimated.get(self._task.metric)
        return found.value if isinstance(found, Estimate) else None

    @cached_property
    def _drawn(self) -> Performance:
        return self._task.drawn(self._reference.whole, self._reference.chunk_labels)

    @cached_property
    def _whole(self) -> Figures:
        return self._task.realised(self._reference.whole, self._reference.chunk_labels)

    def _variance(self, measure: str) -> float:
        """Return the variance of the realised measure of one row, as it were: that of n rows is n times smaller."""
        drawn = self._drawn.realised
        found = drawn[measure] if measure in drawn else self._whole.get(measure)
        if not isinstance(found, Figure) or found.low is None or found.high is None:
            return 0.0
        error = (found.high - found.low) / 2 / NormalDist().inv_cdf((1 + LEVEL) / 2)
        return error * error * found.labels

    def _pieces(self, rows: float) -> Iterator[tuple[Profile, LabelTable]]:
        """Yield neighbouring chunks of the reference together, so that each piece has about `rows` rows, and there are enough.

        A piece ends where all so far should: what one has too much, the next has not, so that their number is as wanted.
        """
        reference = self._reference
        wanted = max(ENOUGH_LABELS, min(rows, reference.whole.rows / PIECES))
        counts, table = reference.empty, empty_labels(reference)
        seen, until = 0, wanted
        for chunk, labels in zip(reference.chunks, reference.chunk_labels, strict=True):
            counts, table, seen = counts + chunk, table + labels, seen + chunk.rows
            if seen > until - 1 and counts.rows >= ENOUGH_LABELS:
                yield counts, table
                counts, table, until = reference.empty, empty_labels(reference), until + wanted


def _possible(measure: str, found: Band | NoFigure) -> Band | NoFigure:
    """Return a band without what lies beyond all that `measure` can be; how far its pieces are apart stays."""
    if isinstance(found, NoFigure):
        return found
    within = range_of(measure)
    return found._replace(low=within.clip(found.low), high=within.clip(found.high))
