"""Seasons: a window is compared with the same hours of the four weeks before as well, and how many rows it has with theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np

from trivet.control.monitoring.evidence import log_p_of_traffic, traffic_dispersion
from trivet.control.monitoring.series import Baseline, Found
from trivet.control.monitoring.windows import HOUR, Span, Window, counts_over, rows_by_hour
from trivet.core.profile.profile import Profile as Counts

WEEKS = 4
WEEK = timedelta(days=7)
SEASON = WEEKS * WEEK  # of history; before, an hour that differs may be a night that always does
TRAFFIC = "traffic"


def season_of(version_id: int, window: Window, empty: Counts) -> Counts:
    """Return what was counted of a version at the same time of the four weeks before `window`."""
    weeks = [number * WEEK for number in range(1, WEEKS + 1)]
    (season,) = counts_over(version_id, [[Span(window.begin - by, window.end - by) for by in weeks]], empty)
    return season


def in_season(baseline: Baseline, found: Sequence[Found], window: Window, season: Counts) -> list[Found]:
    """Return `found` of a window, of each series with the larger p-value of the two.

    The larger one is valid for "the window differs from the reference and from its own season".
    """
    of_season = {one.name: one.log_p for one in baseline.found(window.counts, season)}
    return [_milder(one, of_season[one.name]) for one in found]


def _milder(one: Found, log_p: float | None) -> Found:
    return one if log_p is None or one.log_p is None else replace(one, log_p=max(one.log_p, log_p))


def traffic(version_id: int, window: Window) -> Found:
    """Return how the number of rows compares with that of the same hours in the weeks before."""
    begin, end, rows = window.begin, window.end, window.counts.rows
    by_hour = rows_by_hour(version_id, begin - SEASON, begin)
    hours = int(WEEK / HOUR)
    history = np.array(
        [[by_hour.get(begin - weeks * WEEK + hour * HOUR, 0) for hour in range(hours)] for weeks in range(WEEKS, 0, -1)]
    )
    length = int((end - begin) / HOUR)
    before = [int(week[:length].sum()) for week in history]
    dispersion = traffic_dispersion(history)
    log_p = log_p_of_traffic(rows, before, dispersion) if dispersion is not None else None
    mean = sum(before) / len(before)
    return Found(TRAFFIC, log_p, rows / mean if mean else None, rows, float(rows))
