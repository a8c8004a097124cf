"""The station that refuses who has asked too often. Callers are told apart by their keys; nobody's address is looked at."""

from __future__ import annotations

import errno
import logging
import threading
from pathlib import Path
from typing import NamedTuple

from trivet.core.errors import RateExceeded
from trivet.core.rates import Limits, Rate
from trivet.core.snapshot import ANY_MODEL
from trivet.dataplane.protocol.messages import Caller
from trivet.dataplane.rates.counters import SECOND_NS, Counters, Slot, private_slot
from trivet.dataplane.rates.window import Window

logger = logging.getLogger(__name__)

AGAIN_NS = 5 * SECOND_NS  # after the shared counters could not be had
MANY = 4096  # gates; beyond these, all are made anew, from what the counters say


class _Gate(NamedTuple):
    """The windows a caller's request of one model passes, and the limits they were made of."""

    limits: Limits
    windows: tuple[Window, ...]
    scopes: tuple[str, ...]  # of each window: a model's name, or * for all


class Limiter:
    """Lets callers with limits in, or does not. Thread-safe; what it holds is made with the first such caller.

    The processes of this machine count together, in files under `root`. Where they cannot, each allows one of `shares` of
    a limit, and the log says so once. Without a root this process is alone.
    """

    def __init__(self, root: Path | None = None, shares: int = 1) -> None:
        self.shares = shares
        self._root = root
        self._lock = threading.Lock()
        self._gates: dict[tuple[str, str], _Gate] = {}
        self._windows: dict[tuple[str, str, int], Window] = {}
        self._counters: Counters | None = None
        self._try_at_ns = 0
        self._told: set[int | None] = set()  # reasons why the counters could not be had, since they could

    def admit(self, caller: Caller, model: str, at_ns: int) -> None:
        """Count a request of `caller` to `model`, of the instant `at_ns`; raises `RateExceeded` where it is one too many.

        What is refused counts nowhere.
        """
        with self._lock:
            gate = self._gates.get((caller.name, model))
            if gate is None or gate.limits is not caller.limits:
                gate = self._open(caller, model)
            for window in gate.windows:
                if not window.has_room(at_ns):
                    raise _refusal(caller, gate, window, at_ns)
            for window in gate.windows:
                window.add(at_ns)

    def look_after(self) -> None:
        """Count elsewhere where the files were taken away; costs a microsecond, to be called now and then."""
        counters = self._counters
        if counters is not None and not counters.is_there:
            with self._lock:
                logger.warning("event=rate_counters_gone counting begins anew")
                self._forget()

    def close(self) -> None:
        """Count nothing with the others any more."""
        with self._lock:
            self._root = None
            self._forget()

    def abandon_after_fork(self) -> None:
        """In a forked child: drop the column, which is the parent's."""
        self._lock = threading.Lock()
        self.close()

    # --- making what is not there yet -----------------------------------------------------------------------------------

    def _open(self, caller: Caller, model: str) -> _Gate:
        if len(self._gates) >= MANY:
            self._gates.clear()
            self._windows.clear()
        rates = [(scope, rate) for scope in (ANY_MODEL, model) for rate in caller.limits.get(scope, ())]
        windows = tuple(self._window(caller.name, scope, rate) for scope, rate in rates)
        gate = _Gate(caller.limits, windows, tuple(scope for scope, _ in rates))
        self._gates[caller.name, model] = gate
        return gate

    def _window(self, caller: str, scope: str, rate: Rate) -> Window:
        """Return the one window of a limit. Where the limit has changed, what was counted stays."""
        key = (caller, scope, rate.seconds)
        window = self._windows.get(key)
        if window is None or window.rate != rate:
            if window is not None:
                self._gates.clear()  # some of them may have the one before, and two must not count side by side
            owner = f"{caller} {scope} {rate.seconds}"
            slot = private_slot() if window is None or window.slot.is_shared else window.slot
            self._windows[key] = window = Window(rate, lambda window, at_ns: self._slot(window, owner, at_ns), slot)
        return window

    def _slot(self, window: Window, owner: str, at_ns: int) -> tuple[Slot, int, int]:
        """Return where to count `window`, until when, and how many it lets in."""
        try:
            counters = self._shared(at_ns)
            if counters is not None:
                return counters.take(owner, window.window_ns, at_ns), at_ns + window.window_ns, window.rate.count
        except OSError as error:
            if error.errno != errno.ENOSPC:  # which is a matter of this slot
                self._try_at_ns = at_ns + AGAIN_NS
            self._tell(error)
        slot = private_slot() if window.slot.is_shared else window.slot
        return slot, at_ns + AGAIN_NS, max(window.rate.count // self.shares, 1)

    def _shared(self, at_ns: int) -> Counters | None:
        """Return the counters of this machine; None where there are none for now. Raises `OSError`."""
        if self._root is None or at_ns < self._try_at_ns:
            return None
        if self._counters is None:
            self._counters = Counters(self._root)
            if self._told:
                logger.warning("event=rate_counters_back")
                self._told.clear()
        return self._counters

    def _forget(self) -> None:
        self._gates.clear()
        self._windows.clear()
        if self._counters is not None:
            self._counters.close()
        self._counters, self._try_at_ns = None, 0

    def _tell(self, error: OSError) -> None:
        """Say once for each reason that limits are shared out instead of counted together."""
        if error.errno not in self._told:
            self._told.add(error.errno)
            logger.error(
                "event=rate_counters_away error=%s each process allows one of %d shares of a limit",
                error.strerror or error,
                self.shares,
            )


def _refusal(caller: Caller, gate: _Gate, refused: Window, at_ns: int) -> RateExceeded:
    """Return what the caller is told: of the limits without room, the one that takes longest.

    The one that refused may have room by now: it had looked while another process wrote.
    """
    pairs = zip(gate.windows, gate.scopes, strict=True)
    full = [(window, scope) for window, scope in pairs if window is refused or not window.has_room(at_ns)]
    window, scope = max(full, key=lambda pair: pair[0].ready_ns)
    seconds = window.seconds_until_room(at_ns)
    whose = "what callers without a key may ask together" if caller.is_anonymous else "what this key may ask"
    of_model = "" if scope == ANY_MODEL else f" of {scope!r}"
    return RateExceeded(f"over {whose}{of_model}: {window.rate}. Ask again in {seconds} s.", retry_after=seconds)
