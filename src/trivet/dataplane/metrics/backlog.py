"""The backlog: records in the spool that are not in the prediction log yet, counted without the database.

Each segment is walked once, from frame to frame; a later look goes on where the last one ended.
"""

from __future__ import annotations

import mmap
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from trivet.core.records import decode_any, recorded_at
from trivet.dataplane.spool import HEADER, MAGIC, SUFFIX, Segment


class Waiting(msgspec.Struct, frozen=True):
    """How many records wait, and for how many seconds the oldest of them has."""

    records: int
    oldest_seconds: float


@dataclass
class _Place:
    """A point in a segment: the offset of a frame, and how many frames lie before it."""

    offset: int = 0
    frames: int = 0


class Backlog:
    """What one process knows of the segments on its host. Thread-safe: who looks waits for who looks already."""

    def __init__(self) -> None:
        self._looking = threading.Lock()
        self._known: dict[Path, tuple[_Place, _Place]] = {}  # up to where it is shipped, up to where it is written

    def look(self, root: Path) -> Waiting:
        """Return what waits under `root`."""
        with self._looking:
            return self._look(root)

    def _look(self, root: Path) -> Waiting:
        present = {path: Segment(path.parent.name, int(path.stem), path, False) for path in root.glob(f"*/*{SUFFIX}")}
        self._known = {path: places for path, places in self._known.items() if path in present}
        records, oldest = 0, time.time_ns()
        for segment in present.values():
            shipped, written = self._known.setdefault(segment.path, (_Place(), _Place()))
            try:
                _walk(segment.path, written, None)
                _walk(segment.path, shipped, segment.shipped)
                if written.frames > shipped.frames:
                    records += written.frames - shipped.frames
                    oldest = min(oldest, _made_at(segment, shipped.offset))
            except (FileNotFoundError, ValueError):
                continue  # it was shipped and removed just now
        return Waiting(records, max(time.time_ns() - oldest, 0) / 1e9 if records else 0.0)


def _walk(path: Path, place: _Place, end: int | None) -> None:
    """Move `place` over whole frames, up to `end` where there is one."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        limit = len(content) - HEADER.size
        while place.offset <= limit and (end is None or place.offset < end):
            magic, length, _ = HEADER.unpack_from(content, place.offset)
            if magic != MAGIC:
                return
            place.offset += HEADER.size + length
            place.frames += 1


def _made_at(segment: Segment, offset: int) -> int:
    for payload, _ in segment.payloads(offset):
        try:
            return recorded_at(decode_any(payload))
        except msgspec.DecodeError:  # of another release
            break
    return time.time_ns()
