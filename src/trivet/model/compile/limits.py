"""The limits that a disposable process puts on itself before it does anything else."""

from __future__ import annotations

import resource

MEMORY_BYTES = 4 * 1024**3
WRITTEN_FILE_BYTES = 1024**2
OPEN_FILES = 256


def limit(seconds: int) -> None:
    """Bound this process: processor seconds, memory, files, no core dump. `confine` bounds how many threads it has."""
    _set(resource.RLIMIT_CPU, seconds)
    _set(resource.RLIMIT_AS, MEMORY_BYTES)
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_FSIZE, WRITTEN_FILE_BYTES)
    _set(resource.RLIMIT_NOFILE, OPEN_FILES)


def _set(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (allowed, allowed))
