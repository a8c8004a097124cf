"""The shelf: versions that share a budget of this process's memory, each loaded when it is asked for.

Where the budget is full, the one that was not asked for longest leaves; a version that has its model's traffic leaves last.
A load takes a thread for as long as it takes, so on an event loop nothing is loaded: whoever asks there is told to ask
`is_cold` first, and to run what is cold elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trivet.core.errors import DeadlineExceeded, TrivetError, Unavailable
from trivet.dataplane.engines.base import LoadedVersion

logger = logging.getLogger(__name__)

MEMORY_PER_BYTE = 10  # a session of a forest, measured; linear models take less
LEAST_MEMORY = 256 * 1024
AGAIN_SECONDS = 5.0  # what could not be loaded is not tried sooner

Load = Callable[[], LoadedVersion]


@dataclass(frozen=True)
class _Failure:
    error: TrivetError
    until: float


class Shelf:
    """Keeps versions within `budget_bytes` of memory. Thread-safe; one version loads at a time."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._lock = threading.Lock()
        self._loaded: set[ShelvedVersion] = set()

    def place(self, load: Load, bundle_bytes: int, name: str) -> ShelvedVersion:
        """Return a version that `load` makes when it is asked for. Memory is estimated from the size of its bundle."""
        return ShelvedVersion(self, load, bundle_bytes * MEMORY_PER_BYTE + LEAST_MEMORY, name)

    def has_room_for(self, version: ShelvedVersion) -> bool:
        """True when `version` is loaded, or could be without another leaving."""
        with self._lock:
            return not version.is_cold or self._used() + version.memory_bytes <= self._budget

    def bring(self, version: ShelvedVersion, deadline: float = math.inf) -> LoadedVersion:
        """Return what `version` runs, loaded if need be; others leave for it. Blocks.

        Raises `DeadlineExceeded` where its turn does not come in time, and what `load` raises.
        """
        waits = min(max(deadline - time.monotonic(), 0.0), threading.TIMEOUT_MAX)
        if not self._lock.acquire(timeout=waits):
            raise DeadlineExceeded(f"{version.name}: another version was loading for too long.")
        try:
            if version.inner is not None:
                return version.inner
            version.check_failure()
            self._make_room(version)
            inner = version.load()
            self._loaded.add(version)
            logger.info("event=version_loaded_on_demand digest=%s", version.name)
            return inner
        finally:
            self._lock.release()

    def remove(self, version: ShelvedVersion) -> None:
        """Unload `version` for good."""
        with self._lock:
            self._evict(version)

    def _make_room(self, version: ShelvedVersion) -> None:
        while self._loaded and self._used() + version.memory_bytes > self._budget:
            self._evict(min(self._loaded, key=lambda other: (other.has_traffic, other.used_at)))

    def _used(self) -> int:
        return sum(version.memory_bytes for version in self._loaded)

    def _evict(self, version: ShelvedVersion) -> None:
        self._loaded.discard(version)
        if (inner := version.inner) is not None:
            version.inner = None
            inner.unload()


class ShelvedVersion(LoadedVersion):
    """A version that is loaded when it is asked for."""

    def __init__(self, shelf: Shelf, load: Load, memory_bytes: int, name: str) -> None:
        self.inner: LoadedVersion | None = None
        self.memory_bytes = memory_bytes
        self.name = name
        self.has_traffic = False
        self.used_at = 0.0
        self._shelf = shelf
        self._load = load
        self._failure: _Failure | None = None

    @property
    def is_cold(self) -> bool:
        """True when `run` would load first, which no event loop may wait for."""
        return self.inner is None

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], deadline: float = math.inf
    ) -> list[np.ndarray]:
        """Run it, after loading it where that is needed."""
        self.used_at = time.monotonic()
        inner = self.inner
        if inner is None:
            if _is_in_a_loop():  # it was there a moment ago, when the door asked
                raise Unavailable("this version is being loaded; ask again.", code="VERSION_NOT_LOADED")
            inner = self._shelf.bring(self, deadline)
        return inner.run(inputs, outputs, deadline)

    def load(self) -> LoadedVersion:
        """Load it now; for the shelf, which has made room."""
        try:
            inner = self._load()
        except Exception as error:
            is_foreseen = isinstance(error, TrivetError)
            logger.error(  # noqa: TRY400  (a trace only where the message is not the finding)
                "event=version_not_loaded digest=%s error=%s", self.name, error, exc_info=None if is_foreseen else error
            )
            refusal = Unavailable(
                "this version cannot be loaded here; the server's log says why.", code="VERSION_NOT_LOADED"
            )
            self._failure = _Failure(refusal, time.monotonic() + AGAIN_SECONDS)
            raise refusal from error
        self._failure = None
        self.cost_us_per_row = inner.cost_us_per_row
        self.used_at = time.monotonic()
        self.inner = inner
        return inner

    def check_failure(self) -> None:
        """Raise what the last attempt raised, where that was a moment ago."""
        if self._failure is not None and time.monotonic() < self._failure.until:
            raise self._failure.error

    def unload(self) -> None:
        self._shelf.remove(self)


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
