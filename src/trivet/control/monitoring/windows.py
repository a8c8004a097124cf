"""Windows: what was counted of a version between two moments, and what turned out true of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from statistics import median
from typing import NamedTuple

from django.db.models import Min, Q, Sum

from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.models import Arm, Grain, LabelProfile, Profile
from trivet.control.monitoring.packing import totals_of, totals_of_labels
from trivet.core.profile.labels import LabelTable, empty_labels
from trivet.core.profile.profile import Profile as Counts, merge
from trivet.core.profile.reference import Reference

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BUSY_HOUR = 200  # rows of the median hour, below which a window is a day
LOOKED_AT = timedelta(days=7)
FETCHED = 1_000  # profiles in memory, some megabytes; PostgreSQL is asked for them that often


class Span(NamedTuple):
    """From `start` to just before `end`."""

    start: datetime
    end: datetime


class Window(NamedTuple):
    """What was counted of a version from `begin` to just before `end`."""

    begin: datetime
    end: datetime
    counts: Counts


def counts_between(
    version_id: int, start: datetime, end: datetime, empty: Counts, *, arm: str = Arm.CHAMPION
) -> Counts:
    """Return what was counted of a version from `start` to just before `end`; `empty` where nothing was.

    Both are the beginning of an hour, of a day where hours have been added up. Raises `BundleError` where what is kept is
    no profile of its reference.
    """
    (counts,) = counts_over(version_id, [[Span(start, end)]], empty, arm=arm)
    return counts


def counts_over(
    version_id: int, windows: Sequence[Sequence[Span]], empty: Counts, *, arm: str = Arm.CHAMPION
) -> list[Counts]:
    """Return what was counted of a version in each of `windows`, of one or more spans of time each.

    What lies in several spans counts in each of them, and is read once.
    """
    spans = [span for window in windows for span in window]
    found = Profile.objects.filter(_in_any(spans), version_id=version_id, arm=arm, segment="").values_list(
        "start", "payload"
    )
    by_times = totals_of(((_times(windows, at), payload) for at, payload in found.iterator(FETCHED)), empty)
    return [
        merge((counts for times, counts in by_times.items() for _ in range(times[place])), empty)
        for place in range(len(windows))
    ]


def _in_any(spans: Iterable[Span]) -> Q:
    """Return the condition of beginning in one of `spans`; those that overlap are one."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return reduce(or_, (Q(start__gte=span.start, start__lt=span.end) for span in joined))


def _times(windows: Sequence[Sequence[Span]], moment: datetime) -> tuple[int, ...]:
    """Return how often what begins at `moment` is in each of `windows`."""
    return tuple(sum(span.start <= moment < span.end for span in window) for window in windows)


def counts_by(
    version_id: int, start: datetime, end: datetime, by: timedelta, empty: Counts, *, arm: str = Arm.CHAMPION
) -> dict[datetime, Counts]:
    """Return what was counted of a version in each piece of `by` between `start` and `end` that had anything."""
    rows = Profile.objects.filter(version_id=version_id, arm=arm, segment="", start__gte=start, start__lt=end)
    found = rows.values_list("start", "payload").iterator(FETCHED)
    return totals_of(((start + (moment - start) // by * by, payload) for moment, payload in found), empty)


def first_moment(version_id: int, *, arm: str = Arm.CHAMPION) -> datetime | None:
    """Return when the first that was counted of a version begins; None before."""
    found: datetime | None = Profile.objects.filter(version_id=version_id, arm=arm, segment="").aggregate(
        first=Min("start")
    )["first"]
    return found


def rows_by_hour(version_id: int, start: datetime, end: datetime, *, arm: str = Arm.CHAMPION) -> dict[datetime, int]:
    """Return how many rows each hour had that had any, between `start` and `end`."""
    found = Profile.objects.filter(version_id=version_id, arm=arm, segment="", start__gte=start, start__lt=end)
    by_hour: dict[datetime, int] = {}
    for moment, rows in found.values_list("start").annotate(rows=Sum("rows")):
        hour = begin_of(moment, Grain.HOUR)
        by_hour[hour] = by_hour.get(hour, 0) + rows
    return by_hour


def window_length(version_id: int, now: datetime, hours: int | None = None) -> timedelta:
    """Return an hour, or a day where the median hour of the last week has fewer than 200 rows.

    Where windows have `hours` now, it takes a quarter more or less to change that: with each change evidence begins anew.
    """
    first = first_moment(version_id)
    if first is None:
        return DAY
    end = begin_of(now, Grain.HOUR)
    start = max(begin_of(first, Grain.HOUR), end - LOOKED_AT)
    number = int((end - start) / HOUR)
    if not number:
        return DAY
    rows = sorted(rows_by_hour(version_id, start, end).values())
    busy = BUSY_HOUR * {1: 0.75, 24: 1.25}.get(hours or 0, 1.0)
    return HOUR if median([0] * (number - len(rows)) + rows) >= busy else DAY


def label_tables(
    version_id: int, reference: Reference, start: datetime, end: datetime, *, by: timedelta | None = None
) -> dict[datetime, LabelTable]:
    """Return what turned out true, of whatever age, by the hour of the predictions (the day, where hours were added up).

    Of pieces of `by` from `start` on, where that is given: these take less time. Tables of another layout are left out.
    """
    rows = LabelProfile.objects.filter(
        version_id=version_id, arm=Arm.CHAMPION, segment="", start__gte=start, start__lt=end
    )
    in_order = rows.order_by("start") if by is None else rows.order_by()  # an interval goes by their order
    found = in_order.values_list("start", "payload").iterator(FETCHED)
    pieces = ((at if by is None else start + (at - start) // by * by, payload) for at, payload in found)
    return totals_of_labels(pieces, empty_labels(reference), leaves_others_out=True)
