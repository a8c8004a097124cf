"""The guard of inline runs: which versions run in a process now, in memory that outlives it.

A process marks the version it runs, for as long as the run lasts; whoever sees it die looks which there was. A version that was
running at the second such death within a day is given up here: from then on it runs in model workers, on this machine. So
is one whose stalls are too many. All of it is files in one private folder:

    <process id>.slots      what a living process runs: for each version a mark and its digest
    <digest>.deaths         when processes died while they ran it, a line each
    <digest>.given-up       why it runs in model workers now; deleted, it may run inline again after a restart
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trivet.dataplane.engines.stalls import STALL_NS, STALLS, STALLS_SECONDS, Stalls

logger = logging.getLogger(__name__)

DEATHS = 2
DEATHS_SECONDS = 24 * 3600.0  # chosen: a kill from outside may meet a run, which says nothing of its version
PLACES = 512  # one more than the versions of a process that are told of
DIGEST_BYTES = 64
MARK_BYTES = 8
MARKS_BYTES = PLACES * MARK_BYTES
SLOTS, DIED, GIVEN_UP = ".slots", ".deaths", ".given-up"


class Given(NamedTuple):
    """A version that was given up: why, and when, in seconds since 1970."""

    digest: str
    reason: str
    at: float


class Guard:
    """The writing side, one per process; without a folder it marks where nobody looks.

    To mark is one store and no lock. Of two threads that run one version the first to end takes the mark away, so the
    other's death may be missed; versions do not take one another's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._pid = os.getpid()
        self._places: dict[str, int] = {}
        self._stalls: dict[str, Stalls] = {}
        self._mapped = self._map()
        self.slots = memoryview(self._mapped)[:MARKS_BYTES].cast("Q")

    def place(self, digest: str) -> int:
        """Return where in `slots` a version is marked, for as long as this process lives."""
        place = self._places.setdefault(digest, min(len(self._places), PLACES - 1))
        if place < PLACES - 1:  # the last one is shared by those beyond, and nobody's name
            start = MARKS_BYTES + place * DIGEST_BYTES
            self._mapped[start : start + DIGEST_BYTES] = digest.encode().ljust(DIGEST_BYTES, b"\0")
        return place

    def has_given_up(self, digest: str) -> bool:
        """True for a version that is to run in model workers."""
        return self._folder is not None and (self._folder / f"{digest}{GIVEN_UP}").exists()

    def stalls(self, digest: str) -> Stalls:
        """Return those of a version, which notes its runs there while it is watched."""
        return self._stalls.setdefault(digest, Stalls())

    def stalled(self, digest: str) -> None:
        """Take in that a run of a version on an event loop took over STALL_NS."""
        if self.stalls(digest).are_too_many() and self._folder is not None:
            reason = (
                f"it held an event loop for over {STALL_NS // 1_000_000} ms, {STALLS} times in {STALLS_SECONDS:.0f} s"
            )
            give_up(self._folder, digest, reason)

    def close(self) -> None:
        """Say that this process ends by itself. In a forked child, whose it is not, do nothing."""
        if self._path is not None and os.getpid() == self._pid:
            self._path.unlink(missing_ok=True)

    def _map(self) -> mmap.mmap:
        size = MARKS_BYTES + PLACES * DIGEST_BYTES
        if self._folder is not None:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                path = self._folder / f"{self._pid}{SLOTS}"
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                try:
                    os.posix_fallocate(descriptor, 0, size)  # a full disk is an error here, not a signal later
                    mapped = mmap.mmap(descriptor, size)
                finally:
                    os.close(descriptor)
            except OSError as error:
                logger.warning("event=inline_not_guarded error=%s", error.strerror)
            else:
                self._path = path
                return mapped
        return mmap.mmap(-1, size)


# --- the side of who sees processes die -------------------------------------------------------------------------------


def note_death(folder: Path, pid: int) -> None:
    """Count the death of a process against the versions that it was running, and forget it."""
    for digest in running(folder, pid):
        logger.error("event=died_in_run process=%d digest=%s", pid, digest[:12])
        path = folder / f"{digest}{DIED}"
        now = time.time()
        with path.open("a") as file:
            file.write(f"{now:.3f}\n")
        recent = [line for line in path.read_text().splitlines() if now - _moment(line) < DEATHS_SECONDS]
        if len(recent) >= DEATHS:
            give_up(folder, digest, f"{len(recent)} processes died while they ran it")
            path.unlink(missing_ok=True)
    (folder / f"{pid}{SLOTS}").unlink(missing_ok=True)


def _moment(line: str) -> float:
    """Return the moment on a line; long ago for one that a loss of power left garbled."""
    try:
        return float(line)
    except ValueError:
        return 0.0


def running(folder: Path, pid: int) -> list[str]:
    """Return the digests of what a process runs, or ran when it died; none where it told nothing."""
    try:
        content = (folder / f"{pid}{SLOTS}").read_bytes()
    except FileNotFoundError:
        return []
    marks = memoryview(content)[:MARKS_BYTES].cast("Q") if len(content) >= MARKS_BYTES else ()
    starts = (MARKS_BYTES + place * DIGEST_BYTES for place, mark in enumerate(marks) if mark)
    names = (content[start : start + DIGEST_BYTES].rstrip(b"\0").decode("ascii", "replace") for start in starts)
    return [name for name in names if name]


def give_up(folder: Path, digest: str, reason: str) -> None:
    """Have a version run in model workers from now on; the first reason stays."""
    path = folder / f"{digest}{GIVEN_UP}"
    with suppress(FileExistsError), path.open("x") as file:
        json.dump({"reason": reason, "at": time.time()}, file)
        logger.error("event=inline_given_up digest=%s reason=%s", digest[:12], reason)


def given_up(folder: Path) -> Iterator[Given]:
    """Yield the versions that were given up on this machine."""
    for path in sorted(folder.glob(f"*{GIVEN_UP}")):
        with suppress(FileNotFoundError, ValueError, KeyError):  # deleted, or being written
            told = json.loads(path.read_text())
            yield Given(path.name.removesuffix(GIVEN_UP), str(told["reason"]), float(told["at"]))


def forget_the_dead(folder: Path) -> None:
    """Remove what processes left that have ended; who ended with everything else is not counted."""
    for path in folder.glob(f"*{SLOTS}"):
        if not Path(f"/proc/{path.name.removesuffix(SLOTS)}").exists():
            path.unlink(missing_ok=True)
