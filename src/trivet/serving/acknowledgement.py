"""Waits until every live worker follows a generation, or says which do not."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from trivet import conf
from trivet.control.registry.models import Worker
from trivet.serving.worker_ids import shares_process_ids

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Acknowledgement:
    """How many live workers there are, which of them had not acknowledged in time, and how long it took in seconds."""

    generation: int
    live: int
    behind: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        if not self.live:
            return f"generation {self.generation} · no server is running yet"
        reached = self.live - len(self.behind)
        done = f"generation {self.generation} · live in {reached} of {self.live} workers · {self.seconds:.1f} s"
        return f"{done} · behind: {', '.join(self.behind)}" if self.behind else done


def wait_for_workers(generation: int, model: str = "") -> Acknowledgement:
    """Return once every worker that was live at the start has acknowledged `generation`, or a lease and a second are over.

    Where the change was of a `model`, a worker that could not load what has that model's traffic is behind as well. A
    request that starts after this returned is answered by the new generation in every worker that is not named. A
    worker that falls silent meanwhile is named: it may come back. One that gave its lease back, or whose process
    can be seen to be gone from here, is not waited for. Polls the database.
    """
    lease, patience = conf.LEASE_SECONDS(), patience_seconds()
    started = time.monotonic()
    waited_for: set[str] = set()
    while True:
        waited_for |= set(Worker.objects.live(lease).values_list("pk", flat=True))
        workers = [worker for worker in Worker.objects.filter(pk__in=waited_for) if not _is_gone(worker)]
        behind = tuple(f"{w.kind} {w.pid} on {w.host}" for w in workers if _is_behind(w, generation, model))
        waited = time.monotonic() - started
        if not behind or waited > patience:
            return Acknowledgement(generation, len(workers), behind, waited)
        time.sleep(POLL_SECONDS)


def patience_seconds() -> float:
    """Return for how long workers are waited for at most: until the lease of a silent one is over, and a second."""
    return conf.LEASE_SECONDS() + 1


def _is_behind(worker: Worker, generation: int, model: str) -> bool:
    return worker.generation < generation or model in worker.failing.split()


def _is_gone(worker: Worker) -> bool:
    """True when the worker was a process that can be seen from here and is no more: it will answer nobody."""
    if not shares_process_ids(worker.pk):
        return False
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
