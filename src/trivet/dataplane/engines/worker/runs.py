"""What a model worker is running at this instant, kept in a file that outlives it.

When a model worker dies, those who waited for it look here: who was in the run that killed it is suspected of it, who
only stood in the queue is not. Writing is a few stores into shared memory, so it costs a run nothing.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from pathlib import Path

SIZE = 4096  # bytes
_COUNT = struct.Struct("<I")
_NUMBER = struct.Struct("<I")
_FLAG = struct.Struct("<I")
_FLAG_AT = SIZE - _FLAG.size  # 1 where the run has less time than a run may have
MOST = (_FLAG_AT - _COUNT.size) // _NUMBER.size


class RunsWritten:
    """The model worker's end."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, SIZE)  # a full disk is an error here, not a signal in a run
            self._memory = mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)

    def begin(self, connections: Sequence[int], *, is_cut_short: bool = False) -> None:
        """Name the connections whose requests run now; `is_cut_short` when they give it less time than a run may have."""
        count = min(len(connections), MOST)
        struct.pack_into(f"<{count}I", self._memory, _COUNT.size, *connections[:count])
        _FLAG.pack_into(self._memory, _FLAG_AT, is_cut_short)
        _COUNT.pack_into(self._memory, 0, count)

    def end(self) -> None:
        """Nothing runs."""
        _COUNT.pack_into(self._memory, 0, 0)


class RunsRead:
    """The other end."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def includes(self, connection: int) -> bool:
        """True when the request on `connection` was running when last written."""
        data = os.pread(self._descriptor, SIZE, 0)
        if len(data) < SIZE:
            return True  # never written whole: nobody is cleared
        (count,) = _COUNT.unpack_from(data)
        return connection in struct.unpack_from(f"<{min(count, MOST)}I", data, _COUNT.size)

    def was_cut_short(self) -> bool:
        """True when the run that was running when last written had less time than a run may have."""
        data = os.pread(self._descriptor, SIZE, 0)
        return len(data) == SIZE and bool(_COUNT.unpack_from(data)[0] and _FLAG.unpack_from(data, _FLAG_AT)[0])

    def close(self) -> None:
        """Forget the file."""
        os.close(self._descriptor)
