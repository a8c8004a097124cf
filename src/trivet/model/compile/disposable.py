"""Runs a module of ours in a disposable process: empty environment, bounded answer and time, its own session, killed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import IO

from trivet.core.errors import CompileError
from trivet.model.compile.wire import LENGTH_BYTES, MOST_ANSWER_BYTES

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


def answer_of(
    module: str, message: bytes, deadline: Deadline, *, called: str, descriptors: Collection[int] = ()
) -> bytes:
    """Run `module` with `message` on its standard input; return the one framed answer that it wrote.

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
        return _read_framed(pipe, deadline, called, lambda: _last_words(child, words))


def _read_framed(pipe: IO[bytes], deadline: Deadline, called: str, last_words: Callable[[], str]) -> bytes:
    with tempfile.TemporaryFile() as spool:
        announced: int | None = None
        received = 0
        for piece in _pieces(pipe.fileno(), deadline):
            spool.write(piece)
            received += len(piece)
            if announced is None and received >= LENGTH_BYTES:
                spool.seek(0)
                announced = int.from_bytes(spool.read(LENGTH_BYTES), "big")
                spool.seek(0, os.SEEK_END)
                if announced > MOST_ANSWER_BYTES:
                    raise CompileError(f"{called} announced {announced} bytes; {MOST_ANSWER_BYTES} are read.")
            if announced is not None and received > announced + LENGTH_BYTES:
                raise CompileError(f"{called} wrote more than it announced; nothing of it is used.")
        if announced is None or received < announced + LENGTH_BYTES:
            raise CompileError(f"{called} ended without an answer{last_words()}")
        spool.seek(LENGTH_BYTES)
        return spool.read()


def _pieces(descriptor: int, deadline: Deadline) -> Iterator[bytes]:
    while True:
        left = deadline.left
        readable = select.select([descriptor], [], [], left)[0] if left > 0 else []
        if not readable:
            raise CompileError(f"compiling took longer than {deadline.seconds:g} s and was stopped.")
        piece = os.read(descriptor, READ_BYTES)
        if not piece:
            return
        yield piece


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
