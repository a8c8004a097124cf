"""The supervisor: starts the processes of one machine, watches them, replaces what dies, ends them together."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

logger = logging.getLogger(__name__)

BACK_OFF_SECONDS = (0.05, 0.2, 1.0, 3.0, 10.0)  # after none, one, two ... deaths in a row before being ready
DRAIN_SECONDS = 30.0
TICK_SECONDS = 0.05
STEADY_SECONDS = 1.0  # a process without a ready pipe counts as ready once it has lived this long
PR_SET_PDEATHSIG = 1  # prctl(2)
GIVE_UP_AFTER = 10  # deaths in a row, none of which became ready, mean that waiting will not help


@dataclass
class Child:
    """One process to keep alive. `ready_pipe` is passed as `--ready-fd`; its closing end tells that it is ready."""

    name: str
    command: list[str]
    pass_descriptors: Sequence[int] = ()
    signals_ready: bool = False
    process: subprocess.Popen[bytes] | None = None
    start_after: float = 0.0
    ready_pipe: int | None = None
    is_ready: bool = False
    failures: int = 0
    started_at: float = 0.0


class Supervisor:
    """Runs `children` until SIGTERM or SIGINT. `run` returns the exit code."""

    def __init__(self, children: list[Child], *, on_ready: Callable[[], None] | None = None) -> None:
        self._children = children
        self._on_ready = on_ready
        self._is_ending = False
        self._announced = False

    def run(self) -> int:
        """Start everything, watch it, end it; 0 when asked to end, 1 when a process could not be kept alive."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.end())
        code = 0
        try:
            while not self._is_ending:
                for child in self._children:
                    self._watch(child)
                    if child.failures >= GIVE_UP_AFTER:
                        logger.error("event=given_up process=%s", child.name)
                        code, self._is_ending = 1, True
                self._announce()
                time.sleep(TICK_SECONDS)
        finally:
            self._stop_all()
        return code

    def end(self) -> None:
        """Ask `run` to stop everything and return; from any thread."""
        self._is_ending = True

    def _watch(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is not None:
            self._notice_ready(child)
            status = child.process.poll()
            if status is None:
                return
            child.failures = 0 if child.is_ready else child.failures + 1
            wait = BACK_OFF_SECONDS[min(child.failures, len(BACK_OFF_SECONDS) - 1)]
            logger.warning("event=process_died process=%s status=%d restart_in=%.2f", child.name, status, wait)
            self._close_pipe(child)
            child.process, child.is_ready, child.start_after = None, False, now + wait
        if now >= child.start_after:
            self._start(child)

    def _start(self, child: Child) -> None:
        command, descriptors = list(child.command), list(child.pass_descriptors)
        writing = None
        if child.signals_ready:
            reading, writing = os.pipe()
            os.set_blocking(reading, False)
            child.ready_pipe = reading
            command += ["--ready-fd", str(writing)]
            descriptors.append(writing)
        child.process = subprocess.Popen(command, pass_fds=descriptors, start_new_session=True)  # noqa: S603  (our own verbs)
        child.started_at = time.monotonic()
        if writing is not None:
            os.close(writing)

    def _notice_ready(self, child: Child) -> None:
        if child.is_ready or child.process is None or child.process.poll() is not None:
            return
        if child.ready_pipe is None:
            child.is_ready = time.monotonic() - child.started_at > STEADY_SECONDS
            return
        try:
            ended = os.read(child.ready_pipe, 1) == b""
        except BlockingIOError:
            return
        if ended:
            child.is_ready = True
            self._close_pipe(child)

    def _close_pipe(self, child: Child) -> None:
        if child.ready_pipe is not None:
            os.close(child.ready_pipe)
            child.ready_pipe = None

    def _announce(self) -> None:
        if not self._announced and self._on_ready is not None and all(child.is_ready for child in self._children):
            self._announced = True
            self._on_ready()

    def _stop_all(self) -> None:
        """End web workers first, the keeper last: it ships what they wrote until the end."""
        for group in (self._children[:-1], self._children[-1:]):
            alive = [child.process for child in group if child.process is not None and child.process.poll() is None]
            for process in alive:
                process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + DRAIN_SECONDS
            for process in alive:
                try:
                    process.wait(max(deadline - time.monotonic(), 0.1))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGTERM when the process `parent` dies, so that no worker outlives `kill -9` of its supervisor.

    `parent` comes from the parent itself: one that died while this process was starting is no longer to be asked for.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        os.kill(os.getpid(), signal.SIGTERM)
