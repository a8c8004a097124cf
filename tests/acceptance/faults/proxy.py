"""A network that can be cut: a proxy on the loopback between a server and what it connects to."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

PIECE = 65536
LOOK_SECONDS = 0.02
SLOW_SECONDS = 0.3

State = Literal["open", "slow", "held", "cut"]


class Proxy:
    """Passes bytes on while it is `open`; `slow` it does so every `SLOW_SECONDS`, for each way; `held` it
    takes them and passes nothing on; `cut` it resets and refuses."""

    def __init__(self, target: int) -> None:
        """Stand before the port `target`."""
        self._target = target
        self._state: State = "open"
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listening.setblocking(False)
        self.port = int(self._listening.getsockname()[1])
        self._other: dict[socket.socket, socket.socket] = {}
        self._waiting: dict[socket.socket, bytes] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def set(self, state: State) -> None:
        """Be so from now on."""
        self._state = state

    def close(self) -> None:
        """End, and cut everything."""
        self._ending.set()
        self._thread.join()
        self._cut()
        self._listening.close()
        self._selector.close()

    def _run(self) -> None:
        passed_on = time.monotonic()
        while not self._ending.is_set():
            if self._state == "cut":
                self._cut()
            if self._state == "open" or (self._state == "slow" and time.monotonic() - passed_on > SLOW_SECONDS):
                passed_on = time.monotonic()
                for sink, data in list(self._waiting.items()):
                    self._pass_on(sink, data)
                self._waiting.clear()
            for key, _ in self._selector.select(LOOK_SECONDS):
                if key.fileobj is self._listening:
                    self._accept()
                elif key.fileobj in self._other:
                    self._read(key.fileobj)  # type: ignore[arg-type]

    def _accept(self) -> None:
        connection, _ = self._listening.accept()
        if self._state == "cut":
            connection.close()
            return
        try:
            there = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            connection.close()
            return
        for one, other in ((connection, there), (there, connection)):
            self._other[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _read(self, source: socket.socket) -> None:
        try:
            data = source.recv(PIECE)
        except OSError:
            data = b""
        sink = self._other[source]
        if not data:
            self._forget(source)
        elif self._state == "open":
            self._pass_on(sink, data)
        else:
            self._waiting[sink] = self._waiting.get(sink, b"") + data

    def _pass_on(self, sink: socket.socket, data: bytes) -> None:
        if sink in self._other:
            try:
                sink.sendall(data)
            except OSError:
                self._forget(sink)

    def _forget(self, one: socket.socket) -> None:
        for end in (one, self._other.get(one)):
            if end is not None and self._other.pop(end, None) is not None:
                self._waiting.pop(end, None)
                self._selector.unregister(end)
                with suppress(OSError):
                    end.close()

    def _cut(self) -> None:
        for one in list(self._other):
            self._forget(one)


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """Stand before `port` for as long as the block runs."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
