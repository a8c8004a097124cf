"""Numbers, durations and moments as a person reads them: with units, and no more digits than they deserve."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext as _, ngettext, pgettext

from trivet.control.monitoring.estimates import Estimate
from trivet.control.monitoring.gaps import Gap
from trivet.control.monitoring.performance import Figure, NoFigure

SIGNIFICANT_DIGITS = 4
SMALLEST_SHOWN_SHARE = 0.001  # what is nearer to 0 or 1 is shown as a bound, never as 0 % or 100 %
MINUTE, HOUR, DAY, WEEK = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=7))


@dataclass(frozen=True)
class Moment:
    """One instant: for machines, exactly, and as the time that has passed."""

    iso: str
    exact: str
    relative: str


def moment(at: datetime, now: datetime) -> Moment:
    """Return `at` as it is shown at `now`."""
    local = timezone.localtime(at) if timezone.is_aware(at) else at
    zone = local.tzname() or ""
    exact = f"{formats.date_format(local, 'DATE_FORMAT')}, {local:%H:%M:%S} {zone}".rstrip()
    return Moment(at.isoformat(), exact, _relative(now - at, local))


def count(number: int) -> str:
    """Return a whole number with its thousands grouped."""
    return formats.number_format(number, decimal_pos=0, force_grouping=True)


def number(value: Any) -> str:
    """Return a number with at most four significant digits; whole ones in full, anything else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if value == int(value) and abs(value) < 1e15:
        return count(int(value))
    text = f"{value:.{SIGNIFICANT_DIGITS}g}"
    if "e" in text:
        return text
    decimals = len(text.partition(".")[2])
    return formats.number_format(text, decimal_pos=decimals, force_grouping=True)


def measure(value: float) -> str:
    """Return a measure of quality: three decimals below ten, so that figures of one column line up; whole from 1,000 on."""
    if abs(value) >= 1000:
        return count(round(value))
    return _rounded(value, 3) if abs(value) < 10 else number(value)


def percent(share: float) -> str:
    """Return a share of 1 in percent, with one decimal; what is almost nothing or almost all is shown as a bound."""
    if 0 < share < SMALLEST_SHOWN_SHARE:
        return "< 0.1 %"
    if 1 - SMALLEST_SHOWN_SHARE < share < 1:
        return "> 99.9 %"
    return f"{_rounded(share * 100, 1)} %"


def duration(microseconds: float) -> str:
    """Return a duration in microseconds, milliseconds or seconds, with two or three digits."""
    if microseconds < 1000:
        return f"{_short(microseconds)} µs"
    if microseconds < 1_000_000:
        return f"{_short(microseconds / 1000)} ms"
    return f"{_short(microseconds / 1_000_000)} s"


def between(low: float | None, high: float | None, unit: str = "") -> str:
    """Return a range in words, with its unit; empty when it is open on both sides."""
    if low is None and high is None:
        return ""
    if low is None:
        text = _("up to %(high)s") % {"high": number(high)}
    elif high is None:
        text = _("from %(low)s") % {"low": number(low)}
    else:
        text = _("%(low)s to %(high)s") % {"low": number(low), "high": number(high)}
    return f"{text} {unit}".rstrip()


def told(found: Figure | Estimate | Gap | NoFigure | None) -> str:
    """Return a figure's value, or why there is none."""
    if found is None:
        return ""
    return found.reason if isinstance(found, NoFigure) else measure(found.value)


def interval(found: Figure | Gap | NoFigure | None) -> str:
    """Return a figure's interval; empty where it has none."""
    if found is None or isinstance(found, NoFigure) or found.low is None or found.high is None:
        return ""
    return f"{measure(found.low)} – {measure(found.high)}"


def binning(found: Figure | NoFigure) -> str:
    """Return by how much the bins of a figure may be wrong at most."""
    if not isinstance(found, Figure):
        return ""
    if found.binning is None:
        return _("not bounded")
    return f"± {number(float(f'{found.binning:.2g}'))}" if found.binning else _("exact")


def _short(value: float) -> str:
    return _rounded(value, 0 if value >= 99.95 or value == int(value) else 1)


def _rounded(value: float, decimals: int) -> str:
    """Return `value` rounded; Django's own formatting cuts digits off."""
    return formats.number_format(f"{value:.{decimals}f}", decimal_pos=decimals)


def _relative(passed: timedelta, at: datetime) -> str:
    if passed < timedelta(seconds=5):
        return pgettext("a moment ago", "just now")
    if passed < MINUTE:
        return _("%(count)d s ago") % {"count": passed.seconds}
    if passed < HOUR:
        return _("%(count)d min ago") % {"count": passed // MINUTE}
    if passed < DAY:
        return _("%(count)d h ago") % {"count": passed // HOUR}
    if passed < WEEK:
        days = passed // DAY
        return ngettext("%(count)d day ago", "%(count)d days ago", days) % {"count": days}
    return formats.date_format(at, "DATE_FORMAT")
