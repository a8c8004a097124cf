"""Whether remembering pays: the run that a hit saves, times the share of hits, against what every look costs."""

from __future__ import annotations

import threading
from array import array
from typing import Literal

WINDOW = 512  # lookups that a judgement rests on
ENOUGH_HITS = 32  # so many repeats settle it sooner: their rate is known to within a third
LATEST_RUNS = 64  # that the mean is of, the older ones weighing ever less
REST = 8 * WINDOW  # requests that pass unwatched after a no
MARGIN = 2.0  # what opening must bring, as a multiple of its cost: keeping answers costs memory too
SKETCH = 4096  # recent keys that a repeat is looked for among; 32 KiB

Turn = Literal["rest", "watch", "use"]


class Admission:
    """Decides for one version, again and again, from what was measured of it. Thread-safe, and never blocks.

    It watches: lookups are made in shadow, and their repeats counted. It opens when the mean run saved a request is
    worth more than twice the mean lookup, closes when it is worth less than one, and rests after each no.
    """

    def __init__(self, *, is_forced: bool = False) -> None:
        """`is_forced`: open, and staying so."""
        self.is_open = is_forced
        self._is_forced = is_forced
        self._sketch: array[int] | None = None
        self._lock = threading.Lock()
        self._resting = 0
        self.mean_run_ns = 0.0  # of the latest runs, 0 before the first
        self._runs = 0
        self._forget()

    def turn(self) -> Turn:
        """Return what is due for this request."""
        if self.is_open:
            return "use"
        if self._resting > 0:
            self._resting -= 1
            return "rest"
        return "watch"

    def rests(self) -> bool:
        """True while requests pass unwatched."""
        return not self.is_open and self._resting > 0

    def has_seen(self, key: bytes) -> bool:
        """Return whether `key` was asked about lately, and remember it. A repeat may be missed, hardly ever invented."""
        if self._sketch is None:
            self._sketch = array("Q", bytes(8 * SKETCH))
        sketch, mark = self._sketch, int.from_bytes(key[:8], "little")
        place = mark % SKETCH
        is_repeat = sketch[place] == mark
        sketch[place] = mark
        return is_repeat

    def judge(self, *, is_hit: bool, lookup_ns: int, run_ns: int | None) -> None:
        """Count one lookup, with what it cost and what the run cost, where there was one; decide when they are enough."""
        with self._lock:
            if run_ns is not None:
                self._runs = min(self._runs + 1, LATEST_RUNS)
                self.mean_run_ns += (run_ns - self.mean_run_ns) / self._runs
            if self._is_forced:
                return
            self._lookups += 1
            self._hits += is_hit
            self._lookup_ns += lookup_ns
            if self._lookups >= WINDOW or (not self.is_open and self._hits >= ENOUGH_HITS):
                self._decide()

    def _decide(self) -> None:
        if not self._runs:  # all were hits so far, and nothing is known of what they saved
            self._forget()
            return
        saved = self.mean_run_ns * self._hits / self._lookups
        cost = self._lookup_ns / self._lookups
        self.is_open = saved > cost * (1.0 if self.is_open else MARGIN)
        self._resting = 0 if self.is_open else REST
        self._sketch = None
        self._forget()

    def _forget(self) -> None:
        self._lookups = self._hits = self._lookup_ns = 0
