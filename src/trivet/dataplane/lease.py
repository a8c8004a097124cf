"""The lease: how long this process may answer without another look at the registry.

Whoever moves traffic waits for each worker to follow, or for its lease to be over. So a process that was stopped, or
whose machine slept, must look again before its next answer: it may have been given up meanwhile. The clock counts the
time a machine sleeps (CLOCK_BOOTTIME).
"""

from __future__ import annotations

import sys
import threading
import time

from trivet.core.errors import Unavailable

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux; elsewhere a sleeping machine goes unnoticed
PATIENCE_SECONDS = 1.0  # a look takes milliseconds; after this the registry counts as away
PATIENCE_WHILE_AWAY_SECONDS = 0.1
AWAY_SECONDS = 0.5  # after a look that failed; looks are more frequent, so nobody waits while the registry refuses
LOADING_SECONDS = 10.0  # what changed meanwhile may take this long to load
SECOND_NS = 1_000_000_000


class Lease:
    """Endless until `begin` is called. Thread-safe; a request reads `ends_ns` and compares it with `now_ns`."""

    def __init__(self) -> None:
        self.ends_ns = sys.maxsize  # of CLOCK: nobody moves the traffic of a plane that follows no registry
        self.wanted = threading.Event()  # set while somebody waits for a look
        self._lasts_ns = 0
        self._is_away = False
        self._is_loading = False
        self._changed = threading.Condition()

    @property
    def is_over(self) -> bool:
        """True when the registry must be looked at before anything is answered."""
        return now_ns() > self.ends_ns

    @property
    def is_lost(self) -> bool:
        """True when it is over, or only stretched while the registry is away: then nobody waits for this process."""
        return self._is_away or self.is_over

    def begin(self, seconds: float) -> None:
        """From now on answer only while a lease of `seconds` lasts; there is none yet."""
        self._lasts_ns = int(seconds * SECOND_NS)
        self.ends_ns = 0

    def renew(self, began_ns: int) -> None:
        """Take a lease that began at `began_ns`, the instant before the registry was told that this process lives.

        After one that was lost, the registry must have been looked at since: nobody waited for this process meanwhile.
        """
        with self._changed:
            self._is_away = self._is_loading = False
            self.ends_ns = began_ns + self._lasts_ns
            self._changed.notify_all()

    def wait_for_loading(self) -> None:
        """The registry has moved on: whoever waits now waits until `renew`, for what changed has to load."""
        self._is_loading = True

    def go_on_without(self, began_ns: int) -> None:
        """The look begun at `began_ns` failed: answer with what there is for a moment, for now nobody can promote."""
        with self._changed:
            self._is_away, self._is_loading = True, False
            self.ends_ns = max(self.ends_ns, began_ns + int(AWAY_SECONDS * SECOND_NS))
            self._changed.notify_all()

    def catch_up(self) -> None:
        """Return once the registry has been looked at since the lease was over, or turned out to be away.

        Blocks for milliseconds, for up to a second where the registry does not answer, and for as long as loading
        takes, up to ten seconds; then raises `Unavailable`. Call it in a thread, never on an event loop.
        """
        self.wanted.set()
        with self._changed:
            patience = PATIENCE_WHILE_AWAY_SECONDS if self._is_away else PATIENCE_SECONDS
            if self._changed.wait_for(lambda: not self.is_over, patience):
                return
            if not self._is_loading:
                self._is_away = True
                self.ends_ns = now_ns() + self._lasts_ns
                return
            if not self._changed.wait_for(lambda: not self.is_over, LOADING_SECONDS - patience):
                raise Unavailable(
                    "this worker is loading what changed while it was stopped.", code="VERSION_NOT_LOADED"
                )


def now_ns() -> int:
    """Return the clock of leases, in nanoseconds; it runs while the process is stopped and while the machine sleeps."""
    return time.clock_gettime_ns(CLOCK)
