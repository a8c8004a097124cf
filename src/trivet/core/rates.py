"""Rates: how often a caller may ask, as text and as a value. Both planes speak of them.

`100/s` is at most a hundred requests in any second, wherever it begins; `50000/d` at most fifty thousand in any 24 hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NAMES = {seconds: unit for unit, seconds in UNITS.items()}
_RATE = re.compile(r"\s*([1-9][0-9]{0,8})/([smhd])\s*", re.ASCII)
EXPECTED = "rates such as '100/s' or '100/s, 50000/d': a whole number, then s, m, h or d, each unit once"


class Rate(msgspec.Struct, frozen=True):
    """At most `count` requests in any `seconds`."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{_NAMES[self.seconds]}"


Limits = dict[str, tuple[Rate, ...]]  # model name, or * for all models together -> rates that hold at once


def read_rates(text: str) -> tuple[Rate, ...]:
    """Return the rates that `text` names, the shortest unit first; raises `ValueError` with what is expected."""
    rates = [_read_rate(part) for part in text.split(",")]
    by_unit = {rate.seconds: rate for rate in rates}
    if len(by_unit) < len(rates):
        raise ValueError(EXPECTED)
    return tuple(by_unit[seconds] for seconds in sorted(by_unit))


def write_rates(rates: Iterable[Rate]) -> str:
    """Return what `read_rates` reads."""
    return ", ".join(map(str, rates))


def _read_rate(part: str) -> Rate:
    match = _RATE.fullmatch(part)
    if match is None:
        raise ValueError(EXPECTED)
    return Rate(int(match[1]), UNITS[match[2]])
