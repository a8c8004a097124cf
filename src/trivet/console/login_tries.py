"""How often somebody may try to sign in: counts of tries that all processes of a machine share, in a file of a fixed size.

A try is taken before the password is looked at, from each count that stands for whoever tries, and given back when the
password was right. Whoever signed in from this browser before has a count of their own, so no stranger's tries hold
them up; from another browser they do. Names that nobody has are counted like others, so nothing here tells which ones
there are.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import logging
import os
import struct
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trivet.control.registry.storage import make_private

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limit:
    """So many tries at once, then one more each `seconds`."""

    at_once: int
    seconds: float


ADDRESS = Limit(10, 60.0)  # a person who mistypes has enough; a machine gets 1,450 a day
NAME = Limit(50, 60.0)  # from all addresses together, for one name
BROWSER = Limit(10, 60.0)  # of a browser that has signed in to this name before

SETS, WAYS = 1024, 8
ENTRY = struct.Struct("<Qd")  # a count's tag, and when all of its tries will be there again
SET_BYTES = WAYS * ENTRY.size
LOCK_SECONDS, LOCK_PAUSE_SECONDS = 1.0, 0.002  # a page's thread waits no longer than that for a count
NETWORK_BITS = {4: 32, 6: 64}  # of an address that one person or machine has


@dataclass(frozen=True)
class Count:
    """What tries are counted by, and how many there may be."""

    named: str
    limit: Limit


def counts_of(*, address: str, name: str, browser: str | None) -> tuple[Count, ...]:
    """Return the counts of somebody who tries `name`: the browser's own where it has one, else those of strangers."""
    if browser is not None:
        return (Count(f"browser {browser}", BROWSER),)
    return (Count(f"address {_network(address)}", ADDRESS), Count(f"name {folded(name)}", NAME))


def folded(name: str) -> str:
    """Return `name` as it is counted: spellings that a database may take for one another are one."""
    return unicodedata.normalize("NFKC", name).casefold()


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""  # a socket without addresses: all who come through it are counted as one
    mapped = getattr(found, "ipv4_mapped", None) or found
    return str(ipaddress.ip_network((mapped, NETWORK_BITS[mapped.version]), strict=False))


class Tries:
    """A table of counts in a file of a fixed size. A set of it that is full forgets the count that has most tries left.

    Times are those since the machine started: a clock that is set moves nothing. Where the file cannot be had, the
    process counts by itself.
    """

    def __init__(self, file: Path, key: bytes) -> None:
        self._file = file
        self._key = key

    def take(self, counts: Sequence[Count]) -> float:
        """Take a try from each of `counts` and return 0; where one has none left, take nothing and return the seconds to wait."""
        now = time.monotonic()
        with self._table() as table:
            full_at = [max(table.read(place), now) for place in self._places(counts, now)]
            waits = [
                full - now - (count.limit.at_once - 1) * count.limit.seconds
                for full, count in zip(full_at, counts, strict=True)
            ]
            if max(waits) > 0:
                return max(waits)
            for place, full, count in zip(self._places(counts, now), full_at, counts, strict=True):
                table.write(place, full + count.limit.seconds, now)
        return 0.0

    def give_back(self, counts: Sequence[Count]) -> None:
        """Give back what `take` took: the password was right."""
        now = time.monotonic()
        with self._table() as table:
            for place, count in zip(self._places(counts, now), counts, strict=True):
                table.write(place, max(table.read(place) - count.limit.seconds, now), now)

    def _places(self, counts: Sequence[Count], now: float) -> Iterator[Place]:
        for count in counts:
            digest = hashlib.blake2b(count.named.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16)
            where, tag = struct.unpack("<QQ", digest.digest())
            latest = now + count.limit.at_once * count.limit.seconds
            yield Place(where % SETS * SET_BYTES, tag or 1, latest)

    @contextlib.contextmanager
    def _table(self) -> Iterator[Table]:
        """Yield the table, to this thread of this process alone."""
        try:
            file = _opened(self._file)
        except OSError as error:
            logger.error("event=tries_counted_by_process error=%s", error.strerror)  # noqa: TRY400
            with _own_lock:
                yield Table(_own)
            return
        try:
            held = bytearray(os.pread(file, SETS * SET_BYTES, 0).ljust(SETS * SET_BYTES, b"\0"))
            table = Table(held)
            yield table
            for start in table.changed:
                os.pwrite(file, held[start : start + SET_BYTES], start)
        finally:
            os.close(file)  # and lets go of the lock


@dataclass(frozen=True)
class Place:
    """Where a count stands: its set, its tag, and the latest it can say (more comes from before the machine started)."""

    start: int
    tag: int
    latest: float


class Table:
    """The counts as bytes."""

    def __init__(self, held: bytearray) -> None:
        self._held = held
        self.changed: set[int] = set()

    def read(self, place: Place) -> float:
        """Return when all tries will be there again; 0 where nothing is known."""
        found = next((full for _, tag, full in self._entries(place) if tag == place.tag), 0.0)
        return found if found <= place.latest else 0.0

    def write(self, place: Place, full_at: float, now: float) -> None:
        """Say when all tries will be there again, in the count's own entry, else in the one that matters least."""
        at, _, _ = min(
            self._entries(place), key=lambda entry: (entry[1] != place.tag, entry[2] if entry[2] > now else 0)
        )
        ENTRY.pack_into(self._held, at, place.tag, full_at)
        self.changed.add(place.start)

    def _entries(self, place: Place) -> Iterator[tuple[int, int, float]]:
        for at in range(place.start, place.start + SET_BYTES, ENTRY.size):
            tag, full_at = ENTRY.unpack_from(self._held, at)
            yield at, tag, full_at


_own, _own_lock = bytearray(SETS * SET_BYTES), threading.Lock()


def _opened(path: Path) -> int:
    """Return a descriptor of the file, locked, with all its room on disk. Raises `OSError`, also where the lock is kept."""
    make_private(path.parent)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(file)
        if os.fstat(file).st_size < SETS * SET_BYTES:
            os.posix_fallocate(file, 0, SETS * SET_BYTES)
    except OSError:
        os.close(file)
        raise
    return file


def _lock(file: int) -> None:
    """Wait for those who count, each for microseconds; raises `BlockingIOError` where one was stopped in the middle."""
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(LOCK_PAUSE_SECONDS)
