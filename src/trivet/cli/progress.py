"""Progress: how far a run is, on one line of a terminal, or a line now and then where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta

from trivet.control.scoring.models import ScoringRun

WIDTH = 24  # of the bar, in characters
BETWEEN_SECONDS = {True: 0.2, False: 10.0}  # by whether it is a terminal


class Progress:
    """Says how far a run is, on stderr, where that is wanted."""

    def __init__(self, *, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self._is_terminal = sys.stderr.isatty()
        self._next = time.monotonic() + BETWEEN_SECONDS[False] * (not self._is_terminal)

    def tell(self, run: ScoringRun) -> None:
        """Say it, where it was not said just now."""
        self._say(lambda: line_of(run))

    def tell_rows(self, handled: int, total: int) -> None:
        """Say it of a run that is nothing but rows."""
        self._say(lambda: bar_of(handled, total))

    def _say(self, line: Callable[[], str]) -> None:
        now = time.monotonic()
        if not self._is_wanted or now < self._next:
            return
        self._next = now + BETWEEN_SECONDS[self._is_terminal]
        if self._is_terminal:
            print(f"\r\x1b[K{line()}", end="", file=sys.stderr, flush=True)
        else:
            print(line(), file=sys.stderr, flush=True)

    def end(self) -> None:
        """Take the line back."""
        if self._is_wanted and self._is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def line_of(run: ScoringRun) -> str:
    """Return how far a run is, in one line."""
    errors = f" · {run.errors:,} errors" if run.errors else ""
    left = f" · about {duration_in_words(run.eta)} left" if run.eta else ""
    return f"{bar_of(run.handled, run.total)}{errors}{left}"


def bar_of(handled: int, total: int) -> str:
    """Return how many rows are done, as a bar and in numbers."""
    full = int((min(handled / total, 1.0) if total else 1.0) * WIDTH)
    return f"[{'#' * full}{'.' * (WIDTH - full)}] {handled:,} of {total:,} rows"


def duration_in_words(duration: timedelta) -> str:
    """Return a length of time as a person says it: 70 s, 12 min, 3 h."""
    seconds = duration.total_seconds()
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )
