"""FeatureSets: what would read another row or another value than is meant, and is read rightly or refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from tests.django.declared import declaring, feature_set
from tests.shop.models import Contract, Crate, Customer, Insured, InsuredCustomer, Order, Parcel, Plan
from trivet import FeatureSet, checks, f
from trivet.core.errors import InvalidRequest

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with declaring():
        yield


def problems(feature: Any, table: Any = Customer) -> list[str]:
    """Return what `manage.py check` says of a feature, which is not read either while it says something."""
    features = feature_set(table, x=feature)
    said, place = [one.msg for one in checks.check_feature_paths()], "shop.ml.ChurnFeatures.x: "
    found = [message.removeprefix(place) for message in said if message.startswith(place)]  # others may be declared
    if found:
        with pytest.raises(ImproperlyConfigured):
            features.frame()
    return found


# --- which row ----------------------------------------------------------------------------------------------------------


def test_a_row_of_two_tables_is_read_from_the_one_the_features_are_of():
    for cover in (1, 2, 3):
        Insured.objects.create(cover=cover)
    customer = InsuredCustomer.objects.create(cover=50, seats=7)
    assert customer.pk != customer.policy
    of_insured, of_customer = feature_set(Insured, "cover"), feature_set(Customer, "seats", name="Other")
    assert of_insured.for_instance(customer) == {"cover": 50}
    assert of_insured.for_queryset(InsuredCustomer.objects.all()) == [{"cover": 50}]
    assert list(of_insured.rows(InsuredCustomer.objects.all(), chunk_rows=1)) == [{"cover": 50}]
    assert list(of_customer.rows(InsuredCustomer.objects.all())) == [{"seats": 7}]
    crate = Crate.objects.create(id=str(uuid.uuid4()), order=Order.objects.create(customer=customer, total=1, items=3))
    assert feature_set(Parcel, items=f.Column("order__items")).for_instance(crate) == {"items": 3}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Have a second database, with plans in it."""
    said = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "elsewhere.sqlite3"), "OPTIONS": {}}
    monkeypatch.setitem(connections.settings, "elsewhere", connections.settings["default"] | said)
    connections["elsewhere"].connect()  # by hand: a test may open no other database by itself
    with connections["elsewhere"].schema_editor() as editor:
        editor.create_model(Plan)
    yield "elsewhere"
    connections["elsewhere"].close()
    del connections["elsewhere"]


def test_rows_of_several_databases_are_each_read_from_their_own(elsewhere: str):
    here, there = Plan(pk=1, slug="here"), Plan(pk=1, slug="there")
    here.save(using="default")
    there.save(using=elsewhere)
    features = feature_set(Plan, "slug")
    listed = [there, here, there]
    assert [row["slug"] for row in features.for_queryset(listed)] == ["there", "here", "there"]
    assert sorted(row["slug"] for row in features.rows(listed)) == ["here", "there"]
    assert features.for_queryset(Plan.objects.using(elsewhere)) == [{"slug": "there"}]


def test_rows_are_those_of_a_slice_a_union_a_list_or_a_manager_each_once():
    for seats in range(6):
        Customer.objects.create(seats=seats)
    features = feature_set(Customer, "seats")
    newest = Customer.objects.order_by("-pk")[:3]
    few, many = Customer.objects.filter(seats__lt=2), Customer.objects.filter(seats__in=[1, 5])
    for rows, expected in (
        (newest, [3, 4, 5]),
        (few.union(many), [0, 1, 5]),
        (list(newest) * 2, [3, 4, 5]),
        (Customer.objects.raw("SELECT * FROM shop_customer WHERE seats = 4"), [4]),
        (Customer.objects, [0, 1, 2, 3, 4, 5]),
        ([], []),
    ):
        for chunk_rows in (1, 2, 100):
            assert [row["seats"] for row in features.rows(rows, chunk_rows=chunk_rows)] == expected
    assert [row["seats"] for row in features.for_queryset(newest)] == [5, 4, 3]
    assert len(features.for_queryset(Customer.objects)) == 6


