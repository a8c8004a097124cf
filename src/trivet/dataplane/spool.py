"""The spool: where records are appended before answers are sent, and read from afterwards.

A worker owns a folder of numbered segments. A segment is preallocated, so that a full disk shows when the next one is
made and not in the middle of a request, and it is held under a file lock for as long as its worker lives: a free lock
means a dead worker. One record is one frame, written by one `pwrite`:

    magic b"TV" | length of the payload, uint32 | CRC-32 of the payload, uint32 | payload (msgpack)

A frame whose magic, length or CRC is wrong ends the segment: nobody was told an answer from behind it. What was
written survives the death of the process, for the page cache outlives it. Whether it survives the loss of power is up
to `commits`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trivet.core.errors import Unavailable
from trivet.dataplane.group_commit import GroupCommit

logger = logging.getLogger(__name__)

MAGIC = b"TV"
HEADER = struct.Struct("<2sII")
SEGMENT_BYTES = 16 * 1024 * 1024
MAX_RECORD_BYTES = 1024 * 1024
SUFFIX = ".seg"
MARK = ".shipped"
ABANDONED_SECONDS = 60  # a segment half made this long ago was not finished by its worker, which died
_PARTIAL = ".new"


class Spool:
    """The writing side, one per process. Thread-safe; forget it after a fork, the parent owns its segment."""

    def __init__(
        self,
        root: Path,
        worker: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        limit_bytes: int = 0,
        survives_power_loss: bool = False,
    ) -> None:
        """Open the folder of `worker` under `root`; the first append makes the first segment.

        `limit_bytes` bounds what all workers together may leave unshipped under `root`; 0 means no bound. With
        `survives_power_loss` an answer waits for `commits`, which is None without.
        """
        self.commits = GroupCommit(self._sync) if survives_power_loss else None
        self._left: list[int] = []  # descriptors of segments that are full, still to be synced and closed
        self.folder = root / worker
        self.root = root
        self._segment_bytes = segment_bytes
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._descriptor = -1
        self._offset = 0
        self._number = 0
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def ensure_writable(self) -> None:
        """Make sure the next append has room; raises `Unavailable` (LOG_UNAVAILABLE) when no segment can be made."""
        if self._descriptor < 0 or self._offset + HEADER.size + MAX_RECORD_BYTES > self._segment_bytes:
            with self._lock:
                self._roll(HEADER.size + MAX_RECORD_BYTES)

    def append(self, payload: bytes) -> None:
        """Write `payload` as one frame. On return it survives the death of this process. Raises `Unavailable`."""
        size = HEADER.size + len(payload)
        frame = HEADER.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload
        with self._lock:
            if self._descriptor < 0 or self._offset + size > self._segment_bytes:
                self._roll(size)
            try:
                written = os.pwrite(self._descriptor, frame, self._offset)
            except OSError as error:
                raise _unwritable(error) from error
            if written != size:  # the offset stays: the next frame overwrites the torn one
                raise _unwritable(OSError(errno.ENOSPC, "short write"))
            self._offset += size

    def close(self) -> None:
        """Give the segment up; its lock is free from now on, so the keeper ships and removes it."""
        if self.commits is not None:
            self.commits.close()
        with self._lock:
            self._leave()
            left, self._left = self._left, []
        for descriptor in left:
            os.close(descriptor)

    def abandon_after_fork(self) -> None:
        """In a forked child: drop the inherited descriptor, so that the parent's lock is the parent's alone."""
        self._lock = threading.Lock()
        self.commits = None if self.commits is None else GroupCommit(self._sync)
        self._leave()
        for descriptor in self._left:
            os.close(descriptor)
        self._left = []

    def _roll(self, size: int) -> None:
        if self._descriptor >= 0 and self._offset + size <= self._segment_bytes:
            return
        try:
            self._refuse_beyond_limit()
            try:
                descriptor = self._make_segment(size)
            except FileNotFoundError:  # the keeper removed the empty folder between two of our steps
                descriptor = self._make_segment(size)
        except OSError as error:
            raise _unwritable(error) from error
        self._leave()
        self._descriptor, self._offset = descriptor, 0

    def _leave(self) -> None:
        """Give up the present segment. Where its records are still to be synced, whoever syncs closes it after that."""
        if self._descriptor < 0:
            return
        if self.commits is None:
            os.close(self._descriptor)
        else:
            self._left.append(self._descriptor)
        self._descriptor = -1

    def _sync(self) -> None:
        """Put on disk what was appended until now. One thread calls this, and nobody else closes what it syncs."""
        with self._lock:
            left, self._left = self._left, []
            present = self._descriptor
        try:
            for descriptor in (*left, present):
                if descriptor >= 0:
                    os.fdatasync(descriptor)
        except OSError as error:
            with self._lock:
                if self._descriptor == present:
                    self._leave()  # what the kernel could not write it may have dropped: begin anew
            raise _unwritable(error) from error
        finally:
            for descriptor in left:
                os.close(descriptor)

    def _make_segment(self, size: int) -> int:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._number += 1
        path = self.folder / f"{self._number:012d}{SUFFIX}"
        partial = path.with_suffix(_PARTIAL)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.posix_fallocate(descriptor, 0, max(self._segment_bytes, size))
            partial.rename(path)
            if self.commits is not None:
                os.fsync(descriptor)
                _sync_folder(self.folder)
                _sync_folder(self.root)
        except OSError:
            os.close(descriptor)
            partial.unlink(missing_ok=True)
            raise
        return descriptor

    def _refuse_beyond_limit(self) -> None:
        if self._limit_bytes and spool_bytes(self.root) + self._segment_bytes > self._limit_bytes:
            raise OSError(errno.EDQUOT, "the spool is at its bound (TRIVET_SPOOL_MB); is the keeper running?")


def _sync_folder(folder: Path) -> None:
    """Put on disk which files there are in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(error: OSError) -> Unavailable:
    logger.error("event=spool_unwritable errno=%s error=%s", error.errno, error.strerror)
    return Unavailable("the prediction log cannot be written, so nothing is predicted.", code="LOG_UNAVAILABLE")


