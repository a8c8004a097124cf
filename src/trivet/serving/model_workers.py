"""Model workers of this machine: the engine that asks for them, and the process that owns them, from the settings."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from trivet import conf
from trivet.control.registry.signing import fetch_to_serve
from trivet.control.registry.storage import environments_folder, make_private
from trivet.core.environment import lean_environment
from trivet.dataplane.engines.base import Engine
from trivet.dataplane.engines.worker.control import Options
from trivet.dataplane.engines.worker.engine import CONTROL_NAME, WorkerEngine
from trivet.dataplane.engines.worker.sockets import listen_on
from trivet.serving.supervisor import Child

FOLDER_NAME = "run"
LOCK_NAME = "model-workers.lock"
AGAIN_SECONDS = 0.1  # between two tries to take the lock
NAMING_SECONDS = 2.0  # within which who has just taken the lock says who it is
DEFAULT_INSTANCES = 1
MOST_INSTANCES, MOST_ROWS, MOST_DELAY_MS = 64, 1024, 1000.0


def engine_from_settings(processes: int) -> Engine:
    """Return the engine of TRIVET_ENGINES, for one of so many processes. Raises `ImproperlyConfigured` when it cannot be made."""
    entry = conf.ENGINES()["default"]
    try:
        engine = import_string(entry["BACKEND"])(**entry["OPTIONS"])
    except (ImportError, TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"TRIVET_ENGINES: {error}") from error
    if not isinstance(engine, Engine):
        raise ImproperlyConfigured(f"TRIVET_ENGINES: {entry['BACKEND']} makes no engine.")
    engine.bound_queue(queue_share(processes))
    return engine


def worker_engine(
    *, instances: int = DEFAULT_INSTANCES, max_batch_size: int = 64, max_batch_delay_ms: float = 2.0
) -> WorkerEngine:
    """Return the engine that runs versions in model workers: `instances` processes for each version.

    Requests that wait at the same time share a run of up to `max_batch_size` rows where that is measured to pay, and
    wait for one another at most `max_batch_delay_ms`.
    """
    _check("instances", instances, 1, MOST_INSTANCES)
    _check("max_batch_size", max_batch_size, 1, MOST_ROWS)
    _check("max_batch_delay_ms", max_batch_delay_ms, 0, MOST_DELAY_MS)
    options = Options(
        instances=instances,
        memory_bytes=conf.WORKER_MEMORY_MB() * conf.MIB,
        deadline_seconds=conf.DEADLINE_SECONDS(),
        queue_total=conf.QUEUE_LENGTH(),
        max_batch_size=max_batch_size,
        max_batch_delay_ms=max_batch_delay_ms,
    )
    return WorkerEngine(run_folder(), fetch_to_serve(), options)


def queue_share(processes: int) -> int:
    """Return how many requests of one model may wait in one of `processes`: an equal share of TRIVET_QUEUE_LENGTH."""
    return -(-conf.QUEUE_LENGTH() // processes)


def run_folder() -> Path:
    """Return the private folder of sockets."""
    return conf.HOME() / FOLDER_NAME


@dataclass(frozen=True)
class Holder:
    """Who has the control of this TRIVET_HOME's model workers: a process, and the verb it was started by."""

    pid: int
    verb: str

    @property
    def is_there(self) -> bool:
        """False for what the last one left behind, and before anybody has written."""
        return self.pid > 0 and Path(f"/proc/{self.pid}").exists()


@dataclass(frozen=True)
class Control:
    """A socket on which model workers are asked for, and the descriptor of the lock that makes it the only one."""

    socket: socket.socket
    lock: int

    @property
    def path(self) -> Path:
        return run_folder() / CONTROL_NAME

    @property
    def descriptors(self) -> tuple[int, int]:
        return self.socket.fileno(), self.lock


def open_control(verb: str, *, patience: float = 0.0) -> Control | Holder:
    """Return the control of this TRIVET_HOME's model workers for a process started by `verb`, or who has it.

    Another `verb` is told at once; a process of the same one is given `patience` seconds, for it may be ending. So is,
    for a moment, one that has the lock and has not said yet who it is.
    """
    make_private(run_folder())
    began = time.monotonic()
    lock = os.open(run_folder() / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = _read_holder(lock)
        enough = patience if holder.verb == verb else 0.0
        if not holder.is_there:
            enough = max(enough, NAMING_SECONDS)
        if time.monotonic() - began >= enough:
            os.close(lock)
            return holder
        time.sleep(AGAIN_SECONDS)
    _write_holder(lock, Holder(os.getpid(), verb))
    return Control(listen_on(run_folder() / CONTROL_NAME), lock)


def _write_holder(lock: int, holder: Holder) -> None:
    """Say who has the lock, for whoever would like to; the lock itself decides."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{holder.pid} {holder.verb}\n".encode(), 0)


def _read_holder(lock: int) -> Holder:
    pid, _, verb = os.pread(lock, 256, 0).decode("ascii", "replace").strip().partition(" ")
    return Holder(int(pid) if pid.isdigit() else 0, verb)


def owner_child(control: Control, supervisor: int) -> Child:
    """Return the owner of the model workers as a process that is started once somebody asks for one."""
    return Child(
        "model workers",
        [*_command(control), str(supervisor)],
        pass_descriptors=(control.socket.fileno(),),
        starts_for=control.socket.fileno(),
        environment=_environment(),
    )


def run_owner(control: Control) -> NoReturn:
    """Become the owner of the model workers."""
    for descriptor in control.descriptors:
        os.set_inheritable(descriptor, True)
    os.execve(sys.executable, _command(control), _environment())  # noqa: S606  (our own module)


def _command(control: Control) -> list[str]:
    module = "trivet.dataplane.engines.worker.owner"
    return [
        sys.executable,
        "-m",
        module,
        str(run_folder()),
        str(environments_folder()),
        str(control.socket.fileno()),
    ]


def _environment() -> dict[str, str]:
    """Return what the owner needs to find the installed code: no secret of the site's goes there."""
    return lean_environment()


def _check(name: str, value: Any, low: float, high: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}")
