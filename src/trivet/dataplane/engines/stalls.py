"""Stalls: runs of a version that held an event loop for long, which answers nobody meanwhile.

A run may also take long because the machine is busy and gives the thread no processor; that says nothing of the version. So
the first stall has a version watched for a minute: what its runs take of the processor is read, which costs a
microsecond each, and a stall counts if that was long too. The first one counts unread.
"""

from __future__ import annotations

import threading
import time
from collections import deque

STALL_NS = 50_000_000
STALLS, STALLS_SECONDS = 3, 60.0


class Stalls:
    """Those of one version in this process."""

    def __init__(self) -> None:
        self.is_watched = False  # read before each run
        self._until = 0.0
        self._spent = threading.local()
        self._recent: deque[float] = deque(maxlen=STALLS)

    def note_run(self, nanoseconds: int) -> None:
        """Take in what a watched run took of its thread's processor time."""
        self._spent.nanoseconds = nanoseconds
        if time.monotonic() > self._until:
            self.is_watched = False

    def are_too_many(self) -> bool:
        """Take in that this thread's last run took over STALL_NS; True where it was the version's doing once too often."""
        moment = time.monotonic()
        if not self.is_watched or getattr(self._spent, "nanoseconds", STALL_NS) >= STALL_NS:
            self._recent.append(moment)
        self.is_watched, self._until = True, moment + STALLS_SECONDS
        return len(self._recent) == STALLS and self._recent[-1] - self._recent[0] < STALLS_SECONDS
