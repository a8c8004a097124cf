"""Shadows: work that nobody waits for, done beside the answers and dropped before it could delay one.

A run waits in a bounded queue and begins a moment after it was offered, when the answer has left. The threads that do it
rest nine times as long as it took, so that together they take at most a fifth of a core from what answers, and less
where the cores are busy, for then a run takes longer; whatever finds the queue full is dropped, and counted.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from trivet.core.errors import TrivetError

logger = logging.getLogger(__name__)

MAX_WAITING = 64  # runs
MAX_WAITING_BYTES = 16 * 1024 * 1024  # of inputs, as many as one request may have
THREADS = 2  # a shadow that hangs until its deadline leaves one for the others
REST = 9.0  # times what a run took
LONGEST_REST_SECONDS = 1.0  # after a run that hung, which takes time and no core
HEAD_START_SECONDS = 0.002  # for the answer


class _Waiting(NamedTuple):
    run: Callable[[], None]
    size: int
    begins: float


class Shadows:
    """The queue and its threads, which begin with the first run. `offer` never waits; runs may raise what they like."""

    def __init__(self) -> None:
        self.done = self.failed = self.dropped = 0
        self._queue: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        self._bytes = 0
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def offer(self, run: Callable[[], None], size: int) -> bool:
        """Let `run` be called some time soon, unless too much waits already. `size`: what it holds, in bytes. Thread-safe."""
        with self._lock:
            if self._queue.qsize() >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES or self._stopping.is_set():
                self.dropped += 1
                return False
            self._bytes += size
            if not self._threads:
                self._start()
        self._queue.put(_Waiting(run, size, time.monotonic() + HEAD_START_SECONDS))
        return True

    def stop(self) -> None:
        """Drop what waits, and take nothing more."""
        self._stopping.set()

    def _start(self) -> None:
        self._threads = [threading.Thread(target=self._work, name="trivet-shadow", daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while not self._stopping.is_set():
            waiting = self._queue.get()
            if self._stopping.wait(max(waiting.begins - time.monotonic(), 0.0)):
                return
            began = time.monotonic()
            fine = self._run(waiting.run)
            with self._lock:
                self._bytes -= waiting.size
                self.done += fine
                self.failed += not fine
            time.sleep(min((time.monotonic() - began) * REST, LONGEST_REST_SECONDS))

    def _run(self, run: Callable[[], None]) -> bool:
        try:
            run()
        except TrivetError as error:
            logger.info("event=shadow_failed code=%s", error.code)
        except Exception:
            logger.exception("event=shadow_failed")
        else:
            return True
        return False
