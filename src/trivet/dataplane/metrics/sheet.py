"""The sheet: the counters of one process, in a file that it alone writes and every process of the host may read.

A counter is a 64-bit slot of shared memory, so counting is one addition: no lock, no system call, and what was counted
outlives the process however it ends. Beside the slots lies an index, one line of JSON for each run of slots:

    ["answers", "churn", "3", "rest", "run", "1", 128, 10]        kind, labels, first slot, slots

A line is written before its slots are used, so a torn last line tells of nothing. The process holds a lock on the
index for as long as it lives; a free lock means a dead process.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

SLOTS = ".slots"
INDEX = ".index"
PART_BYTES = 64 * 1024  # mapped at a time, so that slots in use never move
SLOT_BYTES = 8

VALUE = "value"  # kind of a slot that holds the bits of a float

Key = tuple[str, ...]  # kind and labels


def bits_of(value: float) -> int:
    """Return `value` as a slot holds it. Of two that are not negative the larger has the larger bits."""
    return int(struct.unpack("=Q", struct.pack("=d", value))[0])


def value_of(bits: int) -> float:
    """Return what `bits_of` was given."""
    return float(struct.unpack("=d", struct.pack("=Q", bits))[0])


class Sheet:
    """The writing side, one per process. `run` is thread-safe; a slot may be added to from any thread that holds the GIL."""

    def __init__(self, root: Path | None = None, worker: str = "") -> None:
        """Open the files of `worker` under `root`; without a root, count in memory that nobody else sees."""
        self._lock = threading.Lock()
        self._slots = -1
        self._index = -1
        self._next = 0  # the first slot of the file that is not given out
        self._part = memoryview(b"")
        self._left = 0
        self._is_seen = False  # the part now given out lies in the file
        if root is not None:
            self._open(root, worker)

    def run(self, kind: str, labels: Key, length: int) -> memoryview:
        """Return `length` new slots, all 0, as integers. Where the disk is full they are nobody else's to see."""
        with self._lock:
            if self._left < length:
                self._map(max(PART_BYTES, -(-length * SLOT_BYTES // PART_BYTES) * PART_BYTES))
            start = len(self._part) - self._left
            if self._is_seen:
                self._name([kind, *labels, self._next - self._left, length])
            self._left -= length
            return self._part[start : start + length]

    def _name(self, run: list[Any]) -> None:  # Any: words, then two numbers
        """Say in the index where a run lies. On a full disk it stays unnamed, and is tried no more."""
        line = f"{json.dumps(run, ensure_ascii=False)}\n".encode()
        try:
            written = os.write(self._index, line)
        except OSError as error:
            written, reason = 0, error.strerror
        else:
            reason = "short write"
        if written != len(line):
            self._is_seen = False
            logger.warning("event=not_counted_on_disk error=%s", reason)

    def close(self) -> None:
        """Give the lock up: what was counted is folded into the host's by whoever looks next."""
        with self._lock:
            for descriptor in (self._index, self._slots):
                if descriptor >= 0:
                    os.close(descriptor)
            self._index = self._slots = -1
            self._left, self._is_seen = 0, False

    def _open(self, root: Path, worker: str) -> None:
        index = root / f"{worker}{INDEX}"
        partial = root / f".{worker}{INDEX}"  # locked before anybody can find it, and take it for a dead process's
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._slots = os.open(root / f"{worker}{SLOTS}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._index = os.open(partial, flags, 0o600)
            fcntl.flock(self._index, fcntl.LOCK_EX)
            partial.rename(index)
        except OSError as error:
            logger.warning("event=not_counted_on_disk error=%s", error.strerror)
            self.close()

    def _map(self, size: int) -> None:
        """Map the next part of the file. It is allocated first: a full disk is an error here, not a signal later."""
        mapped = mmap.mmap(-1, size)
        self._is_seen = False
        if self._slots >= 0:
            offset = self._next * SLOT_BYTES
            try:
                os.posix_fallocate(self._slots, offset, size)
                mapped = mmap.mmap(self._slots, size, offset=offset)
                self._next += size // SLOT_BYTES
                self._is_seen = True
            except OSError as error:
                logger.warning("event=not_counted_on_disk error=%s", error.strerror)
        self._part = memoryview(mapped).cast("Q")
        self._left = size // SLOT_BYTES


# --- the reading side -------------------------------------------------------------------------------------------------


class Page(NamedTuple):
    """The sheet of one process, as it lies on disk. `is_final`: its process is dead and counts no more."""

    worker: str
    root: Path
    is_final: bool

    def read(self) -> Iterator[tuple[Key, list[int]]]:
        """Yield each run of slots with its key; raises `FileNotFoundError` when the page has been folded meanwhile.

        What a power cut left unreadable is passed over.
        """
        lines = (self.root / f"{self.worker}{INDEX}").read_bytes().split(b"\n")[:-1]
        content = (self.root / f"{self.worker}{SLOTS}").read_bytes()
        slots = memoryview(content[: len(content) // SLOT_BYTES * SLOT_BYTES]).cast("Q")
        for line in lines:
            with contextlib.suppress(ValueError):
                *key, start, length = json.loads(line)
                values = slots[start : start + length].tolist()
                if len(values) == length:
                    yield tuple(key), values

    def remove(self) -> None:
        """Delete both files."""
        for suffix in (INDEX, SLOTS):
            (self.root / f"{self.worker}{suffix}").unlink(missing_ok=True)


def pages(root: Path) -> list[Page]:
    """Return the page of every process that has counted under `root` and was not folded yet."""
    found = []
    for path in sorted(root.glob(f"[!.]*{INDEX}")):
        with contextlib.suppress(FileNotFoundError):
            found.append(Page(path.name.removesuffix(INDEX), root, _is_free(path)))
    return found


def _is_free(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(
            descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB
        )  # shared: two who look do not take each other for the owner
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
