"""The probability of each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """One class's probability: a horizontal bar `width` percent long."""

    name: str
    value: float
    width: str
    is_chosen: bool


def shares(probabilities: Mapping[str, float], chosen: str) -> tuple[Share, ...]:
    """Return one bar per class, the likeliest first."""
    ordered = sorted(probabilities.items(), key=lambda pair: -pair[1])
    return tuple(Share(name, value, f"{_clamped(value) * 100:.2f}", name == chosen) for name, value in ordered)


def _clamped(value: float) -> float:
    return min(max(value, 0.0), 1.0)