# --- the reading side, used by whoever ships ------------------------------------------------------------------------


@dataclass(frozen=True)
class Segment:
    """One segment on disk. `is_final`: its worker will write no more into it."""

    worker: str
    number: int
    path: Path
    is_final: bool

    def payloads(self, offset: int) -> Iterator[tuple[bytes, int]]:
        """Yield the payload of each whole frame from `offset` on, with the offset after it; stop at the first torn one."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                while True:
                    header = file.read(HEADER.size)
                    if len(header) < HEADER.size:
                        return
                    magic, length, checksum = HEADER.unpack(header)
                    if magic != MAGIC:
                        return
                    payload = file.read(length)
                    if len(payload) < length or zlib.crc32(payload) != checksum:
                        return
                    offset += HEADER.size + length
                    yield payload, offset
        except FileNotFoundError:
            return

    def mark_shipped(self, offset: int) -> None:
        """Note, for whoever wants to know what waits, that all before `offset` is in the log. The log itself decides."""
        descriptor = os.open(self.path.with_suffix(MARK), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, offset.to_bytes(8, "little"), 0)
        finally:
            os.close(descriptor)

    @property
    def shipped(self) -> int:
        """The offset that was marked last; 0 for none."""
        try:
            return int.from_bytes(self.path.with_suffix(MARK).read_bytes(), "little")
        except FileNotFoundError:
            return 0

    def remove(self) -> None:
        """Delete the segment, and its worker's folder once that is empty."""
        self.path.with_suffix(MARK).unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # its worker has more segments
            self.path.parent.rmdir()


def segments(root: Path) -> list[Segment]:
    """Return every segment under `root`, oldest first per worker. A worker's newest is final only once the worker is dead."""
    found: list[Segment] = []
    for folder in sorted(_folders(root)):
        paths = sorted(folder.glob(f"*{SUFFIX}"))
        for place, path in enumerate(paths):
            is_last = place == len(paths) - 1
            found.append(Segment(folder.name, int(path.stem), path, not is_last or _is_orphan(path)))
        if not paths:
            _remove_if_abandoned(folder)
    return found


def spool_bytes(root: Path) -> int:
    """Return how many bytes of disk the segments under `root` hold."""
    total = 0
    for folder in _folders(root):
        for path in folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # the keeper removed it just now
                total += path.stat().st_size
    return total


def _folders(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []


def _is_orphan(path: Path) -> bool:
    """True when nobody holds the segment's lock: its worker is dead. Taking the lock here is harmless for that reason."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _remove_if_abandoned(folder: Path) -> None:
    """Remove a folder without segments; a worker that still lives makes it again with its next segment."""
    for partial in folder.glob(f"*{_PARTIAL}"):
        if time.time() - partial.stat().st_mtime > ABANDONED_SECONDS and _is_orphan(partial):
            partial.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
