"""The zygote: a process that has imported what is slow to import, and forks a disposable process for each file.

`python -I -m trivet.model.sandbox.zygote PARENT SOCKET MODULES IMPORTS`, in an empty environment: the listening socket
becomes its descriptor 0, the null device 1 and 2, and everything else is closed before anything is imported. It never opens
a file that somebody sent, runs only MODULES, and ends with PARENT. What its processes do cannot reach it: they share no
memory and no descriptor with it, and it may not be traced.
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

import msgspec

from trivet.model.sandbox import leash
from trivet.model.sandbox.confinement import Confinement, confine
from trivet.model.sandbox.entering import CRASHED, STANDARD, close_all_but, enter, run
from trivet.model.sandbox.kernel import PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, prctl

IDLE_SECONDS = 600  # without a file it ends; whoever listens for it starts another when one comes
TRIPPED = 86  # how it ends when it did what only its processes may
GUARDED = frozenset(
    {"open", "exec", "import", "os.exec", "os.posix_spawn", "os.system", "pickle.find_class", "subprocess.Popen"}
)
MOST_AT_ONCE = 4  # processes; who comes later waits for one to end
FOLDER = 1  # descriptors that come before those with numbers
CONFINEMENT_BYTES = 4096
_orders = msgspec.msgpack.Decoder(leash.Order)  # made once: making it evaluates annotations


@dataclass
class Process:
    """One process on its leash: nothing before the order came, and a number that stays its own until it is let go."""

    leash: socket.socket
    pid: int | None = None
    pidfd: int | None = None


class Zygote:
    """Forks processes for whoever connects to `listening`; `serve` returns once it was asked to leave."""

    def __init__(self, listening: socket.socket, modules: frozenset[str], hello: leash.Hello) -> None:
        self._listening = listening
        self._modules = modules
        self._hello = hello
        self._processes: dict[int, Process] = {}  # by the descriptor of the leash
        self._ending: dict[int, Process] = {}  # by the descriptor that tells of the end
        self._poll = select.poll()
        self._is_leaving = False

    def leave(self) -> None:
        """Take no more orders; return from `serve` once the last process has been let go."""
        self._is_leaving = True

    def serve(self) -> None:
        """Fork for each order, tell how each process ended, kill those that were let go."""
        woken = _wake_on_signals()
        self._poll.register(woken, select.POLLIN)
        while not self._is_leaving or self._processes:
            is_taking = not self._is_leaving and len(self._processes) < MOST_AT_ONCE
            self._poll.register(self._listening, select.POLLIN if is_taking else 0)
            happened = self._poll.poll(IDLE_SECONDS * 1000)
            if not happened and not self._processes:
                self.leave()
            for descriptor, _ in happened:
                if descriptor == woken:
                    os.read(woken, 64)
                elif descriptor == self._listening.fileno():
                    self._accept()
                elif descriptor in self._ending:
                    self._tell_end(self._ending[descriptor])
                elif descriptor in self._processes:
                    self._hear(self._processes[descriptor])

    def _accept(self) -> None:
        try:
            connected, _ = self._listening.accept()
        except OSError:
            return
        process = Process(connected)
        self._processes[connected.fileno()] = process
        self._poll.register(connected, select.POLLIN)
        try:
            if leash.user_of(connected) != os.geteuid():
                raise PermissionError
            leash.send(connected, self._hello)
        except OSError:
            self._let_go(process)

    def _hear(self, process: Process) -> None:
        """Take the order; whatever comes after it, its end above all, lets the process go."""
        body, descriptors = b"", list[int]()
        with suppress(OSError):
            body, descriptors = leash.receive(process.leash)
        try:
            order = _orders.decode(body)
        except msgspec.DecodeError:
            order = None
        is_sound = (
            order is not None
            and process.pid is None
            and order.module in self._modules
            and len(descriptors) == FOLDER + len(order.numbers)
            and all(0 <= number <= leash.MOST_NUMBER for number in order.numbers)
        )
        try:
            if order is not None and is_sound:
                self._fork(process, order, descriptors)
            else:
                self._let_go(process)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _fork(self, process: Process, order: leash.Order, descriptors: list[int]) -> None:
        here = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            self._let_go(process)
            return
        if pid == 0:
            _become(here, order, descriptors)
        process.pid = pid
        process.pidfd = os.pidfd_open(pid)
        self._ending[process.pidfd] = process
        self._poll.register(process.pidfd, select.POLLIN)

    def _tell_end(self, process: Process) -> None:
        """Say how it ended. It is not collected yet: as long as its number is its own, its session can be killed by it."""
        if process.pid is None:
            return
        self._forget_end(process)
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        if ended is not None:
            code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            with suppress(OSError):
                leash.send(process.leash, leash.Ended(code))

    def _forget_end(self, process: Process) -> None:
        if process.pidfd is not None:
            self._poll.unregister(process.pidfd)
            del self._ending[process.pidfd]
            os.close(process.pidfd)
            process.pidfd = None

    def _let_go(self, process: Process) -> None:
        """Kill the process and whatever is in its session, collect it, forget it."""
        self._forget_end(process)
        if process.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)  # it may not have a session yet
                os.killpg(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
        self._poll.unregister(process.leash)
        del self._processes[process.leash.fileno()]
        process.leash.close()


def _become(parent: int, order: leash.Order, descriptors: list[int]) -> NoReturn:
    """Be the disposable process: its own descriptors under the numbers it expects, then the module; never returns."""
    code = CRASHED
    try:
        Guard.is_armed = False
        signal.set_wakeup_fd(-1)
        for signal_number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signal_number, signal.SIG_DFL)
        folder, *received = _above(descriptors, max((STANDARD, *order.numbers)) + 1)
        os.fchdir(folder)
        for descriptor, number in zip(received, order.numbers, strict=True):
            os.dup2(descriptor, number)
        enter(parent, order.numbers)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  (until the process ends)
        code = run(order.module, order.arguments)
        sys.stderr.flush()
    finally:
        os._exit(code)


def _above(descriptors: list[int], least: int) -> list[int]:
    """Return the same open files under numbers from `least` on, where no number that is wanted lies."""
    return [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least) for descriptor in descriptors]


def _wake_on_signals() -> int:
    """Return a descriptor that becomes readable when a signal with a handler arrives."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


