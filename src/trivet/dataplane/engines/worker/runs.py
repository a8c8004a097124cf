"""What a model worker is running at this instant, and when it writes again; kept in a file that outlives it.

When a model worker dies, those who waited for it look here: who was in the run that killed it is suspected of it, who
only stood in the queue is not. Who asks whether it would answer looks here too: it is silent when it has not written again
by the instant it named last. Writing is a few stores into shared memory, so it costs a run nothing.
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
_INSTANT = struct.Struct("d")  # of the machine's monotonic clock; aligned and native: stored at one stroke
_INSTANT_AT = SIZE - 2 * _INSTANT.size  # by which the model worker writes again; 0 before it first answers
MOST = (_INSTANT_AT - _COUNT.size) // _NUMBER.size


class RunsWritten:
    """The model worker's end."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, SIZE)  # a full disk is an error here, not a signal in a run
            self._memory = mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)

    def expect(self, until: float) -> None:
        """Promise to write again by `until`, an instant of `time.monotonic()`."""
        _INSTANT.pack_into(self._memory, _INSTANT_AT, until)

    def begin(self, connections: Sequence[int], until: float, *, is_cut_short: bool = False) -> None:
        """Name the connections whose requests run now, and until when it is over unless it hangs.

        `is_cut_short` when they give it less time than a run may have.
        """
        self.expect(until)
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

    def silent_seconds(self, now: float) -> float:
        """Return for how long at `now` the model worker has owed a sign of life; 0 while it owes none."""
        data = os.pread(self._descriptor, _INSTANT.size, _INSTANT_AT)
        until = _INSTANT.unpack(data)[0] if len(data) == _INSTANT.size else 0.0
        return float(max(now - until, 0.0)) if until else 0.0

    @property
    def is_running(self) -> bool:
        """True when a run was under way when last written."""
        data = os.pread(self._descriptor, _COUNT.size, 0)
        return len(data) == _COUNT.size and bool(_COUNT.unpack(data)[0])

    def close(self) -> None:
        """Forget the file."""
        os.close(self._descriptor)
