"""FeatureSets of rows that were just made."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.django.declared import declaring, feature_set
from tests.shop.models import Customer, Order, Parcel
from trivet import f

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