@pytest.mark.parametrize("rows", [3, Customer, "customers", [3], [{"seats": 1}]])
def test_what_are_no_rows_is_refused(rows: Any):
    features = feature_set(Customer, "seats")
    for asked in (features.frame, features.for_queryset):
        with pytest.raises(
            InvalidRequest, match=r"^ChurnFeatures: (rows are a QuerySet or a list of|a row is a) Customer"
        ):
            asked(rows)


@pytest.mark.parametrize("chunk_rows", [0, -1, 2.0, "7", True, 20_001])
def test_a_chunk_is_of_some_rows(chunk_rows: Any):
    with pytest.raises(InvalidRequest, match=rf"^chunk_rows is '{chunk_rows}': 1 to 20,000 rows at a time\.$"):
        list(feature_set(Customer, "seats").rows(chunk_rows=chunk_rows))


def test_what_comes_along_takes_no_features_name():
    Customer.objects.create(seats=4)
    features = feature_set(Customer, seats=f.Column("seats", high=2, outside="clip"))
    with pytest.raises(InvalidRequest, match=r"^also: 'seats' is a feature of ChurnFeatures"):
        list(features.rows(also=["pk", "seats"]))


# --- what a method needs ------------------------------------------------------------------------------------------------


def method(table: Any, needs: list[str], made: Any) -> type[FeatureSet]:
    return feature_set(table, x=f.Method(needs=needs), get_x=lambda self, row: made(row))


def test_a_method_needs_a_relation_that_has_no_related_name_or_the_key_of_one():
    plan = Plan.objects.create(slug="pro")
    customer = Customer.objects.create(plan=plan, seats=3)
    order = Order.objects.create(customer=customer, total=1)
    parcel = Parcel.objects.create(order=order)
    Contract.objects.create(customer=customer, fee=5)
    for table, obj, needs, made, expected in (
        (Order, order, ["parcel"], lambda row: len(row.parcel_set.all()), 1),
        (Plan, plan, ["customer__seats"], lambda row: sum(one.seats for one in row.customer_set.all()), 3),
        (Plan, plan, ["customer__orders"], lambda row: len(row.customer_set.all()[0].orders.all()), 1),
        (Customer, customer, ["orders__parcel"], lambda row: len(row.orders.all()[0].parcel_set.all()), 1),
        (Customer, customer, ["orders__customer_id"], lambda row: row.orders.all()[0].customer_id - row.pk, 0),
        (Customer, customer, ["plan_id"], lambda row: row.plan_id - plan.pk, 0),
        (Parcel, parcel, ["order__customer_id"], lambda row: row.order.customer_id - customer.pk, 0),
        (Parcel, parcel, ["order__customer__plan__pk"], lambda row: row.order.customer.plan.pk - plan.pk, 0),
        (Customer, customer, ["contract__fee", "plan__slug"], lambda row: row.contract.fee + len(row.plan.slug), 8),
        (Customer, customer, ["plan", "plan__pk"], lambda row: len(row.plan.slug), 3),
    ):
        features = method(table, needs, made)
        assert checks.check_feature_paths() == []
        assert features.for_instance(obj) == {"x": expected}, needs
    with CaptureQueriesContext(connection) as queries:
        method(Customer, ["plan_id"], lambda row: row.plan_id).for_instance(customer)
    assert "JOIN" not in queries[0]["sql"]


# --- which value --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [3, 0, False, "", ["placed_at"], Order])
def test_E012_a_time_that_is_no_path_is_none(at: Any):
    for feature in (f.Count("orders", at=at), f.Newest("orders__total", by="placed_at", at=at)):
        (found,) = problems(feature)
        assert found.startswith("at: ")