class Guard:
    """Ends the zygote when it opens a file, imports, unpickles or starts a program, once it serves (PEP 578)."""

    is_armed = False

    @classmethod
    def arm(cls) -> None:
        """Watch from here on; a process that it forks is watched no more."""
        cls.is_armed = True
        sys.addaudithook(cls.look)

    @classmethod
    def look(cls, event: str, _: tuple[Any, ...]) -> None:
        """Judge one event."""
        if cls.is_armed and event in GUARDED:
            os._exit(TRIPPED)


def measured_here() -> Confinement:
    """Return how far a process forked from this one is confined, by trying; level 1 where it could not tell."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, msgspec.msgpack.encode(confine()))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read(CONFINEMENT_BYTES)
    os.waitpid(pid, 0)
    try:
        return msgspec.msgpack.decode(told, type=Confinement)
    except msgspec.DecodeError:
        return Confinement(())


def main() -> int:
    """Keep the socket alone, import, say hello to whoever connects; return the exit code."""
    parent, listener, modules, imports = sys.argv[1:]
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(int(listener), 0)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
    close_all_but(range(STANDARD))
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if os.getppid() != int(parent):
        return CRASHED
    os.chdir("/")
    os.umask(0o077)
    code = leash.code_in_use()
    for name in imports.split(","):
        with suppress(ImportError):  # an extra that is not installed: who needs it will say so
            import_module(name)
    gc.collect()
    gc.freeze()  # no collection of a child touches, and so copies, what it shares with this one
    hello = leash.Hello(code, measured_here())
    with socket.socket(fileno=0) as listening:
        zygote = Zygote(listening, frozenset(modules.split(",")), hello)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: zygote.leave())
        Guard.arm()
        zygote.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
