"""What the gates report, as values that need no training library: the parent of a compiling process reads them too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_TOLERANCE = 1e-5
MOST_TOLERANCE = 1e-3
EXACT = 1e-10  # of an object that runs unchanged: none, but for the order of sums in its libraries; chosen, 2e-12 seen


@dataclass(frozen=True)
class ParityReport:
    """What the gate saw. `largest` and `p999` are differences relative to 1 + the answer's size: of numbers up to about 1 they
    are absolute. `worst` holds rows, those that fail first, then by difference.
    """

    rows: int
    by_kind: Mapping[str, int]
    synthetic: bool
    largest: float
    p999: float
    labels_differ: int
    ties: int
    failed_rows: int
    tolerance: float
    refused_rows: int = 0  # generated rows that the original refuses; not compared
    refused: str = ""  # why it refused the first of them
    cut_rows: int = 0  # rows left out because the original was slow
    worst: tuple[dict[str, Any], ...] = ()

    def line(self) -> str:
        """Return the report as one line for people."""
        if not self.rows:
            return "a graph taken as it is: nothing to compare it with"
        kind = "synthetic rows" if self.synthetic else "rows"
        largest = _short(self.largest)
        return f"parity on {self.rows} {kind}: max |difference| {largest}, {self.labels_differ} decisions differ"

    def as_manifest(self) -> dict[str, Any]:
        """Return what the manifest keeps, rounded to two digits so that the digest is stable."""
        return {
            "rows": self.rows,
            "by_kind": dict(sorted(self.by_kind.items())),
            "synthetic": self.synthetic,
            "max": two_digits(self.largest),
            "p999": two_digits(self.p999),
            "labels_differ": self.labels_differ,
            "ties": self.ties,
            "tolerance": self.tolerance,
            "refused_rows": self.refused_rows,
            "cut_rows": self.cut_rows,
        }

    def round_trip_line(self) -> str:
        """Return the report on an object that was saved and read back, as one line for people."""
        kind = "synthetic rows" if self.synthetic else "rows"
        return f"unchanged on {self.rows} {kind}: max |difference| {_short(self.largest)}"

    def failure(self) -> str:
        """Return the sentence for a failed gate."""
        return _failure(self.failed_rows, self.rows, self.worst, self.tolerance)


@dataclass(frozen=True)
class Speed:
    """Median microseconds of one single-row call, and of one call with 64 rows (0 where that was not measured)."""

    compiled: float
    native: float
    compiled_batch: float = 0.0
    native_batch: float = 0.0

    def line(self) -> str:
        """Return the figures as people read them."""
        return f"{self.compiled:.0f} µs a row (native {self.native:.0f} µs)"


def two_digits(value: float) -> float:
    """Return `value` rounded to two significant digits."""
    return float(f"{value:.1e}")


def _failure(failed: int, rows: int, worst: tuple[dict[str, Any], ...], tolerance: float) -> str:
    first = worst[0]
    answers = "the labels"
    if first["native"] is not None:
        answers = "native {}, compiled {}".format(*_told_apart(first["native"], first["compiled"]))
    if first["native_label"] != first["compiled_label"] if "native_label" in first else False:
        answers += f" ({first['native_label']!r} became {first['compiled_label']!r})"
    return f"parity failed on {failed} of {rows} rows: row {first['row']}, {answers}, tolerance {_short(tolerance)}."


def _short(value: float) -> str:
    """Return `value` with one digit: 3e-7."""
    return f"{value:.0e}".replace("e-0", "e-") if value else "0"


def _told_apart(one: float, other: float) -> tuple[str, str]:
    """Return both numbers with as few digits as show that they differ, at least four."""
    for digits in range(4, 17):
        shown = f"{one:.{digits}g}", f"{other:.{digits}g}"
        if shown[0] != shown[1]:
            return shown
    return f"{one!r}", f"{other!r}"
