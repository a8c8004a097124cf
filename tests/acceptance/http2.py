"""HTTP/2 frames written by hand, for what no client library would send: heads without a message, windows of nothing."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Self

from tests.acceptance.servers import wait_for

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE = 4
FRAME = struct.Struct(">BHBBI")  # length in 1 + 2 bytes, type, flags, stream


class Frames:
    """One connection to the gRPC server at `address`. A `window` of 0 takes no byte of any answer."""

    def __init__(self, address: str, *, window: int | None = None) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=20)
        self._socket.sendall(PREFACE)
        given = b"" if window is None else struct.pack(">HI", INITIAL_WINDOW_SIZE, window)
        self.send(SETTINGS, 0, 0, given)
        self._received = b""
        self._next = 1
        self.ended: set[int] = set()  # streams that the server ended
        self.begun: set[int] = set()  # streams that it has answered anything on

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """Write one frame."""
        self._socket.sendall(FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload)

    def call(self, method: str, message: bytes | None = None, **metadata: str) -> int:
        """Open a stream for `/service/method`, with a whole message or with the head alone; return its number."""
        stream, self._next = self._next, self._next + 2
        fields = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "tests"}
        fields |= {"content-type": "application/grpc", "te": "trailers"} | metadata
        self.send(HEADERS, END_HEADERS, stream, b"".join(map(_literal, fields.items())))
        if message is not None:
            self.send(DATA, END_STREAM, stream, prefixed(message))
        return stream

    def look(self) -> None:
        """Take what has come, and acknowledge what wants to be."""
        self._socket.settimeout(0.05)
        with suppress(TimeoutError):
            while more := self._socket.recv(65536):
                self._received += more
        self._socket.settimeout(20)
        while len(self._received) >= FRAME.size:
            high, low, kind, flags, stream = FRAME.unpack_from(self._received)
            end = FRAME.size + (high << 16) + low
            if len(self._received) < end:
                break
            payload, self._received = self._received[FRAME.size : end], self._received[end:]
            if kind in (SETTINGS, PING) and not flags & ACK:
                self.send(kind, ACK, 0, payload if kind == PING else b"")
            if kind in (DATA, HEADERS):
                self.begun.add(stream)
            if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
                self.ended.add(stream)

    def wait_ended(self, streams: set[int], seconds: float) -> None:
        """Return once the server has ended all of `streams`."""

        def are_over() -> bool:
            self.look()
            return streams <= self.ended

        wait_for(are_over, seconds)


def prefixed(message: bytes) -> bytes:
    """Return a message as gRPC frames it: not compressed, its length, itself."""
    return struct.pack(">BI", 0, len(message)) + message


def _literal(field: tuple[str, str]) -> bytes:
    """Return a field as HPACK's literal without indexing; name and value have under 127 bytes."""
    name, value = (part.encode() for part in field)
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