@pytest.mark.parametrize(
    ("feature", "problem"),
    [
        (
            f.Column("discount", missing=-1, low=0, outside="reject"),
            "'-1' would stand for a missing value, and is outside at least 0, where outside='reject' lets none be",
        ),
        (
            f.Sum("orders__total", default=0, at=None, low=1, high=9, outside="clip"),
            "'0' would stand for a missing value, and is outside 1 to 9, where outside='clip' lets none be",
        ),
        (f.Column("seats", low=0.5, outside="clip"), "low is 0.5, and whole numbers are moved to it: a whole number."),
        (f.Column("seats", low=float("nan")), "low is 'nan': a number."),
        (f.Column("seats", high=float("inf")), "high is 'inf': a number."),
        (
            f.Column("discount", missing=2**63),
            "'9223372036854775808' would stand for a missing value, and is not a whole",
        ),
        (
            f.Avg("orders__total", default=float("nan"), at=None),
            "'nan' would stand for a missing value, and is not a num",
        ),
        (
            f.Part("born_on", "month", time_zone="Asia/Tokyo"),
            "'born_on' of Customer is a day, the same in every time zone",
        ),
    ],
)
def test_E012_what_is_said_of_values_fits_them(feature: Any, problem: str):
    (found,) = problems(feature)
    assert found.startswith(problem)


def test_bounds_that_leave_values_where_they_are_may_be_anywhere():
    for feature in (
        f.Column("discount", missing=-1, low=0),
        f.Column("discount", missing=0, low=0, outside="reject"),
        f.Column("seats", low=0.5, outside="reject"),
        f.Column("discount", low=0.5, outside="clip"),  # which may be missing, and so is no whole number
    ):
        assert problems(feature) == []


def test_E012_a_time_zone_where_times_have_none(settings):
    settings.USE_TZ = False
    customer = Customer.objects.create(joined_at=datetime(2026, 1, 31, 23))  # noqa: DTZ001  (as such a project has it)
    (found,) = problems(f.Part("joined_at", "hour", time_zone="Europe/Berlin"))
    assert found.startswith(
        "time_zone is 'Europe/Berlin', and with USE_TZ = False nothing says in which one a time stands"
    )
    assert feature_set(Customer, x=f.Part("joined_at", "hour")).for_instance(customer) == {"x": 23}
    settings.USE_TZ = True
    utc = Customer.objects.create(joined_at=datetime(2026, 1, 31, 23, tzinfo=UTC), born_on=date(2026, 1, 31))
    assert feature_set(Customer, x=f.Part("joined_at", "hour", time_zone="Asia/Tokyo")).for_instance(utc) == {"x": 8}


@pytest.mark.parametrize(
    ("gives", "made", "problem"),
    [
        (int, 2.7, "not a whole number"),
        (int, "3", "not a whole number"),
        (int, 2**63, "not a whole number"),
        (int, float("inf"), "not a whole number"),
        (bool, "no", "not a truth"),
        (bool, 2, "not a truth"),
        (float, "2.5", "not a number"),
        (float, [2.5], "not a number"),
    ],
)
def test_what_a_method_returns_is_not_made_into_what_it_declares(gives: type, made: Any, problem: str):
    customer = Customer.objects.create()
    features = feature_set(Customer, x=f.Method(gives=gives), get_x=lambda self, row: made)
    with pytest.raises(InvalidRequest, match=rf"^ChurnFeatures, Customer \d+: 'x' is .*, {problem}\.$"):
        features.for_instance(customer)


def test_what_a_method_returns_may_be_the_same_value_of_another_type():
    customer = Customer.objects.create()
    for gives, made, value in ((int, 2.0, 2), (int, True, 1), (bool, 1, True), (float, 2, 2.0), (float, True, 1.0)):
        features = feature_set(Customer, x=f.Method(gives=gives, missing="reject"), get_x=lambda self, row: made)  # noqa: B023  (asked at once)
        found = features.for_instance(customer)["x"]
        assert (found, type(found)) == (value, gives)


@pytest.mark.parametrize("huge", [10**400, -(10**400), "1" * 400])
def test_a_number_of_hundreds_of_digits_is_refused_as_any_that_does_not_fit(huge: Any):
    with pytest.raises(InvalidRequest, match="not a whole number"):
        feature_set(Customer, "seats").from_data({"seats": huge})
