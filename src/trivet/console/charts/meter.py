"""A meter: how much of a budget the evidence has reached, on a logarithmic scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trivet.console.figures import count, number

LARGEST_SHOWN = 1e6


@dataclass(frozen=True)
class Meter:
    """A bar `width` percent long, full at the budget; `figure` is the evidence."""

    width: str
    figure: str
    is_full: bool


def meter(evidence: float, budget: float) -> Meter:
    """Return the meter of `evidence`, which rests at 1 where nothing has changed and alarms at `budget`."""
    share = math.log1p(max(evidence, 0.0)) / math.log1p(budget)
    shown = number(float(f"{evidence:.3g}")) if evidence < LARGEST_SHOWN else f"> {count(int(LARGEST_SHOWN))}"
    return Meter(f"{min(share, 1.0) * 100:.1f}", shown, evidence >= budget)
