"""trivet.testing of rows of a table: stubs are given their features, the outbox knows whom they are about."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import TestCase

import pytest
from django.db.models import Q
from django.test import override_settings

import trivet
from tests.django.declared import declaring, feature_set, predictor
from tests.shop.models import Customer, Order
from trivet import f
from trivet.core.errors import InvalidRequest, NotFound, Unavailable
from trivet.features.exporting import export_features
from trivet.testing import PredictionAssertions, outbox, override_predictor

pytestmark = pytest.mark.django_db


class Tests(PredictionAssertions, TestCase):
    """A user's test case."""


asserting = Tests()


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with override_settings(TRIVET_TESTS="stub"), declaring():
        outbox.clear()
        yield


@pytest.fixture
def features() -> Any:
    made = feature_set(Customer, "seats", orders=f.Count("orders", at=None))
    predictor("Churn", features=made)
    return made


def customer(orders: int = 0) -> Customer:
    made = Customer.objects.create(seats=3)
    for _ in range(orders):
        Order.objects.create(customer=made, total=1)
    return made


def test_a_stub_is_given_the_features_of_a_row_and_the_outbox_knows_whom_it_is_about(features):
    anna, bert = customer(orders=2), customer()
    with override_predictor("churn", returns=lambda given: given["orders"] / 10):
        assert trivet.predict("churn", anna) == 0.2
        assert [float(one) for one in trivet.predict_many("churn", [bert.pk, anna.pk])] == [0, 0.2]
        assert trivet.predict_many("churn", Customer.objects.order_by("pk"))[0].features == {"seats": 3, "orders": 2}
    asserting.assertPredicted("churn", instance=anna, times=3, orders=2)
    asserting.assertPredicted("churn", instance=bert, times=2, orders=0)
    asserting.assertNotPredicted("churn", instance=f"shop.customer:{bert.pk + 1}")
    asserting.assertPredictionCount(5, "churn")


def test_a_test_fails_by_what_would_fail_in_the_site(features):
    with pytest.raises(NotFound):
        trivet.predict("churn", 0)
    with pytest.raises(InvalidRequest, match="late: asked about 'Customer', and it has no Predictor"):
        trivet.predict("late", customer())
    assert len(outbox) == 0


def test_a_fallback_is_tried_by_letting_the_model_fail(features):
    anna = customer()
    with override_predictor("churn", raises=Unavailable):
        assert trivet.predict("churn", anna, fallback=lambda row: row.seats / 4) == 0.75
    asserting.assertPredicted("churn", instance=anna, times=1)


def test_the_queries_that_features_need_are_counted(features):
    with pytest.raises(AssertionError, match=r"churn: there is no Customer whose features could be read: create one"):
        asserting.assertFeatureQueries("churn", 1)
    anna = customer(orders=1)
    asserting.assertFeatureQueries("churn", 1)
    asserting.assertFeatureQueries("churn", 1, instance=anna)
    with pytest.raises(AssertionError, match=r"(?s)to be read by 2 queries, not by 1:\n  SELECT"):
        asserting.assertFeatureQueries("churn", 2)
    many = f.Method(needs=["orders"], gives=int)
    predictor("Churn", features=feature_set(Customer, many=many, get_many=lambda self, row: len(row.orders.all())))
    asserting.assertFeatureQueries("churn", 2, instance=anna)


def test_features_are_held_against_the_export_that_a_model_was_trained_on(features, tmp_path: Path):
    customer(orders=1)
    export = tmp_path / "churn.csv"
    export_features(features, export, lambda file: file.open("wb"), as_of=datetime(2026, 1, 1, tzinfo=UTC), label=None)
    export.unlink()
    asserting.assertFeatureParity("churn", export)
    changed = feature_set(Customer, "discount", orders=f.Count("orders", at=None, where=Q(is_refunded=False)))
    predictor("Churn", features=changed)
    message = r"churn: shop.ml.ChurnFeatures is another than churn.csv was exported by: 'orders' has changed, 'discount' is new"
    with pytest.raises(AssertionError, match=message):
        asserting.assertFeatureParity("churn", str(export))
    with pytest.raises(AssertionError, match=r"there is no other.csv.manifest.json beside other.csv"):
        asserting.assertFeatureParity("churn", tmp_path / "other.csv")
