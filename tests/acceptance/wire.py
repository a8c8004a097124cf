"""One TCP connection to a server, byte by byte, and the request that works on it."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any, Self

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server


@dataclass(frozen=True)
class Told:
    """One answer as it came; `headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One TCP connection; answers are read by their Content-Length."""

    def __init__(self, server: Server, *, timeout: float = 15, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", server.port))
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, *, has_body: bool = True) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the next answer; raises `ConnectionError` where there is none."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if has_body and headers.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self._take(int(headers.get("content-length", 0)) if has_body else 0)
        return int(status.split()[1]), headers, body

    def told(self) -> Told:
        """Return the next answer."""
        return Told(*self.answer())

    def is_closed(self) -> bool:
        """Wait for the next byte, or for the end; True when it was the end."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _chunk(self) -> bytes:
        """Return the next chunk of a body, which is empty at its end."""
        while b"\r\n" not in self.buffer:
            self._more()
        size, _, self.buffer = self.buffer.partition(b"\r\n")
        return self._take(int(size, 16) + 2)[:-2]

    def _take(self, length: int) -> bytes:
        while len(self.buffer) < length:
            self._more()
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed")
        self.buffer += data


def request(churn: Churn, body: bytes | None = None, *, extra: str = "", path: str = "/v2/models/churn/infer") -> bytes:
    """Return a request with the key, `extra` being whole header lines."""
    body = churn.body if body is None else body
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {churn.key}\r\n{extra}"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def marked(churn: Churn, mark: str) -> bytes:
    """Return a good request that `mark`, an id, tells from others."""
    return request(churn, json.dumps(json.loads(churn.body) | {"id": mark}).encode())
