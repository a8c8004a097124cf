"""The limits that a disposable process puts on itself before it does anything else."""

from __future__ import annotations

import math
import resource
import time

MEMORY_BYTES = 4 * 1024**3
WRITTEN_FILE_BYTES = 1024**2
OPEN_FILES = 256

_deadline = math.inf


def limit(seconds: int) -> None:
    """Bound this process: processor seconds, memory, files, no core dump. `confine` bounds how many threads it has."""
    global _deadline
    _deadline = time.monotonic() + seconds
    _set(resource.RLIMIT_CPU, seconds)
    _set(resource.RLIMIT_AS, MEMORY_BYTES)
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_FSIZE, WRITTEN_FILE_BYTES)
    _set(resource.RLIMIT_NOFILE, OPEN_FILES)


def seconds_left() -> float:
    """Return how long it may be until this process is ended; infinite where nothing bounds it."""
    return max(_deadline - time.monotonic(), 0.0)


def _set(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (allowed, allowed))
