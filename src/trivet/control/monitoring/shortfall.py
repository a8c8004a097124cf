"""Shortfall: for how long a version's estimate has been below what is usual, and when somebody is to be told.

An estimate has less chance in it than what is realised, so it leaves a band of realised figures rarely: twice in a row, by
chance, far less often than once in the time of the budget (`tests/living/test_shortfall.py`). What does leave it again and again
is a night, or a weekend, that is always harder. So two windows in a row are enough where they are also unlike the same time of
the weeks before, or are days and there are no weeks before; any others only where they fill a day of hours, or a week of days.
"""

from __future__ import annotations

from typing import NamedTuple

from trivet.control.monitoring.detector import QUIET_WINDOWS

ODD_WINDOWS = 2  # in a row, of one of which chance alone is a reason
FLOOR_ERRORS = 3  # sampling errors by which an estimate is to be below a floor: one window is enough then


class Shortfall(NamedTuple):
    """How many windows in a row were low, were low and odd, and were fine."""

    low: int = 0
    odd: int = 0
    fine: int = 0

    def after(self, *, is_low: bool, is_odd: bool, is_under: bool) -> Shortfall:
        """Return it after a window: `is_low` is below the band, `is_odd` unlike its season too, `is_under` below the floor."""
        return Shortfall(
            low=self.low + 1 if is_low else 0,
            odd=self.odd + 1 if is_low and is_odd else 0,
            fine=0 if is_low or is_under else self.fine + 1,
        )

    def is_told(self, cycle: int) -> bool:
        """Return whether somebody is to know; a time of the week is over after `cycle` windows."""
        return self.odd >= ODD_WINDOWS or self.low >= cycle

    @property
    def is_over(self) -> bool:
        """Whether nothing was wrong for as long as an alert of drift waits."""
        return self.fine >= QUIET_WINDOWS
