"""FeatureSets: rows that were just made, and paths that are none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.django.declared import declaring, feature_set
from tests.shop.models import Customer, Order, Parcel
from trivet import checks, f
from trivet.core.errors import InvalidRequest

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with declaring():
        yield


def test_a_row_that_was_made_with_its_key_as_a_text_is_found():
    customer = Customer.objects.create(pk="71", seats=4)
    parcel = Parcel.objects.create(id=str(uuid4()), order=Order.objects.create(customer=customer, total=1, items=3))
    assert feature_set(Customer, "seats").for_instance(customer) == {"seats": 4}
    assert feature_set(Parcel, items=f.Column("order__items")).for_queryset([parcel]) == [{"items": 3}]


@pytest.mark.parametrize("path", [Order, Customer.seats, None, 3, ["seats"]])
@pytest.mark.parametrize("word", [f.Column, f.Category, f.DaysSince, f.Count, f.Sum])
def test_what_is_no_text_is_told_as_no_path(word: Any, path: Any):
    feature_set(Customer, x=word(path))
    (found,) = checks.check_feature_paths()
    assert "ChurnFeatures.x: " in found.msg
    assert "is no path of a field" in found.msg


def test_what_comes_along_and_is_no_text_is_refused():
    with pytest.raises(InvalidRequest, match="also: '3' is no path of a field"):
        list(feature_set(Customer, "seats").rows(also=[3]))
