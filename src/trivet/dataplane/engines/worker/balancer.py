"""Choice among a version's instances: fewest requests under way, weighed by how long each takes; a breaker on each place."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from trivet.dataplane.engines.worker.connection import Connection
from trivet.dataplane.engines.worker.control import Peer
from trivet.dataplane.engines.worker.runs import RunsRead
from trivet.dataplane.engines.worker.sockets import connect_to

FAILURES_TO_OPEN = 3  # in a row, before a place is left alone
OPEN_SECONDS = 1.0  # and for how long; then one request tries it
WEIGHT = 0.2  # of a new measurement in the moving average
LOOK_SECONDS = 0.1
SILENCE_SECONDS = 0.5  # beyond the instant at which a sign of life was due; a machine is busy sometimes
ENDED = "it ended and is being started again"
STOPPED = "Tt"  # states of a process that somebody stopped, see proc_pid_stat(5)
SPARE_CONNECTIONS = 64  # kept open to one instance


class Breaker:
    """Counts failures of one place in a row. Open: nobody is sent there; then half open: one request may try."""

    def __init__(self) -> None:
        self._failures = 0
        self._opened = 0.0
        self._is_trying = False

    @property
    def is_open(self) -> bool:
        """True from the last failure that mattered until a request has succeeded."""
        return self._failures >= FAILURES_TO_OPEN

    def admits(self, now: float) -> bool:
        """True when a request may go there now."""
        return not self.is_open or (now - self._opened > OPEN_SECONDS and not self._is_trying)

    def begin(self) -> None:
        """A request goes there."""
        self._is_trying = self.is_open

    def succeeded(self) -> None:
        """It was answered."""
        self._failures = 0
        self._is_trying = False

    def failed(self, now: float) -> None:
        """The place did not answer."""
        self._failures += 1
        self._opened = now
        self._is_trying = False

    def undecided(self) -> None:
        """The request ended without telling anything about the place."""
        self._is_trying = False


class Backend:
    """One instance as this process sees it."""

    def __init__(self, peer: Peer, digest: str, breaker: Breaker, usual_seconds: float) -> None:
        self.peer = peer
        self.breaker = breaker
        self.usual_seconds = usual_seconds
        self.under_way: dict[int, float] = {}  # by a number of ours: since when
        self.is_gone = False
        self._digest = digest
        self._spare: list[Connection] = []
        try:
            self._runs: RunsRead | None = RunsRead(Path(peer.runs))
        except OSError:  # it has ended again
            self._runs = None

    def score(self, now: float) -> float:
        """Return about how long the next request would take here, in seconds; a run that hangs makes it longer."""
        since = next(iter(self.under_way.values()), now)
        return (len(self.under_way) + 1) * max(self.usual_seconds, now - since)

    def connection(self, deadline: float) -> Connection:
        """Return a connection nobody uses; raises as `Connection` does."""
        return self.spare() or Connection(Path(self.peer.socket), self._digest, deadline)

    @property
    def has_spare(self) -> bool:
        return bool(self._spare)

    def spare(self) -> Connection | None:
        """Return a connection that was made before and that nobody uses, None where there is none."""
        try:
            return self._spare.pop()
        except IndexError:
            return None

    def give_back(self, connection: Connection) -> None:
        """Keep `connection` for the next request."""
        if self.is_gone or len(self._spare) >= SPARE_CONNECTIONS:
            connection.close()
        else:
            self._spare.append(connection)

    def was_running(self, connection: Connection) -> bool:
        """True when the request on `connection` was in the run during which the instance ended."""
        return self._runs is None or self._runs.includes(connection.number)

    def suspicion(self, now: float) -> str:
        """Return what speaks against an answer at `now`, "" for nothing: as requests went, and as the instance tells."""
        if not self.breaker.admits(now):
            return f"it failed {FAILURES_TO_OPEN} times in a row"
        if self._runs is not None and self._runs.silent_seconds(now) > SILENCE_SECONDS:
            return "a run of it hangs" if self._runs.is_running else "its process gives no sign of life"
        return ""

    def absence(self) -> str:
        """Return why the kernel would hand it no request, "" where it would. Takes at most `LOOK_SECONDS`."""
        if self._is_stopped():
            return "its process is stopped"
        return "" if self._listens() else ENDED

    def _is_stopped(self) -> bool:
        """True when the kernel says so; where it says nothing, its silence will tell."""
        try:
            return Path(f"/proc/{self.peer.pid}/stat").read_text().rpartition(")")[2].split()[0] in STOPPED
        except (OSError, IndexError):
            return False

    def _listens(self) -> bool:
        """True when the process is there: the kernel refuses for one that is not, at once."""
        try:
            connect_to(Path(self.peer.socket), LOOK_SECONDS).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let go of the connections that nobody uses."""
        self.is_gone = True
        while self._spare:
            self._spare.pop().close()
        if self._runs is not None and not self.under_way:
            self._runs.close()
            self._runs = None


