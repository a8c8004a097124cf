"""The supervisor: starts the processes of one machine, watches them, replaces what dies, ends them together."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trivet.dataplane.engines.guard import note_death

logger = logging.getLogger(__name__)

BACK_OFF_SECONDS = (0.05, 0.2, 1.0, 3.0, 10.0)  # after none, one, two ... deaths in a row before being ready
MANY_DEATHS, MANY_SECONDS = 5, 60.0  # so many deaths in so long, though ready each time, and it ...
PAUSE_SECONDS = 1.0  # ... rests this long before each start, for a start takes a second of a core
GIVE_UP_AFTER = 10  # deaths in a row, while nothing ever became ready, mean that waiting will not help
DRAIN_SECONDS = 30.0
ROLL_SECONDS = 60.0  # a successor that is not ready by then is given up, and who it should follow stays
TICK_SECONDS = 0.05
STEADY_SECONDS = 1.0  # a process without a ready pipe counts as ready once it has lived this long


@dataclass
class Run:
    """One process. Where it has a `ready_pipe`, its closing end tells that it is ready."""

    process: subprocess.Popen[bytes]
    ready_pipe: int | None
    started_at: float = field(default_factory=time.monotonic)
    is_ready: bool = False

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def notice_ready(self) -> None:
        """Look whether it has become ready."""
        if self.is_ready or not self.is_alive:
            return
        if self.ready_pipe is None:
            self.is_ready = time.monotonic() - self.started_at > STEADY_SECONDS
            return
        try:
            ended = os.read(self.ready_pipe, 1) == b""
        except BlockingIOError:
            return
        if ended:
            self.is_ready = True
            self.forget()

    def forget(self) -> None:
        """Close what is held of it."""
        if self.ready_pipe is not None:
            os.close(self.ready_pipe)
            self.ready_pipe = None


@dataclass
class Child:
    """One process to keep alive. With `signals_ready` it is given `--ready-fd`, which it closes once it is ready."""

    name: str
    command: list[str]
    pass_descriptors: Sequence[int] = ()
    signals_ready: bool = False
    starts_for: int | None = (
        None  # a listening socket: started once somebody connects to it; until then as good as ready
    )
    guard_folder: str = ""  # where its processes tell which versions they run inline; empty for those that run none
    environment: dict[str, str] | None = None  # None: this process's own
    run: Run | None = field(default=None, init=False)
    successor: Run | None = field(default=None, init=False)  # while it is being replaced
    start_after: float = field(default=0.0, init=False)
    was_ready: bool = field(default=False, init=False)
    failures: int = field(default=0, init=False)  # in a row, before being ready
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=MANY_DEATHS), init=False)

    @property
    def is_ready(self) -> bool:
        if self.run is None:
            return self.starts_for is not None
        return self.run.is_ready

    @property
    def is_asked_for(self) -> bool:
        return self.starts_for is None or bool(select.select([self.starts_for], [], [], 0)[0])


class Supervisor:
    """Runs `children` until SIGTERM or SIGINT; SIGHUP replaces them one at a time. `run` returns the exit code."""

    def __init__(
        self,
        children: list[Child],
        *,
        on_ready: Callable[[], None] | None = None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_ready` is called once all are ready, `on_end` before they are asked to end."""
        self._children = children
        self._on_ready = on_ready
        self._on_end = on_end
        self._is_ending = False
        self._announced = False
        self._roll_is_wanted = False
        self._to_roll: list[Child] = []
        self._leaving: tuple[Run, float] | None = None  # one that was followed by another, and until when it may take

    def run(self) -> int:
        """Start everything, watch it, end it; 0 when asked to end, 1 when no process could be brought up."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.end())
        signal.signal(signal.SIGHUP, lambda *_: self.roll())
        code = 0
        try:
            while not self._is_ending:
                for child in self._children:
                    self._watch(child)
                if hopeless := self._hopeless():
                    logger.error("event=given_up process=%s", hopeless.name)
                    code, self._is_ending = 1, True
                self._announce()
                self._roll()
                time.sleep(TICK_SECONDS)
        finally:
            self._stop_all()
        return code

    def end(self) -> None:
        """Ask `run` to stop everything and return; from any thread."""
        self._is_ending = True

    def roll(self) -> None:
        """Ask `run` to replace every process, one at a time, each once its successor is ready; from any thread."""
        self._roll_is_wanted = True

    # --- keeping alive ------------------------------------------------------------------------------------------------

    def _watch(self, child: Child) -> None:
        run = child.run
        if run is not None:
            run.notice_ready()
            child.was_ready |= run.is_ready
            if run.is_alive:
                return
            run.forget()
            wait = self._note_death(child, was_ready=run.is_ready)
            self._look_what_ran(child, run)
            logger.warning(
                "event=process_died process=%s status=%d restart_in=%.2f", child.name, run.process.returncode, wait
            )
        if time.monotonic() >= child.start_after and child.is_asked_for:
            try:
                child.run = self._start(child)
            except OSError as error:  # no process, no memory or no descriptor left: that may pass
                wait = self._note_death(child, was_ready=False)
                logger.error("event=process_not_started process=%s error=%s again_in=%.2f", child.name, error, wait)  # noqa: TRY400

    def _look_what_ran(self, child: Child, run: Run) -> None:
        """Count a death against the versions that were running."""
        if not child.guard_folder:
            return
        try:
            note_death(Path(child.guard_folder), run.process.pid)
        except OSError as error:  # a full disk: the replacement matters more
            logger.error("event=death_not_counted process=%s error=%s", child.name, error.strerror)  # noqa: TRY400

    def _note_death(self, child: Child, *, was_ready: bool) -> float:
        """Return how long to wait before the next start, in seconds."""
        now = time.monotonic()
        is_often = len(child.deaths) == MANY_DEATHS and now - child.deaths[0] < MANY_SECONDS
        child.deaths.append(now)
        child.failures = 0 if was_ready else child.failures + 1
        wait = BACK_OFF_SECONDS[min(child.failures, len(BACK_OFF_SECONDS) - 1)]
        wait = max(wait, PAUSE_SECONDS) if is_often else wait
        child.run, child.start_after = None, now + wait
        return wait

    def _start(self, child: Child) -> Run:
        """Return a new process of `child`; raises `OSError` where there can be none now."""
        command, descriptors = list(child.command), list(child.pass_descriptors)
        reading = writing = None
        if child.signals_ready:
            reading, writing = os.pipe()
            os.set_blocking(reading, False)
            command += ["--ready-fd", str(writing)]
            descriptors.append(writing)
        try:
            process = subprocess.Popen(  # noqa: S603  (our own verbs)
                command, pass_fds=descriptors, env=child.environment, start_new_session=True
            )
        except OSError:
            if reading is not None:
                os.close(reading)
            raise
        finally:
            if writing is not None:
                os.close(writing)
        return Run(process, reading)

    def _hopeless(self) -> Child | None:
        """Return a child that does not come up, while none of those that tell did; one that answers is not given up."""
        if any(child.was_ready for child in self._children if child.signals_ready):
            return None
        return next((child for child in self._children if child.failures >= GIVE_UP_AFTER), None)

    def _announce(self) -> None:
        if not self._announced and self._on_ready is not None and all(child.is_ready for child in self._children):
            self._announced = True
            self._on_ready()

    # --- replacing ----------------------------------------------------------------------------------------------------

    def _roll(self) -> None:
        """Go one step on: wait for who leaves, then for who comes, then begin with the next."""
        if self._leaving is not None:
            run, deadline = self._leaving
            if run.is_alive:
                if time.monotonic() > deadline:
                    run.process.kill()
                return
            self._leaving = None
        if not self._to_roll:
            if self._roll_is_wanted:
                self._roll_is_wanted = False
                self._to_roll = [child for child in self._children if child.starts_for is None]
                for child in self._children:  # it replaces what it owns, one after the other, and stays itself
                    if child.starts_for is not None and child.run is not None:
                        child.run.process.send_signal(signal.SIGHUP)
                logger.warning("event=roll_begun processes=%d", len(self._to_roll))
            return
        child = self._to_roll[0]
        if child.successor is not None:
            self._hand_over(child, child.successor)
            return
        try:
            child.successor = self._start(child)
        except OSError as error:
            self._give_roll_up(child, str(error))

    def _hand_over(self, child: Child, successor: Run) -> None:
        successor.notice_ready()
        if successor.is_ready:
            old, child.run, child.successor = child.run, successor, None
            child.failures = 0
            self._to_roll.pop(0)
            if old is not None and old.is_alive:
                old.forget()
                old.process.send_signal(signal.SIGTERM)
                self._leaving = old, time.monotonic() + DRAIN_SECONDS
            if not self._to_roll:
                logger.warning("event=rolled")
        elif not successor.is_alive or time.monotonic() - successor.started_at > ROLL_SECONDS:
            self._end_now(successor)
            self._give_roll_up(child, "its successor did not become ready")

    def _give_roll_up(self, child: Child, reason: str) -> None:
        logger.error(
            "event=roll_given_up process=%s reason=%s the one before stays, and so do those after it",
            child.name,
            reason,
        )
        child.successor, self._to_roll = None, []

    # --- ending -------------------------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        """End web workers first, the keeper last: it ships what they wrote until the end."""
        self._on_end()
        leaving = [self._leaving[0]] if self._leaving is not None else []
        runs = [[run for run in (child.run, child.successor) if run is not None] for child in self._children]
        for group in (
            [*leaving, *(run for some in runs[:-1] for run in some)],
            [run for some in runs[-1:] for run in some],
        ):
            alive = [run for run in group if run.is_alive]
            for run in alive:
                run.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + DRAIN_SECONDS
            for run in alive:
                try:
                    run.process.wait(max(deadline - time.monotonic(), 0.1))
                except subprocess.TimeoutExpired:
                    self._end_now(run)

    def _end_now(self, run: Run) -> None:
        run.forget()
        if run.is_alive:
            run.process.kill()
        run.process.wait()
