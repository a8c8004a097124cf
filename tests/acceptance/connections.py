"""Connections to one web worker of several, though all take them from one socket."""

from __future__ import annotations

import http.client
from contextlib import suppress
from pathlib import Path

MOST_TRIES = 500  # the kernel gives connections to whichever worker is first


def connection_to(port: int, worker: int) -> http.client.HTTPConnection:
    """Return a kept-alive connection to the server on `port` that its web worker `worker` has taken."""
    for _ in range(MOST_TRIES):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/v2/health/live")  # once it is answered, somebody has taken the connection
        connection.getresponse().read()
        if is_held_by(worker, client_port=connection.sock.getsockname()[1], server_port=port):
            return connection
        connection.close()
    raise AssertionError(f"{worker} took none of {MOST_TRIES} connections")


def is_held_by(pid: int, *, client_port: int, server_port: int) -> bool:
    """True when the process `pid` has the server's end of a connection within this machine."""
    ends = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    wanted = (f":{server_port:04X}", f":{client_port:04X}")
    inode = next(end[9] for end in ends if (end[1][8:], end[2][8:]) == wanted)
    return f"socket:[{inode}]" in open_files(pid)


def open_files(pid: int) -> set[str]:
    """Return what the descriptors of a process lead to."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found.add(str(descriptor.readlink()))
    return found
