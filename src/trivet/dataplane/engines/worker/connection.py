"""One connection to one model worker, from the side that asks. It carries one request at a time; a late answer ends it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TypeVar

from trivet.dataplane.engines.worker.frames import BadFrame, Hello, Inbox, Told
from trivet.dataplane.engines.worker.sockets import connect_to

T = TypeVar("T")

READ_BYTES = 64 * 1024
CONNECT_SECONDS = 2.0  # the kernel takes a connection for whoever listens, however busy that is


class Connection:
    """Not thread-safe: whoever holds it asks alone."""

    def __init__(self, path: Path, digest: str, deadline: float) -> None:
        """Connect; raises `OSError` when nobody answers there, `BadFrame` when it is not the bundle `digest`.

        The model worker has one thread: it says hello once the run that is under way is over, which may take until the
        deadline.
        """
        self._socket = connect_to(path, min(CONNECT_SECONDS, _remaining(deadline)))
        try:
            self._socket.settimeout(_remaining(deadline))
            hello, _ = self._read(Inbox(Hello), deadline)
            if hello.digest != digest:
                raise BadFrame("another bundle answers there.")
        except BaseException:
            self._socket.close()
            raise
        self.number: int = hello.connection
        self._inbox = Inbox(Told)

    def ask(self, frame: bytes, deadline: float) -> tuple[Told, bytearray]:
        """Send one request and return its answer.

        Raises `TimeoutError` at the deadline, `OSError` when the model worker went away, `BadFrame` for what is no
        answer; after any of them the connection is of no use.
        """
        self._socket.settimeout(_remaining(deadline))
        self._socket.sendall(frame)
        return self._read(self._inbox, deadline)

    def put(self, frame: bytes) -> None:
        """Send one request and do not wait; raises `OSError` where it cannot be sent whole at once."""
        self._socket.setblocking(False)
        if self._socket.send(frame) != len(frame):
            raise BlockingIOError("the model worker takes no more")

    def look(self) -> tuple[Told, bytearray] | None:
        """Return the answer to what was `put`, None while there is none; raises as `receive` does, and never blocks."""
        try:
            return self._take(self._inbox)
        except BlockingIOError:
            return None

    def receive(self, deadline: float) -> tuple[Told, bytearray]:
        """Return the answer to what was `put`; raises as `ask` does."""
        self._socket.settimeout(_remaining(deadline))
        return self._read(self._inbox, deadline)

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """End it; the model worker drops what it has queued of it."""
        self._socket.close()

    def _read(self, inbox: Inbox[T], deadline: float) -> tuple[T, bytearray]:
        while (complete := self._take(inbox)) is None:
            self._socket.settimeout(_remaining(deadline))
        return complete

    def _take(self, inbox: Inbox[T]) -> tuple[T, bytearray] | None:
        data = self._socket.recv(min(max(inbox.missing, READ_BYTES), 16 * READ_BYTES))
        if not data:
            raise ConnectionResetError("the model worker went away")
        return inbox.feed(data)


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining
