"""The counters: memory that the processes of one machine share, in a file; each writes its own column, all read all.

    header                                  format, boot, columns ever used
    directory                               for each slot whose it is; then its window; then when it was given out
    slots         totals                    a word for each column: what that process has ever let in
                  rings                     for each column its last batches: when the last of each came, then how many each has

A word is 64 bits and has one writer, so nothing is locked on the way of a request. A column belongs to the process that holds
the lock of its file; a dead process's column, with all it has counted, is the next one's. A slot belongs to one limit of
one caller for as long as that is used. Both are given out under a lock of the folder, which is held for microseconds.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

WORD = 8
COLUMNS = 128  # processes of one machine
SLOTS = 2048  # limits in use at once
BATCHES = 32  # of a window: the finer, the less is held back at its edge
ENTRIES = 2 * BATCHES + 4  # of a ring: as many full batches, as many that time ended, and the one under way
RING_WORDS = 2 * ENTRIES
FORMAT = 1
FORMAT_AT, BOOT_AT, WIDTH = 0, 1, 2  # words of the header
HEADER_WORDS = 512
COLUMNS_OF_DIRECTORY = 3
HAND_AT = 3  # word of the header: where to look next for a slot that nobody uses
SLOT_WORDS = COLUMNS * (1 + RING_WORDS)
SLOTS_AT = HEADER_WORDS + SLOTS * COLUMNS_OF_DIRECTORY
TABLE_BYTES = (SLOTS_AT + SLOTS * SLOT_WORDS) * WORD
SEARCHED = 32  # slots looked at for one that is not used: a bound of the time that takes

SECOND_NS = 1_000_000_000
KEPT_NS = 60 * SECOND_NS  # a slot not used for its window and this long is asked for again by whoever had it,
LEFT_NS = 120 * SECOND_NS  # and given to somebody else after this long
FULL, FULL_NS = f"over {SLOTS:,} limits are in use", SECOND_NS // 10  # a full table is not searched again for so long
NOTHING = memoryview(bytes(RING_WORDS * WORD)).cast("Q")
LOCK_TRIES, LOCK_PAUSE_SECONDS = 20, 0.001
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Slot(NamedTuple):
    """Where one limit is counted. `header[WIDTH]` columns of `totals` and `rings` are in use; `column` is our own."""

    header: memoryview
    totals: memoryview
    rings: memoryview
    column: int
    is_shared: bool


def private_slot() -> Slot:
    """Return a slot that this process alone sees."""
    header = memoryview(bytearray((WIDTH + 1) * WORD)).cast("Q")
    header[WIDTH] = 1
    totals, rings = memoryview(bytearray(WORD)).cast("Q"), memoryview(bytearray(RING_WORDS * WORD)).cast("Q")
    return Slot(header, totals, rings, 0, is_shared=False)


class Counters:
    """The table under `root`, and this process's column of it. Raises `OSError` where there is no such table to be had."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "table"
        self._column_lock = self._table = -1
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        boot = _this_boot()
        try:
            with self._locked():
                self.column, self._column_lock = _free_column(root)
                self._table = self._open(boot)
                self._words = memoryview(mmap.mmap(self._table, TABLE_BYTES)).cast("Q")
                self._words[WIDTH] = max(self._words[WIDTH], self.column + 1)
        except BaseException:
            self.close()
            raise
        self._identity = _identity(os.fstat(self._table))
        directory = self._words[HEADER_WORDS:SLOTS_AT]
        self._owners, self._windows, self._given = (directory[at : at + SLOTS] for at in (0, SLOTS, 2 * SLOTS))
        self._known: dict[int, int] = {}  # where an owner's slot was, when it was looked for
        self._full_till_ns = 0

    @property
    def is_there(self) -> bool:
        """False once somebody took the file away, or put another in its place: those who come later count elsewhere."""
        try:
            return _identity(self._path.stat()) == self._identity
        except OSError:
            return False

    def take(self, owner: str, window_ns: int, at_ns: int) -> Slot:
        """Return the slot of `owner`, a limit's name; raises `OSError` where none is left."""
        identity = int.from_bytes(hashlib.blake2b(owner.encode(), digest_size=WORD).digest(), "little") or 1
        with self._locked():
            number = self._known.get(identity, -1)
            if number < 0 or self._owners[number] != identity:
                if len(self._known) > 2 * SLOTS:
                    self._known.clear()
                self._known[identity] = number = self._find(identity, at_ns)
            self._owners[number], self._windows[number], self._given[number] = identity, window_ns, at_ns
        return self._slot(number)

    def _find(self, identity: int, at_ns: int) -> int:
        """Return the slot that has this owner, or one to be given to it."""
        owners = self._owners.tolist()
        if identity in owners:
            number = owners.index(identity)
        elif 0 in owners:
            number = owners.index(0)
        else:
            number = self._unused(at_ns)
            self._clear(number)
        self._allocate(number)
        return number

    def close(self) -> None:
        """Give the column up, with what was counted in it. The memory stays mapped for whoever still has a slot."""
        for descriptor in (self._column_lock, self._table):
            if descriptor >= 0:
                os.close(descriptor)
        self._column_lock = self._table = -1

    def _slot(self, number: int) -> Slot:
        start = SLOTS_AT + number * SLOT_WORDS
        rings = start + COLUMNS
        return Slot(
            self._words[:HEADER_WORDS],
            self._words[start:rings],
            self._words[rings : start + SLOT_WORDS],
            self.column,
            is_shared=True,
        )

    def _allocate(self, number: int) -> None:
        """Give our part of a slot its place on disk: a full disk is an error here, and no signal later."""
        start = SLOTS_AT + number * SLOT_WORDS
        ring = start + COLUMNS + self.column * RING_WORDS
        os.posix_fallocate(self._table, start * WORD, COLUMNS * WORD)
        os.posix_fallocate(self._table, ring * WORD, RING_WORDS * WORD)

    def _clear(self, number: int) -> None:
        """Set what was counted in a slot to nothing. What nobody wrote stays untouched, for it has no place on disk."""
        slot = self._slot(number)
        for column in range(self._words[WIDTH]):
            ring = slot.rings[column * RING_WORDS : (column + 1) * RING_WORDS]
            if any(ring.tolist()):
                ring[:] = NOTHING
            if slot.totals[column]:
                slot.totals[column] = 0

    def _unused(self, at_ns: int) -> int:
        """Return a slot that nobody has used for longer than its window; it looks at the next few only."""
        if at_ns < self._full_till_ns:
            raise OSError(errno.ENOSPC, FULL)
        first = self._words[HAND_AT]
        for number in (at % SLOTS for at in range(first, first + SEARCHED)):
            slot = self._slot(number)
            ended = [max(times) for times, _ in batches(slot.rings, self._words[WIDTH])]
            if max(self._given[number], *ended) + self._windows[number] + LEFT_NS < at_ns:
                self._words[HAND_AT] = (number + 1) % SLOTS
                return number
        self._words[HAND_AT] = (first + SEARCHED) % SLOTS
        self._full_till_ns = at_ns + FULL_NS
        raise OSError(errno.ENOSPC, FULL)

    def _open(self, boot: int) -> int:
        """Return the descriptor of the table, made anew where there is none of this boot: its clock began with that."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        table = os.open(self._path, flags, 0o600)
        head = os.pread(table, 2 * WORD, 0)
        if os.fstat(table).st_size == TABLE_BYTES and head == _head(boot):
            return table
        os.close(table)
        self._path.unlink()
        table = os.open(self._path, flags, 0o600)
        os.ftruncate(table, TABLE_BYTES)
        os.posix_fallocate(table, 0, SLOTS_AT * WORD)
        os.pwrite(table, _head(boot), 0)
        return table

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the folder; raises `BlockingIOError` where somebody was stopped while holding it."""
        descriptor = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            for tries_left in reversed(range(LOCK_TRIES)):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not tries_left:
                        raise
                    time.sleep(LOCK_PAUSE_SECONDS)
            yield
        finally:
            os.close(descriptor)


def batches(rings: memoryview, width: int) -> Iterator[tuple[list[int], list[int]]]:
    """Yield for each of `width` columns when its batches ended, in nanoseconds, and how many each has."""
    words = rings[: width * RING_WORDS].tolist()
    for first in range(0, width * RING_WORDS, RING_WORDS):
        yield words[first : first + ENTRIES], words[first + ENTRIES : first + RING_WORDS]


# --- files ------------------------------------------------------------------------------------------------------------


def _this_boot() -> int:
    return int.from_bytes(hashlib.blake2b(BOOT_ID.read_bytes(), digest_size=WORD).digest(), "little")


def _head(boot: int) -> bytes:
    return FORMAT.to_bytes(WORD, "little") + boot.to_bytes(WORD, "little")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _free_column(root: Path) -> tuple[int, int]:
    """Return the first column that no living process has, and the descriptor of its lock."""
    for column in range(COLUMNS):
        descriptor = os.open(root / f"{column}.column", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return column, descriptor
    raise OSError(errno.EUSERS, f"over {COLUMNS} processes count here")
