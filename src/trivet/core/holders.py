"""Holders: how a process is named that holds something, so that others of its machine see at once when it is gone."""

from __future__ import annotations

import os
from pathlib import Path

from trivet.core.boot import process_space

START_FIELD = 19  # of /proc/PID/stat, counted after the name: when it was started, in ticks since boot (proc(5))


def this_holder() -> str:
    """Return the name of this process: where ids of processes mean the same, its id, and when it began."""
    pid = os.getpid()
    return f"{process_space()}:{pid}:{_began(pid)}"


def is_gone(holder: str) -> bool:
    """True where the process of that name has certainly ended. Of one on another machine nothing is known."""
    space, _, rest = holder.partition(":")
    pid, _, began = rest.partition(":")
    if not space or space != process_space() or not pid.isdigit():
        return False
    return _began(int(pid)) != began


def _began(pid: int) -> str:
    """Return when a process was started; empty for one that is not there, or has ended and waits for its parent."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in ("Z", "X") else fields[START_FIELD - 1]
