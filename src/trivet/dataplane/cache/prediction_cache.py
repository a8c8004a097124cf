"""The cache station: an answer given before, or one run of the model that others who ask the same wait for."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from trivet.core.signature import Signature
from trivet.dataplane.cache.admission import Admission
from trivet.dataplane.cache.flights import Flights
from trivet.dataplane.cache.key import Hash, canonical
from trivet.dataplane.cache.memory import Arrays, Memory, frozen
from trivet.dataplane.engines.base import LoadedVersion

if TYPE_CHECKING:
    from trivet.dataplane.cache.shared import SharedCache

WORTH_US = 50.0  # an inline version whose row costs less is not watched: a request costs about as much around it
MAX_VERSIONS = 256  # whose measurements are kept, also while they are not loaded
PATIENCE_SHARE = 0.5  # of the time left, which one waits for another's run: the rest is for a run of one's own
PATIENCE_SECONDS = 60.0  # and no longer than this, where there is no deadline
ELSEWHERE_SHARE = 0.8  # of that patience is for a run of another process: those who wait here for its outcome have more
CLAIM_SECONDS = 2.0  # that a run is one process's own, or so many mean runs if that is longer; then it counts as killed
CLAIM_RUNS = 2.0
FIRST_LOOK_SECONDS = 0.001  # after which one looks whether another process is done, and then each time twice as long
LONGEST_LOOK_SECONDS = 0.02

Result = Literal["hit", "miss", "shared", "bypass"]
Run = Callable[[], list[np.ndarray]]


class Recalled(NamedTuple):
    """What one request was told: arrays, where they come from (nothing: the cache is not open), what looking took."""

    arrays: Sequence[np.ndarray]
    result: Result | None = None
    lookup_ns: int = 0

    @property
    def is_remembered(self) -> bool:
        """True when the model was not run for this request."""
        return self.result in ("hit", "shared")


class PredictionCache:
    """What one process remembers, of all versions. Thread-safe.

    `hash_of` makes keys; a hit does not rest on them alone. `is_forced`: every version that may be remembered is,
    whether it pays or not. `shared` is a second level, which other processes fill too.
    """

    def __init__(
        self, limit_bytes: int, hash_of: Hash, *, is_forced: bool = False, shared: SharedCache | None = None
    ) -> None:
        self.memory = Memory(limit_bytes)
        self.flights = Flights()
        self.hash_of = hash_of
        self.shared = shared
        self._is_forced = is_forced
        self._versions: OrderedDict[str, VersionCache] = OrderedDict()
        self._lock = threading.Lock()

    def of_version(self, digest: str, signature: Signature, loaded: LoadedVersion) -> VersionCache | None:
        """Return the cache of the version with `digest`, the one it had before if there was one; None for none.

        None: its answers differ from run to run, or its runs cost too little for any memory to pay.
        """
        if signature.stochastic:
            return None
        if not self._is_forced and loaded.runs_inline and 0 < loaded.cost_us_per_row < WORTH_US:
            return None
        with self._lock:
            found = self._versions.pop(digest, None)
            if found is None or found.may_wait == loaded.runs_inline:
                found = VersionCache(self, digest, may_wait=not loaded.runs_inline, is_forced=self._is_forced)
            self._versions[digest] = found
            if len(self._versions) > MAX_VERSIONS:
                self._versions.popitem(last=False)
        return found


class VersionCache:
    """The cache as one version sees it. Thread-safe.

    `may_wait`: the version runs in threads of an engine, so its callers may wait for one another and for the second
    level. A version that runs inline is asked on an event loop, where nothing waits.
    """

    def __init__(self, cache: PredictionCache, digest: str, *, may_wait: bool, is_forced: bool) -> None:
        self.admission = Admission(is_forced=is_forced)
        self.may_wait = may_wait
        self._cache = cache
        self._digest = digest
        self._shared_admission = Admission(is_forced=is_forced)

    def rests(self) -> bool:
        """True when this request is one that passes by the cache: whoever asks counts it, and then does not `answer`."""
        return self.admission.rests() and self.admission.turn() == "rest"

    def answer(
        self,
        outputs: Sequence[str],
        feed: Mapping[str, np.ndarray],
        run: Run,
        deadline: float = math.inf,
    ) -> Recalled:
        """Return the arrays of `outputs` for `feed`, and where they come from. Raises what `run` raises.

        `run` gives arrays that were found good, and keeps to `deadline` (an instant of `time.monotonic()`) itself;
        nobody waits for another beyond half of the time that is left to it. Remembered arrays are read-only.
        """
        turn = self.admission.turn()
        if turn == "rest":
            return Recalled(run())
        started = time.perf_counter_ns()
        inputs = canonical(self._digest, outputs, feed)
        if inputs is None:
            return Recalled(run(), "bypass")
        key = self._cache.hash_of(inputs)
        if turn == "watch":
            is_repeat = self.admission.has_seen(key)
            lookup_ns = time.perf_counter_ns() - started
            arrays, run_ns = _timed(run)
            self.admission.judge(is_hit=is_repeat, lookup_ns=lookup_ns, run_ns=run_ns)
            return Recalled(arrays)
        kept = self._cache.memory.get(key, inputs)
        lookup_ns = time.perf_counter_ns() - started
        if kept is not None:
            found = _Found(kept, "hit")
        elif self.may_wait:
            found = self._together(key, inputs, run, deadline)
        else:
            found = self._run_and_keep(key, inputs, run)
        self.admission.judge(is_hit=found.run_ns is None, lookup_ns=lookup_ns, run_ns=found.run_ns)
        return Recalled(found.arrays, found.result, lookup_ns)

    def _together(self, key: bytes, inputs: bytes, run: Run, deadline: float) -> _Found:
        """Run the model for all who ask the same at this moment, or wait for the one who does."""
        flights = self._cache.flights
        flight, is_mine = flights.board(key, inputs)
        if flight is None:
            return self._run_and_keep(key, inputs, run)
        if not is_mine:
            flight.landed.wait(_patience(deadline, self.admission.mean_run_ns / 1e9))
            if flight.arrays is not None:
                return _Found(flight.arrays, "hit")
            return self._run_and_keep(key, inputs, run)  # it failed, or takes long: nobody else's trouble becomes ours
        found: _Found | None = None
        try:
            found = self._found(key, inputs, run, deadline)
        finally:
            flights.land(key, flight, found and found.arrays)
        if found.is_wanted_elsewhere:
            self._cache.shared.put(key, inputs, found.arrays)  # type: ignore[union-attr]  # it was asked
        return found

    def _found(self, key: bytes, inputs: bytes, run: Run, deadline: float) -> _Found:
        memory, shared = self._cache.memory, self._cache.shared
        kept = memory.get(key, inputs)  # whoever ran it may have landed between our look and our boarding
        if kept is not None:
            return _Found(kept, "hit")
        if shared is None or self._shared_admission.turn() == "rest":
            return self._run_and_keep(key, inputs, run)
        started = time.perf_counter_ns()
        kept = shared.get(key, inputs)
        lookup_ns = time.perf_counter_ns() - started
        if kept is None:
            kept = self._from_elsewhere(shared, key, inputs, deadline)
        if kept is not None:
            memory.put(key, inputs, kept)
            found = _Found(kept, "shared")
        else:
            found = self._run_for_all(shared, key, inputs, run)
        self._shared_admission.judge(is_hit=kept is not None, lookup_ns=lookup_ns, run_ns=found.run_ns)
        return found

    def _from_elsewhere(self, shared: SharedCache, key: bytes, inputs: bytes, deadline: float) -> Arrays | None:
        """Return what another process makes of this question just now; None: the run is ours."""
        run_seconds = self.admission.mean_run_ns / 1e9
        claim_seconds = max(CLAIM_SECONDS, CLAIM_RUNS * run_seconds)
        until = time.monotonic() + _patience(deadline, run_seconds) * ELSEWHERE_SHARE
        pause = FIRST_LOOK_SECONDS
        while (boarding := shared.board(key, inputs, claim_seconds)).is_flying_elsewhere and boarding.arrays is None:
            if time.monotonic() + pause > until:
                return None
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK_SECONDS)
        return boarding.arrays

    def _run_for_all(self, shared: SharedCache, key: bytes, inputs: bytes, run: Run) -> _Found:
        found: _Found | None = None
        try:
            found = self._run_and_keep(key, inputs, run)._replace(is_wanted_elsewhere=True)
        finally:
            if found is None:
                shared.abandon(key)
        return found

    def _run_and_keep(self, key: bytes, inputs: bytes, run: Run) -> _Found:
        arrays, run_ns = _timed(run)
        kept = frozen(arrays)
        self._cache.memory.put(key, inputs, kept)
        return _Found(kept, "miss", run_ns)


class _Found(NamedTuple):
    arrays: Arrays
    result: Result
    run_ns: int | None = None  # None: no run was needed for this request
    is_wanted_elsewhere: bool = False  # the second level was asked, and has it not


def _timed(run: Run) -> tuple[list[np.ndarray], int]:
    started = time.perf_counter_ns()
    return run(), time.perf_counter_ns() - started


def _patience(deadline: float, run_seconds: float) -> float:
    """Return how many seconds to wait for another's run: none where a run of one's own would come too late after it."""
    share = max(deadline - time.monotonic(), 0.0) * PATIENCE_SHARE
    return min(share, PATIENCE_SECONDS) if run_seconds < share else 0.0
