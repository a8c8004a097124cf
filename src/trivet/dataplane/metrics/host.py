"""The host: what all its processes have counted, those that live and those that ended, added up.

The counts of an ended process are folded, once, into one file. It names the processes it holds and takes their place
by a rename, before their pages are removed: whoever reads in between counts neither twice nor not at all.
"""

from __future__ import annotations

import fcntl
import logging
import operator
import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from trivet.dataplane.metrics.sheet import INDEX, SLOTS, VALUE, Key, Page, pages

logger = logging.getLogger(__name__)

FOLDED = "ended.json"
LOCK = "ended.lock"
OF_THE_LIVING = frozenset({"gauge", "least", VALUE})  # kinds that end with their process
_TOGETHER = {"least": min, "last": max, VALUE: max}  # how two processes' values become one, where they are not added
TRIES = 5
UNFINISHED_SECONDS = 60  # slots without an index for this long belong to nobody

Counts = dict[Key, list[int]]


class _Folded(msgspec.Struct):
    """What ended processes have counted, and whose pages that includes."""

    workers: list[str] = []
    counts: list[tuple[list[str], list[int]]] = []


def read(root: Path) -> Counts:
    """Return what was counted under `root`, by kind and labels. Waits for nobody."""
    for _ in range(TRIES):
        before = _identity(root)
        folded = _read_folded(root)
        try:
            counts = {tuple(key): list(values) for key, values in folded.counts}
            for page in pages(root):
                if page.worker not in folded.workers:
                    _add(counts, page)
        except FileNotFoundError:
            continue
        if _identity(root) == before:
            break
    return counts


def fold(root: Path) -> None:
    """Fold the pages of ended processes; where somebody else is at it, leave it to them, and on a full disk to the next."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _fold(root)
            _remove_unfinished(root)
        finally:
            os.close(descriptor)
    except BlockingIOError:
        return
    except OSError as error:
        logger.warning("event=counts_not_folded error=%s", error.strerror)


def _fold(root: Path) -> None:
    ended = [page for page in pages(root) if page.is_final]
    if not ended:
        return
    folded = _read_folded(root)
    counts = {tuple(key): list(values) for key, values in folded.counts}
    for page in ended:
        if page.worker not in folded.workers:
            _add(counts, page)
    here = [page.worker for page in ended]
    _write(root, _Folded(here, [(list(key), values) for key, values in counts.items()]))
    for page in ended:
        page.remove()


def _add(counts: Counts, page: Page) -> None:
    for key, values in page.read():
        if page.is_final and key[0] in OF_THE_LIVING:
            continue
        present = counts.get(key)
        if present is None:
            counts[key] = values
        else:
            together = _TOGETHER.get(key[0], operator.add)
            counts[key] = list(map(together, present, values))


def _read_folded(root: Path) -> _Folded:
    try:
        return msgspec.json.decode((root / FOLDED).read_bytes(), type=_Folded)
    except FileNotFoundError:
        return _Folded()
    except msgspec.DecodeError:
        logger.exception("event=counts_unreadable file=%s", FOLDED)  # counting begins anew, as after a new installation
        return _Folded()


def _write(root: Path, folded: _Folded) -> None:
    partial = root / f".{FOLDED}"
    with partial.open("wb") as file:
        file.write(msgspec.json.encode(folded))
        file.flush()
        os.fsync(file.fileno())
    partial.rename(root / FOLDED)


def _identity(root: Path) -> tuple[int, int]:
    try:
        status = (root / FOLDED).stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def _remove_unfinished(root: Path) -> None:
    """Remove what a process left that died while it made its files."""
    indexed = {path.name.removesuffix(INDEX) for path in root.glob(f"[!.]*{INDEX}")}
    leftover: Iterable[Path] = [*root.glob(f".*{INDEX}"), *root.glob(f"*{SLOTS}")]
    for path in leftover:
        if path.name.removesuffix(SLOTS) not in indexed and time.time() - path.stat().st_mtime > UNFINISHED_SECONDS:
            path.unlink(missing_ok=True)
