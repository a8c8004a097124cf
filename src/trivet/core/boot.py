"""The clock of this machine since it was started: whoever sets the wall clock does not move it, and it counts sleep."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux; elsewhere sleep is not counted
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


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
