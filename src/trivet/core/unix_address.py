"""Where a unix socket is, for paths longer than the 107 bytes that an address holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_ADDRESS = 107  # bytes, unix(7)


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """Yield an address for `path`: itself where it is short enough, else by way of its folder's descriptor."""
    if len(os.fsencode(path)) <= MAX_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
