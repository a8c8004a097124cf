"""The slow lane: predictions that would hold an event loop run in threads beside it, and only so many wait for one."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from trivet.core.errors import Unavailable
from trivet.dataplane.engines.base import Question
from trivet.dataplane.frontends.threads import NoThread, submit
from trivet.dataplane.infer import Entrance
from trivet.dataplane.plane import Limits
from trivet.dataplane.protocol.messages import InferRequest, RowsRequest
from trivet.dataplane.routing import rows_of

SLOW_THREADS = 4  # for predictions that would hold the loop
SLOW_WAITING = 60  # beyond these, 503
LARGE_BYTES = 1024 * 1024  # a request of more is decoded, checked and answered in a thread

Result = TypeVar("Result")


class Lane(NamedTuple):
    """Which queue slow work waits in, how many threads it has there, and how many may wait for one of them.

    The one without a name is shared. What `is_told` of is a request in flight: a prediction, not a look at the metrics.
    """

    name: str = ""
    threads: int = 0
    waiting: int = 0
    is_told: bool = True


class LaneFull(Unavailable):
    """There is no place to wait: nothing was asked of the model."""


class SlowLane:
    """Threads for predictions that would hold the loop, and a bound on how many may wait for one.

    What runs in this process shares a few. A model that runs in another process has threads of its own, one for each
    request that may wait: all they do is wait, and no model waits behind another. Not thread-safe: the loop owns it.
    """

    def __init__(
        self,
        threads: int = SLOW_THREADS,
        waiting: int = SLOW_WAITING,
        tell: Callable[[int], None] = lambda _: None,
        is_in_use: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`tell` is called with how many are in the lane, whenever that changes. Of a name that `is_in_use` no more, a
        model's that has left, the threads end.
        """
        self._shared = _Threads(threads, waiting)
        self._own: dict[str, _Threads] = {}
        self.tell = tell
        self.is_in_use = is_in_use
        self._in_flight = 0

    async def run(self, work: Callable[[], Result], lane: Lane = Lane()) -> Result:  # noqa: B008  (a value)
        """Return what `work` returns; raises `LaneFull` where too many are waiting. Cancelled, it leaves its place."""
        threads = self._threads_of(lane)
        self._enter(threads, lane)
        try:
            return await asyncio.wrap_future(threads.submit(work))
        finally:
            self._leave(threads, lane)

    def submit(
        self,
        work: Callable[[], Result],
        lane: Lane,
        done: Callable[[Result], None],
        put: Callable[[], Question | None] = lambda: None,
        ends_quickly: Callable[[], bool] = lambda: True,
    ) -> None:
        """Have `work` done, then `done` called with its result on this loop. Raises `LaneFull` where too many wait.

        Where what `work` waits for can be `put` to another process, no thread is held until it has answered: then `work`
        has nothing left to wait for, and is done on the loop. Where the answer is late or none, or what is left to do does
        not end quickly, a thread sees to it.
        """
        threads = self._threads_of(lane)
        self._enter(threads, lane)
        loop = asyncio.get_running_loop()

        def finish(result: Result) -> None:
            self._leave(threads, lane)
            done(result)

        def begin() -> None:
            loop.call_soon_threadsafe(finish, work())

        question = put()
        if question is None:
            try:
                threads.submit(begin)
            except LaneFull:
                self._leave(threads, lane)
                raise
            return

        def end() -> None:
            try:
                threads.submit(begin)
            except LaneFull:  # it holds the loop, which is better than no answer
                finish(work())

        _Watch(loop, question, (lambda: finish(work())) if ends_quickly() else end, end)

    def _enter(self, threads: _Threads, lane: Lane) -> None:
        threads.enter()
        if lane.is_told:
            self._in_flight += 1
            self.tell(self._in_flight)

    def _leave(self, threads: _Threads, lane: Lane) -> None:
        threads.leave()
        if lane.is_told:
            self._in_flight -= 1
            self.tell(self._in_flight)

    def _threads_of(self, lane: Lane) -> _Threads:
        if not lane.name:
            return self._shared
        threads = self._own.get(lane.name)
        if threads is None:
            self._end_unused()
            threads = self._own[lane.name] = _Threads(lane.threads, lane.waiting)
        return threads

    def _end_unused(self) -> None:
        """End the threads of models that have left; of one with a request under way, later."""
        for name in [name for name, threads in self._own.items() if not threads.under_way and not self.is_in_use(name)]:
            self._own.pop(name).pool.shutdown(wait=False)


class _Watch:
    """One question whose answer is waited for on the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        question: Question,
        if_answered: Callable[[], object],
        otherwise: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._question = question
        self._if_answered = if_answered
        self._otherwise = otherwise
        self._descriptor = question.fileno()
        self._timer = loop.call_later(question.deadline - time.monotonic(), self._end)
        loop.add_reader(self._descriptor, self._look)

    def _look(self) -> None:
        if self._question.look():
            self._end()

    def _end(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self._timer.cancel()
        (self._if_answered if self._question.is_answered else self._otherwise)()


class _Threads:
    def __init__(self, threads: int, waiting: int) -> None:
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="trivet-slow")
        self._most = threads + waiting
        self.under_way = 0

    def enter(self) -> None:
        if self.under_way >= self._most:
            raise LaneFull("too many slow predictions are waiting; ask again.", code="QUEUE_FULL")
        self.under_way += 1

    def leave(self) -> None:
        self.under_way -= 1

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Have `work` done in a thread. Raises `LaneFull` where all are busy and no other can be started."""
        try:
            return submit(self.pool, work)
        except NoThread:
            raise LaneFull("there is no thread for a slow prediction; ask again.", code="QUEUE_FULL") from None


def is_slow(
    entrance: Entrance, request: InferRequest | RowsRequest, limits: Limits, selector: str | None = None
) -> bool:
    """True when to answer `request` may take longer than an event loop should be held: to run, or to load first."""
    slowest_us = entrance.model.slowest_us
    for version in entrance.model.on_demand:
        if version.has_traffic or selector is not None:
            slowest_us = max(slowest_us, math.inf if version.is_cold else version.cost_us_per_row)
    return slowest_us * rows_of(request) > limits.inline_limit_us


def lane_of(entrance: Entrance, limits: Limits) -> Lane:
    """Return where a slow request of this entrance's model waits."""
    model = entrance.model
    return Lane(model.name, limits.queue_length) if model.slowest_us == math.inf else Lane()