class Balancer:
    """The instances of one version that answer now. Thread-safe."""

    def __init__(self, digest: str) -> None:
        self._digest = digest
        self._changed = threading.Condition()
        self._backends: list[Backend] = []
        self._breakers: dict[int, Breaker] = {}
        self._usual_seconds = 0.001
        self._numbers = 0

    def follow(self, peers: Sequence[Peer], row_seconds: float = 0.0) -> None:
        """Take in which instances answer now, and what a row cost while they were warmed: no request takes less."""
        with self._changed:
            known = {backend.peer: backend for backend in self._backends if not backend.is_gone}
            for peer, backend in known.items():
                if peer not in peers:
                    backend.close()
            self._backends = [known.get(peer) or self._backend(peer, row_seconds) for peer in peers]
            self._changed.notify_all()

    def choose(self, until: float, avoid: Backend | None) -> tuple[Backend, int] | None:
        """Return the instance for the next request and the request's number there; None when none admits one by `until`.

        Waits for an instance to come back, and not for a breaker to close: one that is open says no at once.
        """
        with self._changed:
            while True:
                now = time.monotonic()
                present = [backend for backend in self._backends if not backend.is_gone]
                open_now = [backend for backend in present if backend.breaker.admits(now)]
                if open_now:
                    others = [backend for backend in open_now if backend is not avoid] or open_now
                    chosen = min(others, key=lambda backend: backend.score(now)) if len(others) > 1 else others[0]
                    self._numbers += 1
                    chosen.under_way[self._numbers] = now
                    chosen.breaker.begin()
                    return chosen, self._numbers
                if present or now >= until or not self._changed.wait(until - now):
                    return None

    def has_spare(self) -> bool:
        """True when a connection to an instance that admits a request is open and idle."""
        with self._changed:
            now = time.monotonic()
            return any(one.has_spare and one.breaker.admits(now) for one in self._backends if not one.is_gone)

    def succeeded(self, backend: Backend, number: int) -> None:
        """Note that `backend` answered."""
        with self._changed:
            seconds = time.monotonic() - backend.under_way.pop(number)
            backend.usual_seconds += WEIGHT * (seconds - backend.usual_seconds)
            self._usual_seconds = backend.usual_seconds
            backend.breaker.succeeded()
            if backend.is_gone:
                backend.close()

    def ended(self, backend: Backend, number: int, *, is_failure: bool, is_gone: bool) -> None:
        """Note that a request to `backend` was not answered. One death counts once, however many waited."""
        with self._changed:
            backend.under_way.pop(number, None)
            counts = is_failure and not backend.is_gone
            if is_gone or backend.is_gone:  # whoever was waiting last lets go of its file of runs
                backend.close()
            if counts:
                backend.breaker.failed(time.monotonic())
            else:
                backend.breaker.undecided()

    def why_not(self) -> str:
        """Return why no instance would answer now, "" when one would. Looks at what is there, and does not wait for it."""
        now, why = time.monotonic(), ENDED
        with self._changed:
            present = [(backend, backend.suspicion(now)) for backend in self._backends if not backend.is_gone]
        for backend, suspicion in present:
            why = suspicion or backend.absence()
            if not why:
                break
        return why

    @property
    def instances(self) -> int:
        """How many instances answer, as far as this process knows."""
        with self._changed:
            return sum(not backend.is_gone for backend in self._backends)

    @property
    def is_open(self) -> bool:
        """True when no instance admits a request: none is there, or every one has failed too often."""
        with self._changed:
            return not any(not b.is_gone and not b.breaker.is_open for b in self._backends)

    def _backend(self, peer: Peer, row_seconds: float) -> Backend:
        breaker = self._breakers.setdefault(peer.place, Breaker())
        return Backend(peer, self._digest, breaker, max(self._usual_seconds, row_seconds))
