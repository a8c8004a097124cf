"""What a web worker and the owner of the model workers say to each other: who wants which version, and how it is."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from trivet.core.errors import TrivetError

LENGTH = struct.Struct("<I")
MAX_MESSAGE = 1024 * 1024


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a version is run: instances, bytes of memory each may use, seconds a run may take, rows of a batch, ..."""

    instances: int = 1
    memory_bytes: int = 2 * 1024**3
    deadline_seconds: float = 10.0
    queue_length: int = 256  # requests that may wait in one process that asks
    queue_total: int = 256  # and in one instance, of all of them
    max_batch_size: int = 64  # rows
    max_batch_delay_ms: float = 2.0


class Want(msgspec.Struct, frozen=True, tag="want"):
    """Run this version for as long as I am connected, or until I release it."""

    digest: str
    options: Options
    environment: str = ""  # the key of its own, where it needs one


class Release(msgspec.Struct, frozen=True, tag="release"):
    """I do not need this version any more."""

    digest: str


class Missing(msgspec.Struct, frozen=True, tag="missing"):
    """Its bundle is not here: write it to `folder`, then ask again."""

    digest: str
    folder: str


class Peer(msgspec.Struct, frozen=True):
    """One instance that answers: its place among those of its version, its socket, and the file that names its runs."""

    place: int
    socket: str
    runs: str
    pid: int
    sandbox_level: int = 0  # that it had reached before it loaded the bundle
    load_seconds: float = 0.0  # from its start until it answered


class State(msgspec.Struct, frozen=True, tag="state", kw_only=True):
    """How a version is: which instances answer, why none does, how often they were replaced and why."""

    digest: str
    is_failed: bool
    reason: str
    peers: list[Peer]
    restarts: dict[str, int]  # by reason: crash, hang, memory, drain, tripwire
    rss_bytes: int
    cost_us_per_row: float


Message = Want | Release | Missing | State
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def encode_message(message: Message) -> bytes:
    """Return `message` with its length in front."""
    encoded = _encode(message)
    return LENGTH.pack(len(encoded)) + encoded


class Reader:
    """Bytes as they arrive, and the messages in them."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield each message that is complete now. Raises `TrivetError` for bytes that are none."""
        self._bytes += data
        while len(self._bytes) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._bytes)
            if size > MAX_MESSAGE:
                raise TrivetError("a message about model workers is too long.")
            if len(self._bytes) < LENGTH.size + size:
                return
            encoded = bytes(self._bytes[LENGTH.size : LENGTH.size + size])
            del self._bytes[: LENGTH.size + size]
            try:
                yield _decode(encoded)
            except msgspec.DecodeError as error:
                raise TrivetError("a message about model workers cannot be read.") from error
