"""A Redis of a test's own: a real process on a free port, to be stopped, starved and killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import redis

from tests.acceptance.servers import free_port, wait_for

START_SECONDS = 10.0
BINARY = shutil.which("redis-server")


class RedisServer:
    """One `redis-server`, without a file of its own. Everything done to it is undone by `stop`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Start it, and return when it answers."""
        command = [BINARY or "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *options]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        wait_for(self._answers, START_SECONDS)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        """Return a client of the test's own."""
        return redis.Redis(port=self.port, socket_timeout=5, protocol=2)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """Kill it, also when it is stopped."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_SECONDS)
            self.process = None
