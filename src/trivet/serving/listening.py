"""The socket on which a server listens: opened once, by whoever starts the processes that share it."""

from __future__ import annotations

import socket

BACKLOG = 2048


def open_listening_socket(bind: str) -> socket.socket:
    """Return a listening TCP socket on `host:port`; raises `OSError` when it cannot be had, `ValueError` for no address.

    A port alone is none: what a hurried person leaves out must not open every interface.
    """
    host, _, port = bind.rpartition(":")
    if not host:
        raise ValueError(f"{bind!r} has no host")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host.strip("[]"), int(port)))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening
