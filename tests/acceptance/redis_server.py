"""A Redis of a test's own: a real process on a free port, to be stopped, starved and killed; and a proxy before it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
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


@contextmanager
def redis_of_ones_own(folder: Path) -> Iterator[RedisServer]:
    """Run a Redis for as long as the block; skip the test where there is none to run."""
    if BINARY is None:
        if os.environ.get("TRIVET_TEST_REDIS") == "1":
            pytest.fail("TRIVET_TEST_REDIS is 1, but there is no redis-server to start and kill")
        pytest.skip("no redis-server")
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class RedisProxy(socketserver.ThreadingTCPServer):
    """What clients take for the Redis: each piece of a reply goes through `weather` on its way to them."""

    daemon_threads = True
    block_on_close = False  # a client may keep its connection

    def __init__(self, behind: RedisServer) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.behind = behind
        self.weather: Callable[[bytes], bytes] = bytes
        self.replies = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.server_address[1]}/0"


class _Connection(socketserver.BaseRequestHandler):
    server: RedisProxy

    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.behind.port)) as there:
            threading.Thread(target=self._ask, args=[there], daemon=True).start()
            while reply := there.recv(1 << 16):
                self.server.replies += 1
                self.request.sendall(self.server.weather(reply))

    def _ask(self, there: socket.socket) -> None:
        with suppress(OSError):
            while asked := self.request.recv(1 << 16):
                there.sendall(asked)
            there.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy_before(server: RedisServer) -> Iterator[RedisProxy]:
    """Put a proxy before a Redis for as long as the block runs."""
    with RedisProxy(server) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()
