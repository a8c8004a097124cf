"""The leash: one connection between a zygote and whoever wants a process of it, for as long as that process may live.

The zygote speaks first: what it is and how far its processes confine themselves. One order goes to it, with descriptors;
how the process ended comes back. Who lets go of the leash, or dies, has the process and its session killed.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

import trivet
from trivet.core.unix_address import address_of
from trivet.model.sandbox.confinement import Confinement

MOST_BYTES = 64 * 1024
MOST_DESCRIPTORS = 16
MOST_NUMBER = 65535  # that a descriptor may have in the process
CREDENTIALS = struct.Struct("3i")  # of SO_PEERCRED: process, user, group


class Hello(msgspec.Struct, frozen=True):
    """What a zygote says of itself: the code it runs, and how far a process of its own was confined, by trying."""

    code: str
    confinement: Confinement


class Order(msgspec.Struct, frozen=True):
    """What is to run: a module that the zygote knows, its arguments, and the number that each descriptor is to have."""

    module: str
    arguments: tuple[str, ...]
    numbers: tuple[int, ...]  # of the descriptors that come along, after the first, which is the folder to work in


class Ended(msgspec.Struct, frozen=True):
    """How a process ended: its exit code, or the signal that ended it as a negative number, as `subprocess` says it."""

    code: int


def code_in_use() -> str:
    """Return what tells one state of the installed code from another: its place, when it changed, and the interpreter's."""
    root = Path(trivet.__file__).parent
    changed = [path.stat().st_mtime_ns for room in ("core", "model") for path in (root / room).rglob("*.py")]
    packages = [place.stat().st_mtime_ns for place in (root.parent, Path(msgspec.__file__).parents[1])]
    return f"{trivet.__version__} {root} {len(changed)} {max(changed, default=0)} {packages} {Path(os.__file__).parent}"


def listen_on(path: Path) -> socket.socket:
    """Return a socket that listens on `path`, in a folder that only its owner may enter. Its messages keep their bounds."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        path.unlink(missing_ok=True)
        with address_of(path) as address:
            listening.bind(address)
        path.chmod(0o600)
        listening.listen()
    except BaseException:
        listening.close()
        raise
    return listening


def connect_to(path: Path, seconds: float) -> socket.socket:
    """Return a leash of the zygote that listens on `path`, run by this very user; raises `OSError` when there is none."""
    leash = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        if seconds <= 0:
            raise TimeoutError("no time is left to ask it")
        leash.settimeout(seconds)
        with address_of(path) as address:
            leash.connect(address)
        if user_of(leash) != os.geteuid():
            raise PermissionError(f"another user listens on {path.name}")
    except BaseException:
        leash.close()
        raise
    return leash


def user_of(leash: socket.socket) -> int:
    """Return the user of the process at the other end, as the kernel knows it."""
    user: int = CREDENTIALS.unpack(leash.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))[1]
    return user


def send(leash: socket.socket, message: Hello | Order | Ended, descriptors: Sequence[int] = ()) -> None:
    """Send one message and `descriptors` with it; raises `OSError` when nobody reads any more."""
    body = msgspec.msgpack.encode(message)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    leash.sendmsg([body], rights, socket.MSG_NOSIGNAL)


def receive(leash: socket.socket) -> tuple[bytes, list[int]]:
    """Return one message and the descriptors that came with it, which are this process's to close; empty at the end."""
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
    body, ancillary, _, _ = leash.recvmsg(MOST_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    received = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            received.frombytes(data[: len(data) - len(data) % received.itemsize])
    return body, received.tolist()
