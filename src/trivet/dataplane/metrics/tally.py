"""The tally: what a process counts that answers nothing, as the keeper does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trivet.dataplane.metrics.sheet import VALUE, Key, Sheet, bits_of


class Counting(Protocol):
    """Where a keeper counts: a tally of its own, or the meter of the web worker that it runs in."""

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Add to a counter."""

    def value(self, name: str, *labels: str, value: float) -> None:
        """Say how a gauge stands that is no whole number; NaN takes it back."""


class Tally:
    """Counts on a sheet that is made with the first count: a process that counts nothing leaves no file. Not thread-safe."""

    def __init__(self, make_sheet: Callable[[], Sheet] = Sheet) -> None:
        """Count on what `make_sheet` returns; by default in memory, where nobody looks."""
        self._make_sheet = make_sheet
        self._sheet: Sheet | None = None
        self._runs: dict[Key, memoryview] = {}

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Add to a counter."""
        self._run("count", (name, *labels))[0] += by

    def value(self, name: str, *labels: str, value: float) -> None:
        """Say how a gauge stands that is no whole number; NaN takes it back."""
        self._run(VALUE, (name, *labels))[0] = bits_of(value)

    def _run(self, kind: str, labels: Key) -> memoryview:
        key = (kind, *labels)
        if key not in self._runs:
            if self._sheet is None:
                self._sheet = self._make_sheet()
            self._runs[key] = self._sheet.run(kind, labels, 1)
        return self._runs[key]
