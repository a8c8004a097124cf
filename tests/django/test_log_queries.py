"""Asking the log: conditions that follow one another, in one query, with what each came true as."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from tests.django.worlds import ready, record
from trivet.control.predictions.labelling import say
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.core.records import SaidLabel

pytestmark = pytest.mark.django_db


@pytest.fixture
def log():
    """Three requests of two callers, to two versions; the second is about somebody, and flagged."""
    first, second = ready(2)
    records = [
        record(first, caller="key:aaaaaaaa", request_id="r-1"),
        record(second, rows=2, caller="user:ana", entity_key="shop.customer:17", flags={1: {"age": "above 77"}}),
        record(
            second, caller="key:aaaaaaaa", outputs=[["stays"], [0.75, 0.25]], made_at=record(second).made_at + 10**9
        ),
    ]
    ship(records, cursor=("worker", 1, 10))
    return records


def test_each_condition_is_a_word(log):
    found = Prediction.objects.of_model("churn")
    start = found.earliest("made_at").made_at
    assert found.count() == 4
    assert found.of_version(1).count() == 1
    assert found.about("shop.customer:17").count() == 2
    assert found.asked_by("key:aaaaaaaa").of_version(2).count() == 1
    assert found.of_request("r-1").get().version == 1
    assert found.between(start, start + timedelta(seconds=1)).count() == 3
    assert found.since(start + timedelta(seconds=1)).get().decision == "stays"
    assert found.decided("churned").count() == 3
    assert found.flagged().get().flags == {"age": "above 77"}
    assert Prediction.objects.of_model("fraud").count() == 0


def test_labels_come_in_the_same_query_by_their_newest_revision(log, django_assert_num_queries):
    chosen = Prediction.objects.about("shop.customer:17").get(row=1).public_id
    for value in ("churned", "stays"):
        say([SaidLabel(prediction_id=log[1].id, row=1, value=value, source="billing")], actor="cli:ana")
    with django_assert_num_queries(1):
        told = {one.public_id: (one.label, one.label_source) for one in Prediction.objects.all().with_labels()}
    assert told.pop(chosen) == ("stays", "billing")
    assert set(told.values()) == {(None, None)}


def test_conditions_are_of_one_query_whatever_their_number(log, django_assert_num_queries):
    with django_assert_num_queries(1):
        list(
            Prediction.objects.of_model("churn")
            .of_version(2)
            .asked_by("user:ana")
            .about("shop.customer:17")
            .flagged()
            .decided("churned")
            .with_labels()
        )
    assert not Prediction.objects.of_request(str(uuid4())).exists()
