"""Real projects and real servers for tests: made once, copied per test, stopped whatever happens."""

from __future__ import annotations

import http.client
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from trivet.dataplane.frontends.uvicorn import LINGER_SECONDS

START_SECONDS = 60
DEADLINE_SECONDS = 60
ROLL_SECONDS = (
    4 * DEADLINE_SECONDS
)  # for all processes of a server, one after the other, on a machine that others load too
RETRY_SECONDS = 0.01


def trivet(*arguments: str, project: Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one verb in `project`, as a person at a shell would."""
    done = subprocess.run(
        [sys.executable, "-m", "trivet", *arguments],
        cwd=project,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"trivet {' '.join(arguments)} → {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what points at the tests' own project."""
    hidden = ("DJANGO_SETTINGS_MODULE", "TRIVET_PROJECT", "TRIVET_HOME", "SECRET_KEY")
    return {name: value for name, value in os.environ.items() if name not in hidden} | more


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def taken_port() -> Iterator[int]:
    """Listen on a port for as long as the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield int(taken.getsockname()[1])


class Output:
    """What a process prints, line by line, read in a thread of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.lines: list[str] = []
        self._stream = process.stdout
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._stream:
            self.lines.append(line.rstrip("\n"))

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def close(self) -> None:
        """Close the stream once the process has ended; fail if something it started still holds the other end."""
        self._reader.join(timeout=DEADLINE_SECONDS)
        assert not self._reader.is_alive(), f"the process ended and left another that still prints:\n{self}"
        self._stream.close()


class Server:
    """One `trivet serve` in a project of its own."""

    def __init__(
        self,
        project: Path,
        *,
        workers: int = 2,
        grpc: str | None = None,
        grpc_workers: int = 1,
        port: int | None = None,
        python: Path | str = sys.executable,
        **environment: str,
    ) -> None:
        """Start it, on a free port where none is given."""
        self.project = project
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            str(python),
            "-m",
            "trivet",
            "serve",
            "--bind",
            f"127.0.0.1:{self.port}",
            "--workers",
            str(workers),
            *(["--grpc", grpc, "--grpc-workers", str(grpc_workers)] if grpc else []),
        ]
        self.process = subprocess.Popen(
            command,
            cwd=project,
            env=clean_environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._output = Output(self.process)
        self.lines = self._output.lines

    def wait_ready(self) -> None:
        """Return once it says so."""
        with suppress(AssertionError):
            wait_for(lambda: self._is_ready() or self.process.poll() is not None, START_SECONDS)
        if not self._is_ready():
            raise AssertionError(f"the server did not start:\n{self._output}")

    def _is_ready(self) -> bool:
        return any(line.startswith("ready in") for line in self.lines)

    def children(self) -> list[int]:
        """Return the process ids of the children that live now."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def web_workers(self) -> list[int]:
        """Return the process ids of its web workers."""
        return [pid for pid, verb in self._verbs() if b"web" in verb]

    def rolled(self) -> list[int]:
        """Return the process ids of the children that a roll replaces: that of the model workers replaces its own, and stays."""
        return [pid for pid, verb in self._verbs() if b"model-workers" not in verb]

    def _verbs(self) -> Iterator[tuple[int, list[bytes]]]:
        for pid in self.children():
            with suppress(OSError):
                yield pid, Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=DEADLINE_SECONDS)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            self._output.close()
        return code


@contextmanager
def serving(project: Path, **options: Any) -> Iterator[Server]:
    """Serve `project`, as `Server` would with these options, for as long as the block runs."""
    server = Server(project, **options)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


def wait_for(condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS, every: float = 0.01) -> Any:
    """Return what `condition` returns once that is true; fail after `seconds`."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        pause.wait(every)


def copy_project(template: Path, folder: Path) -> Path:
    """Return a copy of a project, with its database and bundles."""
    shutil.copytree(template, folder)
    return folder


class Load:
    """Closed-loop clients in threads. Each answer that was read completely is put into `answers`."""

    def __init__(self, server: Server, body: bytes, key: str, *, path: str, clients: int = 8) -> None:
        self.answers: queue.SimpleQueue[tuple[float, float, dict[str, Any]]] = queue.SimpleQueue()
        self.failures: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.resets: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._server = server
        self._body = body
        self._path = path
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask nothing more; return once what was asked has ended."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=DEADLINE_SECONDS)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=20)
        started = time.monotonic()
        while not self._stopping.is_set():
            before, started = started, time.monotonic()
            try:
                connection.request("POST", self._path, self._body, self._headers)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._note_reset(error, turn=started - before)
                connection.close()
                self._stopping.wait(RETRY_SECONDS)
                continue
            ended = time.monotonic()
            if response.status == 200:
                self.answers.put((started, ended, json.loads(content)))
            else:
                self.failures.put(f"{response.status}: {content[:200]!r}")
        connection.close()

    def _note_reset(self, error: Exception, *, turn: float) -> None:
        """Note a reset, unless this client took so long to go on that the server was right to call the connection idle.

        `turn` is how long before this request the one before began, in seconds: its answer may have lain there for as
        long, unread by a thread that a busy machine did not run.
        """
        if turn < LINGER_SECONDS:
            self.resets.put(f"{error!r} {turn:.3f} s after the request before began")


def drained(things: queue.SimpleQueue[Any]) -> list[Any]:
    """Return what is in a queue now."""
    return [things.get() for _ in range(things.qsize())]
