"""The zygote of this machine: started by `trivet serve` once a trained file is pushed, and borrowed by whoever pushes."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from importlib.util import find_spec

from trivet.model.compile.disposable import ENVIRONMENT, zygote_of
from trivet.model.sandbox import leash
from trivet.model.sandbox.warm import SOCKET_NAME, WarmStart
from trivet.serving.model_workers import run_folder
from trivet.serving.supervisor import Child

NEEDED = "skl2onnx"  # without it nothing compiles here, and a zygote would be of no use


@dataclass(frozen=True)
class ZygoteSocket:
    """Where a zygote is asked for: the socket listens before there is one."""

    socket: socket.socket

    @property
    def path(self) -> str:
        return str(run_folder() / SOCKET_NAME)


def open_zygote_socket() -> ZygoteSocket | None:
    """Return the socket in the private folder of this TRIVET_HOME, or None where the training libraries are not installed.

    Only for who holds the control of its model workers, so that there is one.
    """
    if find_spec(NEEDED) is None:
        return None
    return ZygoteSocket(leash.listen_on(run_folder() / SOCKET_NAME))


def zygote_child(opened: ZygoteSocket, supervisor: int) -> Child:
    """Return the zygote as a process that is started once somebody asks for one, in an environment that holds nothing."""
    descriptor = opened.socket.fileno()
    return Child(
        "zygote",
        zygote_of(supervisor, descriptor),
        pass_descriptors=(descriptor,),
        starts_for=descriptor,
        environment=dict(ENVIRONMENT),
    )


def zygote_nearby() -> WarmStart | None:
    """Return the zygote of the server of this TRIVET_HOME, or None where none was asked for."""
    path = run_folder() / SOCKET_NAME
    return WarmStart(path) if path.is_socket() else None
