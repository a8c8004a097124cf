"""Windows: what was counted of a version in times that overlap is what each of them has by itself, and is read once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.django.watched import count, watched_version
from trivet.control.monitoring.drift import Against, drift_report, earlier
from trivet.control.monitoring.references import watched
from trivet.control.monitoring.windows import HOUR, Span, counts_between, counts_by, counts_over
from trivet.control.registry import actions
from trivet.core.profile.profile import Profile, merge

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def asked() -> tuple[int, Profile]:
    """Have a champion asked each half day for ten days; return its version's key, and the profile of nobody."""
    version = watched_version()
    actions.promote(model="churn", version=1, actor="cli:ana")
    for place in range(20):
        count(version, START + place * 12 * HOUR, 20 + place, seed=place, unseen=0.2)
    found = watched("churn", version.digest)
    assert found is not None
    return version.pk, found.reference.empty


def test_overlapping_windows_are_what_each_is_and_are_read_once():
    version, empty = asked()
    whole, spans = Span(START, START + 10 * DAY), [Span(START + n * DAY, START + (n + 4) * DAY) for n in range(5)]
    far = [Span(START + 9 * DAY, START + 20 * DAY), Span(START - DAY, START)]

    with CaptureQueriesContext(connection) as queries:
        counts = counts_over(version, [[whole], spans, far], empty)

    assert len(queries) == 1
    one_by_one = [
        merge((counts_between(version, *span, empty) for span in some), empty) for some in ([whole], spans, far)
    ]
    assert counts == one_by_one
    assert [one.unseen for one in counts] == [one.unseen for one in one_by_one]
    assert counts[1].rows > counts[0].rows, "what is in several spans counts in each"


def test_a_month_beside_the_same_hours_of_four_weeks_takes_no_more_queries_than_a_day():
    version, empty = asked()
    taken = []
    for window, against in ((DAY, Against.PREVIOUS), (30 * DAY, Against.SAME_HOUR)):
        with CaptureQueriesContext(connection) as queries:
            report = drift_report("churn", now=START + 9 * DAY, window=window, against=against)
        taken.append(len(queries))
        before = [counts_between(version, *span, empty).rows for span in earlier(report.start, report.end, against)]
        assert report.reference_rows == sum(before) > 0
    assert taken[0] == taken[1]


@pytest.mark.parametrize("has_zones", [True, False])
def test_pieces_begin_as_the_site_keeps_moments(settings, has_zones: bool):
    settings.USE_TZ = has_zones
    version, start = watched_version(), START if has_zones else START.replace(tzinfo=None)
    for place in range(4):
        count(version, start + place * 12 * HOUR, 20 + place)
    found = watched("churn", version.digest)
    assert found is not None

    pieces = counts_by(version.pk, start, start + 2 * DAY, DAY, found.reference.empty)

    assert {moment: counts.rows for moment, counts in pieces.items()} == {start: 41, start + DAY: 45}
    assert {moment.utcoffset() is not None for moment in pieces} == {has_zones}
