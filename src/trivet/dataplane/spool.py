"""The spool: where records are appended before answers are sent, and read from afterwards.

A worker owns a folder of numbered segments. A segment is preallocated, so that a full disk shows when the next one is
made and not in the middle of a request, and it is held under a file lock for as long as its worker lives: a free lock
means a dead worker. One record is one frame, written by one `pwrite`:

    magic b"TV" | length of the payload, uint32 | CRC-32 of the payload, uint32 | payload (msgpack)

A frame whose magic, length or CRC is wrong ends the segment: nobody was told an answer from behind it. What was
written survives the death of the process, for the page cache outlives it. Whether it survives the loss of power is up
to `commits`.

Where the log cannot be written, because the disk is full or fails or the bound is reached, nothing is answered; or, for
who would rather go without a record than without an answer, each record that is lost is counted (`serves_when_full`).
Either way the spool tries again by itself, and a segment that it makes then is written to before it is trusted.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trivet.core.errors import Unavailable
from trivet.dataplane.group_commit import GroupCommit

logger = logging.getLogger(__name__)

MAGIC = b"TV"
HEADER = struct.Struct("<2sII")
SEGMENT_BYTES = 16 * 1024 * 1024
MAX_RECORD_BYTES = 1024 * 1024
ROOM = HEADER.size + MAX_RECORD_BYTES
AGAIN_SECONDS = 0.25  # after a failure; a try may take a disk milliseconds, and a request must not wait for each
STEADY_SECONDS = 1.0  # without a failure, and the next one is taken for the first
TELL_SECONDS = 60.0  # between lines of the log about the same trouble
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
        serves_when_full: bool = False,
        tell_lost: Callable[[int], None] = lambda _records: None,
    ) -> None:
        """Write into the folder of `worker` under `root`; the first append makes it, and the first segment.

        `limit_bytes` bounds what all workers together may leave unshipped under `root`; 0 means no bound. With
        `survives_power_loss` an answer waits for `commits`, which is None without. With `serves_when_full` nothing here
        raises: what cannot be written is lost, and `tell_lost` hears of how many records.
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
        self._serves_when_full = serves_when_full
        self._tell_lost = tell_lost
        self._lost = 0
        self._unsynced = 0  # records since the last sync began
        self._spoilt: OSError | None = None  # a sync failed while they were written: they may be dropped unseen
        self._trouble: OSError | None = None  # why the log cannot be written now
        self._try_at = self._tell_at = 0.0
        self._failed_at = -STEADY_SECONDS

    @property
    def is_writable(self) -> bool:
        """False from a failure until a segment was made, and written to, after it."""
        return self._trouble is None

    def ensure_writable(self) -> None:
        """Make sure the next append has room; raises `Unavailable` (LOG_UNAVAILABLE) when no segment can be made."""
        if self._descriptor < 0 or self._offset + ROOM > self._segment_bytes:
            with self._lock:
                try:
                    self._roll(ROOM)
                except OSError as error:
                    self._refuse(error)

    def append(self, payload: bytes) -> None:
        """Write `payload` as one frame. On return it survives the death of this process. Raises `Unavailable`."""
        size = HEADER.size + len(payload)
        frame = HEADER.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload
        with self._lock:
            try:
                if self._descriptor < 0 or self._offset + size > self._segment_bytes:
                    self._roll(size)
                self._write(frame)
            except OSError as error:
                self._refuse(error, lost=1)
                return
            self._offset += size
            if self.commits is not None:
                self._unsynced += 1

    def check(self) -> None:
        """Find out whether the log can be written while nobody asks for anything. Raises nothing; may wait for a disk."""
        with self._lock:
            try:
                if self._descriptor >= 0:
                    if not os.fstat(self._descriptor).st_nlink:
                        self._leave()  # somebody removed it: what is written there nobody finds
                    elif self._offset + HEADER.size <= self._segment_bytes:
                        self._write(bytes(HEADER.size))  # ends the segment until the next frame takes its place
                self._roll(ROOM)
            except OSError as error:
                self._note(error)

    def close(self) -> None:
        """Give the segment up; its lock is free from now on, so the keeper ships and removes it."""
        if self.commits is not None:
            self.commits.close()
        with self._lock:
            self._leave()
            left, self._left = self._left, []
        for descriptor in left:
            _close(descriptor)

    def abandon_after_fork(self) -> None:
        """In a forked child: drop the inherited descriptor, so that the parent's lock is the parent's alone."""
        self._lock = threading.Lock()
        self.commits = None if self.commits is None else GroupCommit(self._sync)
        self._leave()
        for descriptor in self._left:
            _close(descriptor)
        self._left = []

    def _roll(self, size: int) -> None:
        """Have a segment with room for `size`; raises `OSError`, at once where a try has just failed."""
        if self._descriptor >= 0 and self._offset + size <= self._segment_bytes:
            return
        if self._trouble is not None and time.monotonic() < self._try_at:
            raise _again(self._trouble)
        try:
            self._refuse_beyond_limit()
            try:
                descriptor = self._make_segment(size)
            except FileNotFoundError:  # the keeper removed the empty folder between two of our steps
                descriptor = self._make_segment(size)
        except OSError:
            self._try_at = time.monotonic() + AGAIN_SECONDS
            raise
        self._leave()
        self._descriptor, self._offset = descriptor, 0
        if self._trouble is not None:
            self._trouble, self._tell_at = None, 0.0
            logger.warning("event=spool_writable lost=%d", self._lost)

    def _write(self, data: bytes) -> None:
        """Write at the offset, which stays: whoever comes next takes the place of what is torn. A segment that fails is left."""
        try:
            if os.pwrite(self._descriptor, data, self._offset) == len(data):
                return
            raise OSError(errno.ENOSPC, "short write")
        except OSError:
            self._leave()
            self._put_off()
            raise

    def _put_off(self) -> None:
        """After a write or a sync that failed: the first may be followed by a try at once, those that soon follow may not."""
        now = time.monotonic()
        self._try_at = now + (AGAIN_SECONDS if now - self._failed_at < STEADY_SECONDS else 0.0)
        self._failed_at = now

    def _refuse(self, error: OSError, *, lost: int = 0) -> None:
        """Raise `Unavailable`; or count that so many records are lost, where answers go on."""
        if self._serves_when_full:
            self._lost += lost
            self._note(error)
            if lost:
                self._tell_lost(lost)
            return
        self._note(error)
        raise Unavailable(
            "the prediction log cannot be written, so nothing is predicted.", code="LOG_UNAVAILABLE"
        ) from error

    def _note(self, error: OSError) -> None:
        """Remember the trouble, and say so once a while."""
        self._trouble, now = _again(error), time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + TELL_SECONDS
            logger.error("event=spool_unwritable errno=%s error=%s lost=%d", error.errno, error.strerror, self._lost)

    def _leave(self) -> None:
        """Give up the present segment. Where its records are still to be synced, whoever syncs closes it after that."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        if self.commits is None:
            _close(descriptor)
        else:
            self._left.append(descriptor)

    def _sync(self) -> None:
        """Put on disk what was appended until now. One thread calls this, and nobody else closes what it syncs."""
        with self._lock:
            left, self._left = self._left, []
            present = self._descriptor
            records, self._unsynced = self._unsynced, 0
            spoilt, self._spoilt = self._spoilt, None
        failed = None
        for descriptor in (*left, present):
            try:
                if descriptor >= 0:
                    os.fdatasync(descriptor)
            except OSError as error:
                failed = error
        for descriptor in left:
            _close(descriptor)
        if failed is not None:
            with self._lock:
                if self._descriptor == present:
                    self._leave()  # what the kernel could not write it may have dropped: begin anew
                self._put_off()
                # The kernel tells of a failure once, and this may have been that of what came while we synced.
                self._spoilt = failed if self._unsynced else None
        if trouble := failed or spoilt:
            with self._lock:
                self._leave()  # somebody may have begun a segment meanwhile: the next one shows whether the trouble is over
                self._refuse(trouble, lost=records)

    def _make_segment(self, size: int) -> int:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._number += 1
        path = self.folder / f"{self._number:012d}{SUFFIX}"
        partial = path.with_suffix(_PARTIAL)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.posix_fallocate(descriptor, 0, max(self._segment_bytes, size))
            if self._trouble is not None and os.pwrite(descriptor, bytes(HEADER.size), 0) != HEADER.size:
                raise OSError(errno.ENOSPC, "short write")  # that there is room does not say that it can be written
            if self.commits is not None:
                os.fsync(descriptor)
            partial.rename(path)
            if self.commits is not None:
                _sync_folder(self.folder)
                _sync_folder(self.root)
        except OSError:
            _close(descriptor)
            for made in (partial, path):
                with contextlib.suppress(OSError):  # what stays holds no record: whoever ships removes it
                    made.unlink(missing_ok=True)
            raise
        return descriptor

    def _refuse_beyond_limit(self) -> None:
        """Raise `OSError` at the bound. A full segment counts until it was shipped and removed, for which it must be left."""
        if self._limit_bytes and spool_bytes(self.root) + self._segment_bytes > self._limit_bytes:
            if self._trouble is not None and self._descriptor >= 0:  # not at once: what was let in may still end it
                self._leave()
                if self.commits is not None:
                    self.commits.soon()  # closes it, though nobody waits any more
            raise OSError(errno.EDQUOT, "the spool is at its bound (TRIVET_SPOOL_MB); is the keeper running?")


def _close(descriptor: int) -> None:
    """Close it. A file system over a network may report a failure then, and closes it all the same: that is told, no more."""
    try:
        os.close(descriptor)
    except OSError as error:
        logger.error("event=segment_not_closed errno=%s error=%s", error.errno, error.strerror)  # noqa: TRY400  (no trace is needed)


def _again(error: OSError) -> OSError:
    """Return the same error without the frames that it was raised through."""
    return OSError(error.errno, error.strerror)


def _sync_folder(folder: Path) -> None:
    """Put on disk which files there are in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        """Note, for whoever wants to know what waits, that all before `offset` is in the log. The log itself decides.

        On a full disk it stays unnoted: that must not hold up shipping, which is what makes room.
        """
        with contextlib.suppress(OSError):
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
    return found


def remove_abandoned(root: Path) -> None:
    """Remove the folders under `root` that have no segment; a worker that still lives makes its own again with its next one."""
    for folder in _folders(root):
        if any(folder.glob(f"*{SUFFIX}")):
            continue
        with contextlib.suppress(OSError):  # its worker makes a segment just now
            for partial in folder.glob(f"*{_PARTIAL}"):
                if time.time() - partial.stat().st_mtime > ABANDONED_SECONDS and _is_orphan(partial):
                    partial.unlink(missing_ok=True)
            folder.rmdir()


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
