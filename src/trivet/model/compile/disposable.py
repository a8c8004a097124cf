"""Runs a module of ours in a disposable process: confined, empty environment, bounded answer and time, killed.

The process is forked from a zygote that has imported the training libraries, within `warm`; else a new interpreter begins,
and imports them. What it may do, and how it ends, is the same.
"""

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
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import IO, NamedTuple, Protocol

from trivet.core.errors import CompileError
from trivet.model.compile.wire import LENGTH_BYTES, MOST_CONFINEMENT_BYTES, MOST_WORDS_BYTES, decode_confinement
from trivet.model.environments.environment import Environment
from trivet.model.sandbox.confinement import Confinement
from trivet.model.sandbox.warm import NotWarm, WarmStart, own_zygote, zygote_command

READ_BYTES = 1024**2
LAST_WORDS_BYTES = 2_000
LAST_SECONDS = 1.0  # for a process that closed its pipe to end
ENTERING = "trivet.model.sandbox.entering"
MODULES = ("trivet.model.compile.child", "trivet.model.compile.judge")  # all that a zygote runs
IMPORTS = (  # what they would import after they were asked
    *MODULES,
    "pandas",
    "narwhals._pandas_like.namespace",  # by which scikit-learn looks at a data frame, when it does
    "trivet.model.compile.compiler",
    "trivet.model.compile.opening",
    "trivet.model.compile.native",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.pipeline",
)
# What Python and its numeric libraries need; nothing of the caller's environment, so no secret of it, either.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # else importing it opens a database in the home folder, and starts a thread
}
_warm: ContextVar[WarmStart | None] = ContextVar("warm", default=None)


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


@contextmanager
def warm(zygote: WarmStart | None) -> Iterator[None]:
    """Within this block, have disposable processes forked from `zygote` where it can; None: each is an interpreter."""
    token = _warm.set(zygote)
    try:
        yield
    finally:
        _warm.reset(token)


@contextmanager
def several_files() -> Iterator[WarmStart]:
    """Within this block, have disposable processes forked from a zygote of this process's own."""
    with own_zygote(MODULES, IMPORTS, ENVIRONMENT) as zygote, warm(zygote):
        yield zygote


def zygote_of(parent: int, listening: int) -> list[str]:
    """Return the command of the zygote for trained files, to be run in `ENVIRONMENT`; it ends with `parent`."""
    return zygote_command(parent, listening, MODULES, IMPORTS)


def answer_of(
    module: str,
    message: bytes,
    deadline: Deadline,
    *,
    called: str,
    descriptors: Collection[int] = (),
    most_bytes: int = MOST_WORDS_BYTES,
    environment: Environment | None = None,
) -> Answered:
    """Run `module` with `message` on its standard input; return what it wrote, up to `most_bytes`.

    With `environment` it runs in that one's interpreter, with its libraries. The module gets the number of the pipe to
    answer on as its argument, and inherits `descriptors`. Whatever it started in its session is killed when this returns.
    Raises `CompileError`, which names it as `called`.
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
            given = _Given(folder, question, words, write_end, tuple(descriptors))
            started = (
                _start(module, given, deadline) if environment is None else _Interpreter(module, given, environment)
            )
        finally:
            os.close(write_end)
        stack.callback(started.end)
        source = _Source(pipe.fileno(), deadline, called, lambda: _last_words(started, words))
        confinement = decode_confinement(source.message(MOST_CONFINEMENT_BYTES))
        body = source.message(most_bytes)
        source.expect_end()
        return Answered(confinement, body)


class _Given(NamedTuple):
    """What a disposable process gets: a folder to write into, its standard input and error, a pipe, open files."""

    folder: str
    question: IO[bytes]
    words: IO[bytes]
    pipe: int
    descriptors: tuple[int, ...]


class _Started(Protocol):
    """A disposable process that runs."""

    def ended(self, seconds: float) -> int | None: ...
    def end(self) -> None: ...


def _start(module: str, given: _Given, deadline: Deadline) -> _Started:
    """Start `module` from the zygote in use, or as a new interpreter where there is none, or it cannot."""
    zygote = _warm.get()
    if zygote is not None:
        with contextlib.suppress(NotWarm):
            return _forked(zygote, module, given, deadline)
    return _Interpreter(module, given)


def _forked(zygote: WarmStart, module: str, given: _Given, deadline: Deadline) -> _Started:
    numbers = {0: given.question.fileno(), 2: given.words.fileno()}
    numbers |= {descriptor: descriptor for descriptor in (given.pipe, *given.descriptors)}
    null, folder = os.open(os.devnull, os.O_RDWR), os.open(given.folder, os.O_PATH | os.O_DIRECTORY)
    try:
        return zygote.begin(module, [str(given.pipe)], folder, {**numbers, 1: null}, deadline.left)
    finally:
        os.close(null)
        os.close(folder)


class _Interpreter:
    """A disposable process that began as an interpreter of its own."""

    def __init__(self, module: str, given: _Given, environment: Environment | None = None) -> None:
        kept = (given.pipe, *given.descriptors)
        entering = (ENTERING, str(os.getpid()), module, ",".join(map(str, kept)), str(given.pipe))
        command = [sys.executable, "-I", "-m", *entering] if environment is None else environment.command(*entering)
        self._child = subprocess.Popen(  # noqa: S603  (an interpreter of ours, and our own module)
            command,
            stdin=given.question,
            stdout=subprocess.DEVNULL,
            stderr=given.words,
            cwd=given.folder,
            env=ENVIRONMENT,
            pass_fds=kept,
            start_new_session=True,
        )

    def ended(self, seconds: float) -> int | None:
        """Return its exit code or minus its signal, waiting up to `seconds`; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._child.wait(seconds)
        return None

    def end(self) -> None:
        """Kill it and whatever it started in its session, then collect it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()


class _Source:
    """The reading end of the pipe: messages with their lengths in front, within bounds and the deadline."""

    def __init__(self, descriptor: int, deadline: Deadline, called: str, last_words: Callable[[], str]) -> None:
        self._descriptor = descriptor
        self._readable = select.poll()  # not `select`, which knows 1,024 descriptors: a server has more
        self._readable.register(descriptor, select.POLLIN)
        self._deadline = deadline
        self._called = called
        self._last_words = last_words

    def message(self, most_bytes: int) -> bytes:
        """Return the next message; raises `CompileError` for none, and for one of more than `most_bytes`."""
        announced = int.from_bytes(self._exactly(LENGTH_BYTES), "big")
        if announced > most_bytes:
            raise CompileError(
                f"{self._called} announced {announced} bytes; for what it was given, {most_bytes} are read. Where that was "
                "compressed, push it uncompressed."
            )
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
        if left <= 0 or not self._readable.poll(left * 1000):
            raise CompileError(f"compiling took longer than {self._deadline.seconds:g} s and was stopped.")
        return os.read(self._descriptor, size)


def _last_words(started: _Started, words: IO[bytes]) -> str:
    code = started.ended(LAST_SECONDS)
    reason = f" (signal {-code})" if code is not None and code < 0 else ""
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - LAST_WORDS_BYTES))
    lines = words.read(LAST_WORDS_BYTES).decode("utf-8", "replace").strip().splitlines()
    return f"{reason}: {lines[-1][:200]}" if lines else f"{reason}."
