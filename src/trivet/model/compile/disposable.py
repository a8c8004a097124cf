"""Runs a module of ours in a disposable process: confined, empty environment, bounded answer and time, killed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import IO, NamedTuple

from trivet.core.errors import CompileError
from trivet.model.compile.wire import LENGTH_BYTES, MOST_ANSWER_BYTES, MOST_CONFINEMENT_BYTES, decode_confinement
from trivet.model.sandbox.confinement import Confinement

READ_BYTES = 1024**2
LAST_WORDS_BYTES = 2_000
# What Python and its numeric libraries need; nothing of the caller's environment, so no secret of it, either.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Deadline:
    """When everything must be over, and how many seconds that were at the start."""

    seconds: float
    moment: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that lies `seconds` ahead."""
        return cls(seconds, time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds until then; negative afterwards."""
        return self.moment - time.monotonic()

    @property
    def whole_seconds_left(self) -> int:
        """The same for a limit on processor time: at least one."""
        return max(1, round(self.left))


class Answered(NamedTuple):
    """How far a disposable process had confined itself before it opened anything, and the answer it wrote then."""

    confinement: Confinement
    body: bytes


def answer_of(
    module: str, message: bytes, deadline: Deadline, *, called: str, descriptors: Collection[int] = ()
) -> Answered:
    """Run `module` with `message` on its standard input; return what it wrote.

    The module gets the number of the pipe to answer on as its argument, and inherits `descriptors`. Whatever it started
    in its session is killed when this returns. Raises `CompileError`, which names it as `called`.
    """
    read_end, write_end = os.pipe()
    with contextlib.ExitStack() as stack:
        pipe = stack.enter_context(os.fdopen(read_end, "rb"))
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            words = stack.enter_context(tempfile.TemporaryFile())
            question = stack.enter_context(tempfile.TemporaryFile())  # not a pipe: writing it never waits for a reader
            question.write(message)
            question.seek(0)
            child = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
                [sys.executable, "-I", "-m", module, str(write_end)],
                stdin=question,
                stdout=subprocess.DEVNULL,
                stderr=words,
                cwd=folder,
                env=ENVIRONMENT,
                pass_fds=[*descriptors, write_end],
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        stack.callback(_end, child)
        source = _Source(pipe.fileno(), deadline, called, lambda: _last_words(child, words))
        confinement = decode_confinement(source.message(MOST_CONFINEMENT_BYTES))
        body = source.message(MOST_ANSWER_BYTES)
        source.expect_end()
        return Answered(confinement, body)


class _Source:
    """The reading end of the pipe: messages with their lengths in front, within bounds and the deadline."""

    def __init__(self, descriptor: int, deadline: Deadline, called: str, last_words: Callable[[], str]) -> None:
        self._descriptor = descriptor
        self._deadline = deadline
        self._called = called
        self._last_words = last_words

    def message(self, most_bytes: int) -> bytes:
        """Return the next message; raises `CompileError` for none, and for one of more than `most_bytes`."""
        announced = int.from_bytes(self._exactly(LENGTH_BYTES), "big")
        if announced > most_bytes:
            raise CompileError(f"{self._called} announced {announced} bytes; {most_bytes} are read.")
        return self._exactly(announced)

    def expect_end(self) -> None:
        """Raise `CompileError` where more was written."""
        if self._piece(1):
            raise CompileError(f"{self._called} wrote more than it announced; nothing of it is used.")

    def _exactly(self, size: int) -> bytes:
        with tempfile.SpooledTemporaryFile(READ_BYTES) as spool:
            while (left := size - spool.tell()) > 0:
                piece = self._piece(min(left, READ_BYTES))
                if not piece:
                    raise CompileError(f"{self._called} ended without an answer{self._last_words()}")
                spool.write(piece)
            spool.seek(0)
            return spool.read()

    def _piece(self, size: int) -> bytes:
        left = self._deadline.left
        readable = select.select([self._descriptor], [], [], left)[0] if left > 0 else []
        if not readable:
            raise CompileError(f"compiling took longer than {self._deadline.seconds:g} s and was stopped.")
        return os.read(self._descriptor, size)


def _last_words(child: subprocess.Popen[bytes], words: IO[bytes]) -> str:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(1)
    reason = f" (signal {-child.returncode})" if child.returncode is not None and child.returncode < 0 else ""
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - LAST_WORDS_BYTES))
    lines = words.read(LAST_WORDS_BYTES).decode("utf-8", "replace").strip().splitlines()
    return f"{reason}: {lines[-1][:200]}" if lines else f"{reason}."


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it started in its session, then collect it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
