"""Unix sockets in a private folder, whose paths may be longer than the 107 bytes that an address holds."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_ADDRESS = 107  # bytes, unix(7)
BACKLOG = 512


def listen_on(path: Path) -> socket.socket:
    """Return a non-blocking socket that listens on `path`, which appears once it does; only its owner may connect."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        scratch = path.with_name(f".{path.name}")
        scratch.unlink(missing_ok=True)
        with _address(scratch) as address:
            listening.bind(address)
        scratch.chmod(0o600)
        listening.listen(BACKLOG)
        listening.setblocking(False)
        scratch.rename(path)
    except BaseException:
        listening.close()
        raise
    return listening


def connect_to(path: Path, seconds: float) -> socket.socket:
    """Return a connection to whoever listens on `path`; raises `OSError` when nobody does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        with _address(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """Yield an address for `path`: itself where it is short enough, else by way of its folder's descriptor."""
    if len(os.fsencode(path)) <= MAX_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
