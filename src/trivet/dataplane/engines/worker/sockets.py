"""Unix sockets in a private folder."""

from __future__ import annotations

import socket
from pathlib import Path

from trivet.core.unix_address import address_of

BACKLOG = 512


def listen_on(path: Path) -> socket.socket:
    """Return a non-blocking socket that listens on `path`, which appears once it does; only its owner may connect."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        scratch = path.with_name(f".{path.name}")
        scratch.unlink(missing_ok=True)
        with address_of(scratch) as address:
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
        with address_of(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection
