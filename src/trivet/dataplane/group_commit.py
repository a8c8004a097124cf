"""Group commit: answers wait until their records are on disk, and share the sync that puts them there.

One thread syncs. What was appended while it was syncing waits for the next one, so the slower the disk, the more answers
share a sync. On an event loop nobody waits: what is to be sent is held, and released by the turn of the loop after.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from trivet.core.errors import Unavailable

logger = logging.getLogger(__name__)

Release = Callable[[Unavailable | None], None]  # given the reason where the log could not be put on disk
JOIN_SECONDS = 5.0


class GroupCommit:
    """Calls `sync` in a thread of its own, once for all who asked meanwhile. Thread-safe; forget it after a fork."""

    def __init__(self, sync: Callable[[], None]) -> None:
        """`sync` puts on disk what was appended before it is called, or raises `Unavailable`."""
        self._sync = sync
        self._asked = threading.Condition()
        self._waiting: list[Release] = []
        self._is_ending = False
        self._thread: threading.Thread | None = None
        self._turns: dict[asyncio.AbstractEventLoop, list[Release]] = {}

    def wait(self) -> None:
        """Return once what was appended before is on disk; raises `Unavailable` when it cannot be put there."""
        done = threading.Event()
        failed: list[Unavailable] = []

        def release(error: Unavailable | None) -> None:
            if error is not None:
                failed.append(error)
            done.set()

        self._ask([release])
        done.wait()
        if failed:
            raise failed[0]

    def hold(self, loop: asyncio.AbstractEventLoop, release: Release) -> None:
        """Call `release` on `loop`, which is the running one, once what was appended before is on disk.

        Those who are held in one turn of the loop share one sync, and are released in the order in which they came.
        """
        turn = self._turns.get(loop)
        if turn is None:
            turn = self._turns[loop] = []
            loop.call_soon(self._end_turn, loop)
        turn.append(release)

    async def held(self) -> None:
        """Return once what was appended before is on disk, without blocking the loop; raises `Unavailable`."""
        loop = asyncio.get_running_loop()
        safe = loop.create_future()

        def release(error: Unavailable | None) -> None:
            if safe.done():
                return
            if error is None:
                safe.set_result(None)
            else:
                safe.set_exception(error)

        self.hold(loop, release)
        await safe

    def soon(self) -> None:
        """Sync though nobody waits. Never blocks."""
        self._ask([lambda _error: None])

    def close(self) -> None:
        """Sync for who still waits, and end the thread; who asks later starts another."""
        with self._asked:
            self._is_ending = True
            self._asked.notify()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)

    def _end_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        turn = self._turns.pop(loop)

        def release(error: Unavailable | None) -> None:
            with suppress(RuntimeError):  # the loop is closed, and its connections with it
                loop.call_soon_threadsafe(_release, turn, error)

        self._ask([release])

    def _ask(self, releases: list[Release]) -> None:
        with self._asked:
            self._waiting += releases
            if self._thread is None or not self._thread.is_alive():
                self._is_ending = False
                self._thread = threading.Thread(target=self._run, name="trivet-sync", daemon=True)
                self._thread.start()
            self._asked.notify()

    def _run(self) -> None:
        while True:
            with self._asked:
                self._asked.wait_for(lambda: self._waiting or self._is_ending)
                if not self._waiting:
                    self._thread = None
                    return
                waiting, self._waiting = self._waiting, []
            error = None
            try:
                self._sync()
            except Unavailable as failed:
                error = failed
            except Exception:  # whatever it is: nobody waits for ever, nor is told that it is on disk
                logger.exception("event=sync_failed")
                error = Unavailable("the prediction log cannot be put on disk.", code="LOG_UNAVAILABLE")
            _release(waiting, error)


def _release(waiting: list[Release], error: Unavailable | None) -> None:
    for release in waiting:
        release(error)
