"""What each window left: kept with its verdict, once, and thinned as it grows old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.django.watched import count, watched_version
from trivet.control.monitoring.alerts import raise_alert
from trivet.control.monitoring.models import Cause, Grain, JudgedWindow, Monitor, Severity
from trivet.control.monitoring.past import Left, past_of, remember, thin
from trivet.control.monitoring.watching import watch
from trivet.control.registry import actions

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def judged(until: int) -> list[float]:
    found = watch(START + until * HOUR + timedelta(minutes=5))
    return [verdict.mean_evidence for verdict in found if not isinstance(verdict, datetime)]


def test_each_window_leaves_what_its_verdict_said():
    version = watched_version()
    for hour in range(8):
        count(version, START + hour * HOUR, 500, seed=hour, older=12.0 if hour > 5 else 0.0)
    means = judged(8)

    left = past_of(version, START).windows
    assert [one.at for one in left] == [START + hour * HOUR for hour in range(8)]
    assert [one.mean_evidence for one in left] == pytest.approx(means)
    assert {one.budget for one in left} == {2160.0}
    assert past_of(version, START + 6 * HOUR).windows == left[6:]


def test_a_window_that_is_judged_again_takes_its_own_place():
    version = watched_version()
    for hour in range(3):
        count(version, START + hour * HOUR, 500, seed=hour)
    judged(3)
    Monitor.objects.update(until=None)
    judged(3)
    assert JudgedWindow.objects.count() == 3


def test_old_hours_become_the_hour_of_each_day_with_the_most_evidence():
    monitor = Monitor.objects.create(version=watched_version())
    for hour in range(72):
        remember(monitor.pk, Grain.HOUR, Left(START + hour * HOUR, float(hour % 24 + hour // 24 * 100), 2160.0))
    remember(monitor.pk, Grain.DAY, Left(START, 500.0, 90.0))
    now = START + 92 * DAY
    assert list(thin(now)) == [24, 24]
    assert list(thin(now)) == []
    rows = JudgedWindow.objects.order_by("start").values_list("grain", "start", "mean_evidence", "budget")
    assert list(rows)[:2] == [("d", START, 500.0, 90.0), ("d", START + DAY, 123.0, 2160.0)]
    assert len(rows) == 2 + 24


def test_what_happened_is_told_beside_it_and_what_is_not_of_it_is_not():
    version = watched_version()
    watched_version("other")
    since = actions.promote(model="churn", version=1, actor="cli:ana").at
    actions.promote(model="other", version=1, actor="cli:ana")
    raise_alert(version, Cause.TRUST, Severity.WARNING, features=[], evidence={})
    past = past_of(version, since)
    assert [(event.action, event.model) for event in past.events] == [("promote", "churn")]
    assert [alert.cause for alert in past.alerts] == [Cause.TRUST]
    assert past_of(version, since + DAY) == ((), (), ())
