"""A data plane that remembers its answers, and an engine whose runs can be held up or made to fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.unit.dataplane.world import ByHand, ByHandEngine, World
from trivet.core.errors import Unavailable
from trivet.dataplane.cache.key import keyed_hash
from trivet.dataplane.cache.prediction_cache import PredictionCache
from trivet.model.bundle.bundle import Bundle

MIB = 1024 * 1024
SECRET = b"a secret for tests only"
DEADLINE = 10.0  # seconds that a thread of these tests may take at most


def a_cache(*, mode: str = "on", limit: int = MIB, hash_of=None, shared=None) -> PredictionCache:
    return PredictionCache(limit, hash_of or keyed_hash(SECRET), is_forced=mode == "on", shared=shared)


class InAnEngine(ByHand):
    """The world's model as an engine of its own would run it: callers wait in threads. `gate` holds a run up."""

    runs_inline = False

    def __init__(self, *, shift: float = 0.0) -> None:
        super().__init__(shift=shift)
        self.gate = threading.Event()
        self.gate.set()
        self.has_begun = threading.Event()
        self.fails = 0
        self._counting = threading.Lock()

    def run(self, inputs, outputs, deadline=float("inf")):
        with self._counting:
            self.has_begun.set()
            fails = self.fails > 0
            self.fails -= fails
        assert self.gate.wait(DEADLINE)
        if fails:
            raise Unavailable("its worker was killed.", code="MODEL_FAILED")
        with self._counting:
            return super().run(inputs, outputs, deadline)


class Engine(ByHandEngine):
    """Loads each bundle as an `InAnEngine`."""

    def load(self, bundle: Bundle) -> InAnEngine:
        version = InAnEngine(shift=float(bundle.manifest.source.get("shift", 0)))
        self.loaded.append(version)
        return version


def runs(world: World) -> int:
    return sum(version.runs for version in world.engine.loaded)


def answer(world: World, body: dict | None = None, **options) -> tuple[list, bool]:
    """Return what the model said, and whether it is said to be remembered."""
    status, found, _ = world.ask(body=body, **options)
    assert status == 200, found
    return [output["data"] for output in found["outputs"]], found["parameters"]["cached"]


def together(world: World, count: int, body: dict | None = None) -> list[tuple[int, dict]]:
    """Ask `count` times at once; every thread is inside before the model goes on."""
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(world.ask, body=body) for _ in range(count)]
        return [future.result(DEADLINE)[:2] for future in futures]


def lookups(world: World) -> dict[str, int]:
    """Return how often the cache was asked, by what came of it."""
    return {labels[-1]: counted[0] for labels, counted in world.plane.meter.read().items() if labels[0] == "lookup"}


def wait_until(condition: Callable[[], bool]) -> bool:
    """Return True once `condition` holds, False when it does not in time."""
    until = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > until:
            return False
        threading.Event().wait(0.001)
    return True
