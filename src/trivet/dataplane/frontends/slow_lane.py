"""The slow lane: predictions that would hold an event loop run in threads beside it, and only so many wait for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from trivet.core.errors import Unavailable
from trivet.dataplane.infer import Entrance
from trivet.dataplane.plane import Limits
from trivet.dataplane.protocol.messages import InferRequest, RowsRequest

SLOW_THREADS = 4  # for predictions that would hold the loop
SLOW_WAITING = 60  # beyond these, 503

Result = TypeVar("Result")


class SlowLane:
    """Threads for predictions that would hold the loop, and a bound on how many may wait for one."""

    def __init__(self, threads: int = SLOW_THREADS, waiting: int = SLOW_WAITING) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="trivet-slow")
        self._most = threads + waiting
        self._under_way = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns; raises `Unavailable` where too many are waiting. Cancelled, it leaves its place."""
        if self._under_way >= self._most:
            raise Unavailable("too many slow predictions are waiting; ask again.", code="QUEUE_FULL")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._under_way -= 1


def is_slow(entrance: Entrance, request: InferRequest | RowsRequest, limits: Limits) -> bool:
    """True when to answer `request` may take longer than an event loop should be held."""
    if isinstance(request, RowsRequest):
        rows = len(request.rows)
    else:
        shape = request.inputs[0].shape if request.inputs else None
        rows = shape[0] if shape else 1
    return entrance.model.slowest_us * rows > limits.inline_limit_us
