"""This start of the machine: its clock, which nobody sets and which counts sleep, and where process ids mean the same."""

from __future__ import annotations

import hashlib
import time
from functools import cache
from pathlib import Path

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux; elsewhere sleep is not counted
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")


@cache
def boot_id() -> str:
    """Return what no other start of this machine has; empty where that cannot be told."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def seconds_since_boot() -> float:
    """Return the clock, in seconds. Two processes of one machine read the same."""
    return time.clock_gettime(_CLOCK)


def process_space() -> str:
    """Return what two processes share where a process id means the same to both, in 12 characters; empty where nothing tells.

    Containers of one machine have its host name where they use its network, and still each ids of their own. Machines of one
    name have the same first namespace, so the start of the machine is part of it.
    """
    try:
        namespace = _PID_NAMESPACE.stat().st_ino
    except OSError:
        return ""
    boot = boot_id()
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:12] if boot else ""
