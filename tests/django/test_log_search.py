"""Looking for predictions: pages that follow one another, bounded looks, two queries, and the indexes that serve them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from tests.django.worlds import ready, record
from trivet.control.predictions import searching
from trivet.control.predictions.labelling import say
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.searching import Place, Wanted, search
from trivet.control.predictions.shipping import ship
from trivet.control.registry.models import ModelVersion
from trivet.core.records import SHADOW, SaidLabel

pytestmark = pytest.mark.django_db
SECOND = 10**9


@pytest.fixture
def log(monkeypatch):
    """Forty answers, four a second, of two versions and callers; every tenth is flagged and every eighth labelled."""
    monkeypatch.setattr(searching, "PAGE_ROWS", 6)
    first, second = ready(2)
    begin = record(first).made_at
    records = [
        record(
            (first, second)[place % 2],
            made_at=begin + place // 4 * SECOND,
            caller=f"key:{place % 2}",
            request_id=f"r-{place}",
            entity_key=f"shop.customer:{place % 5}",
            flags={0: {"age": "above_high"}} if place % 10 == 0 else None,
            kind=SHADOW if place == 39 else "predict",
        )
        for place in range(40)
    ]
    ship(records, cursor=("worker", 1, 10))
    say([SaidLabel("stays", one.id) for one in records[::8]], actor="cli:ana")
    return records


def all_pages(wanted: Wanted) -> list[str]:
    """Return the requests of all pages, in order."""
    found, after = [], None
    while True:
        page = search(wanted, after)
        found += [one.request_id for one in page.predictions]
        after = page.after
        if after is None:
            return found


def test_pages_follow_one_another_without_a_gap_or_a_repeat_also_among_rows_of_one_time(log):
    assert all_pages(Wanted("churn")) == [f"r-{place}" for place in range(38, -1, -1)], "no shadow among them"
    assert all_pages(Wanted("fraud")) == []


def test_what_comes_meanwhile_moves_no_page(log):
    first = search(Wanted("churn"))
    ship([record(ModelVersion.objects.get(number=1), made_at=log[0].made_at + 99 * SECOND)])
    assert search(Wanted("churn"), first.after).predictions[0].request_id == "r-32"


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ({"version": 2}, range(37, 0, -2)),
        ({"caller": "key:0"}, range(38, -1, -2)),
        ({"request_id": "r-3"}, [3]),
        ({"entity_key": "shop.customer:4"}, range(34, 0, -5)),
        ({"decision": "churned", "version": 1}, range(38, -1, -2)),
        ({"decision": "stays"}, []),
        ({"is_flagged": True}, [30, 20, 10, 0]),
        ({"is_flagged": False, "entity_key": "shop.customer:0"}, [35, 25, 15, 5]),
        ({"is_labelled": True}, [32, 24, 16, 8, 0]),
        ({"is_labelled": False, "caller": "key:0", "is_flagged": True}, [30, 20, 10]),
    ],
)
def test_each_condition_leaves_what_meets_it(log, wanted, places):
    assert all_pages(Wanted("churn", **wanted)) == [f"r-{place}" for place in places]


def test_a_time_begins_with_its_first_moment_and_ends_before_its_last(log):
    first = Prediction.objects.earliest("made_at").made_at
    wanted = Wanted("churn", since=first + timedelta(seconds=2), until=first + timedelta(seconds=3))
    assert all_pages(wanted) == ["r-11", "r-10", "r-9", "r-8"]


def test_what_is_rare_is_looked_for_a_bounded_number_of_rows_at_a_time(log, monkeypatch):
    monkeypatch.setattr(searching, "LOOKED_AT", 10)
    page = search(Wanted("churn", request_id="r-2"))
    assert page.predictions == ()
    assert page.looked_until is not None
    assert page.after == Place(page.looked_until, 0)
    assert all_pages(Wanted("churn", request_id="r-2")) == ["r-2"]
    assert all_pages(Wanted("churn", is_flagged=True)) == ["r-30", "r-20", "r-10", "r-0"]


def test_a_page_is_two_queries_and_reads_no_inputs(log, django_assert_num_queries):
    wanted = Wanted("churn", version=1, caller="key:0", is_labelled=True, since=timezone.now() - timedelta(days=9999))
    for after in (None, Place(timezone.now(), 7)):
        with django_assert_num_queries(2) as captured:
            page = search(wanted, after)
            assert [one.label for one in page.predictions] == ["stays"] * len(page.predictions)
        assert not any('"inputs"' in query["sql"] for query in captured)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by the size of the table")
@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Wanted("churn", request_id="r-2", is_labelled=True), "trivet_prediction_of_model"),
        (Wanted("churn", entity_key="shop.customer:4", caller="key:0"), "trivet_prediction_of_entity"),
    ],
)
def test_rows_are_found_by_an_index_in_the_order_of_time(log, django_assert_num_queries, wanted, index):
    for after in (None, Place(timezone.now(), 7)):
        with django_assert_num_queries(2) as captured:
            search(wanted, after)
        for query in captured:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
                plan = " / ".join(row[3] for row in cursor.fetchall())
            assert index in plan, plan
            assert "OFFSET" not in query["sql"]
            assert "USE TEMP B-TREE" not in plan.partition("CORRELATED")[0], plan
