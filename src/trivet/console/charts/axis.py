"""Axes: where the lines of a scale are, at numbers that people count in."""

from __future__ import annotations

import math

SMALLEST_SPAN = 1e-300  # below it, steps are no numbers any more
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def nice_step(span: float, most: int) -> float:
    """Return the smallest of 1, 2, 2.5 and 5 times a power of ten that goes into `span`, a positive number, `most` times."""
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in STEPS if step * power >= rough * (1 - 1e-9))


def ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """Return the multiples of a nice step from `low` to `high`; none where there is nothing between them."""
    span = high - low
    if not SMALLEST_SPAN < span < math.inf:
        return ()
    step = nice_step(span, most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(float(f"{place * step:.12g}") for place in range(first, last + 1))
