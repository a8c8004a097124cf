"""The first level: answers in this process, the longest unused one dropped first, bounded in bytes."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ENTRY_BYTES = 340  # what an entry costs besides its values, and each of its arrays: measured with tracemalloc
ARRAY_BYTES = 128
LARGEST_SHARE = 16  # an entry may have a sixteenth of the memory; one larger is not kept

Arrays = tuple[np.ndarray, ...]


class Entry(NamedTuple):
    """One answer: what it was asked with, its arrays (read-only), and what it weighs in bytes."""

    inputs: bytes
    arrays: Arrays
    size: int


class Memory:
    """Answers by key. Thread-safe; nobody waits for longer than another takes to look up."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def used_bytes(self) -> int:
        """What all entries together weigh."""
        return self._bytes

    def get(self, key: bytes, inputs: bytes) -> Arrays | None:
        """Return what was kept for exactly these `inputs`; an equal key alone is not enough."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.inputs != inputs:
                return None
            self._entries.move_to_end(key)
            return entry.arrays

    def put(self, key: bytes, inputs: bytes, arrays: Arrays) -> None:
        """Keep `arrays`, which nobody may change from now on, unless they are too large."""
        size = ENTRY_BYTES + len(inputs) + sum(map(_size, arrays))
        if size * LARGEST_SHARE > self.limit_bytes:
            return
        with self._lock:
            before = self._entries.pop(key, None)
            self._entries[key] = Entry(inputs, arrays, size)
            self._bytes += size - (before.size if before else 0)
            while self._bytes > self.limit_bytes:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= oldest.size


def frozen(arrays: Sequence[np.ndarray]) -> Arrays:
    """Return read-only copies: an engine's array may be a view of a buffer that is used again, or of a whole batch."""
    copies = tuple(array.copy() for array in arrays)
    for copy in copies:
        copy.flags.writeable = False
    return copies


def _size(array: np.ndarray) -> int:
    texts = sum(map(sys.getsizeof, array.ravel().tolist())) if array.dtype.kind == "O" else 0
    return ARRAY_BYTES + array.nbytes + texts
