"""The tripwire: a process that only answers ends at once when something in it unpickles or starts a program (PEP 578).

It is for our own regressions: a dependency that begins to open pickles, a path nobody thought of. What is hostile is held
by the kernel (`confine`); native code passes by an audit hook, and so does a pickle that names no global.
"""

from __future__ import annotations

import os
import sys
from typing import Any

STATUS = 86  # how a process ends that tripped
EVENTS = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
        "os.system",
        "pickle.find_class",
        "pty.spawn",
        "subprocess.Popen",
    }
)


def arm() -> None:
    """End this process when one of `EVENTS` happens in it from now on. A hook cannot be taken away again."""
    sys.addaudithook(_look)


def _look(event: str, arguments: tuple[Any, ...]) -> None:  # noqa: ARG001  (as hooks are called; nothing of them is told)
    if event in EVENTS:
        os.write(2, f"CRITICAL trivet event=tripwire audit={event} pid={os.getpid()}\n".encode())
        os._exit(STATUS)
