"""Statements: the query of one row, made once and asked again, says what the query that is made anew says."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connections
from django.db.models import Case, Func, IntegerField, Q, Value, When
from django.db.models.functions import ExtractHour, ExtractWeekDay, TruncDate
from django.test import override_settings
from django.utils import timezone

from tests.django.declared import declaring, feature_set
from tests.shop.models import Charter, Crate, Customer, Flight, Order, Parcel, Plan, Ticket
from trivet import FeatureSet, f
from trivet.features import statement
from trivet.features.shape import shape_of
from trivet.features.statement import statement_of

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)  # half an hour before summer time begins in Berlin
DAY = timedelta(days=1)


class Everything(FeatureSet):
    """Features of each sort, whose queries hold the moment in each way."""

    tenure = f.DaysSince("joined_at")
    age = f.DaysSince("born_on", missing=-1.0)
    joined_hour = f.Part("joined_at", "hour", time_zone="Asia/Kolkata", missing=0)
    plan = f.Category("plan__slug", choices=["free", "pro"], unknown="missing")
    invoiced = f.Boolean("is_invoiced")
    orders_90d = f.Count("orders", where=Q(placed_at__gte=f.as_of - 90 * DAY))
    spent = f.Sum("orders__total", where=~Q(is_refunded=True) | Q(placed_at__lt=f.as_of - DAY), default=0)
    basket = f.Avg("orders__total")
    newest = f.Newest("orders__items", by="placed_at")
    tickets = f.Count("tickets", at="opened_on")
    asked = f.Exists("tickets", where=Q(subject__startswith="50%"))
    friends = f.Count("friends", at=None)
    is_new = f.Expression(Case(When(joined_at__gte=f.as_of - 30 * DAY, then=Value(1)), default=Value(0)))
    active_hour = f.Expression(ExtractHour("joined_at"))
    weekday = f.Expression(ExtractWeekDay(TruncDate(f.as_of, tzinfo=ZoneInfo("Asia/Kolkata"))))
    free_mail = f.Method(needs=["email", "plan_id"])

    class Meta:
        model = Customer
        fields = ["country", "seats", "discount"]

    def get_free_mail(self, row: Customer) -> bool | None:
        return row.email.endswith("@gmail.com") if row.plan_id else None


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    Everything.__dict__.get("_statements", {}).clear()
    with declaring():
        yield


def customers(seed: int, count: int = 25) -> list[Customer]:
    """Return customers about whom little is the same."""
    chance = random.Random(seed)
    plans = [Plan.objects.create(slug=slug) for slug in ("free", "pro", "gold")]
    made = [
        Customer.objects.create(
            joined_at=chance.choice([None, NOW - chance.random() * 400 * DAY, NOW]),
            born_on=chance.choice([None, date(1980, 2, 29), NOW.date()]),
            email=chance.choice(["x@gmail.com", "x@example.com"]),
            country=chance.choice(["DE", "NO", "%s"]),
            seats=chance.randrange(5),
            discount=chance.choice([None, 0, 7]),
            is_invoiced=chance.random() < 0.5,
            plan=chance.choice([None, *plans]),
        )
        for _ in range(count)
    ]
    for one in made:
        one.friends.set(chance.sample(made, min(2, count)))
        for _ in range(chance.randrange(4)):
            placed = chance.choice([None, NOW, NOW + timedelta(seconds=1), NOW - chance.random() * 200 * DAY])
            total = Decimal(chance.randrange(99_999)) / 100
            Order.objects.create(
                customer=one,
                is_refunded=chance.random() < 0.3,
                total=total,
                items=chance.randrange(9),
                placed_at=placed,
            )
            opened = NOW.date() - chance.randrange(-1, 3) * DAY
            Ticket.objects.create(customer=one, subject=chance.choice(["50% off", "lost"]), opened_on=opened)
    return made


def is_remembered(features: type[FeatureSet]) -> bool:
    return statement_of(features, shape_of(features), "default") is not None


def same(features: type[FeatureSet], rows: list[Any], as_of: Any) -> None:
    """Hold each row that is asked for alone, by the statement, against all asked for together, which have none."""
    together = features.for_queryset(rows, as_of)
    alone = [features.for_instance(row, as_of) for row in rows]
    assert alone == together
    assert [list(map(type, row.values())) for row in alone] == [list(map(type, row.values())) for row in together]


@pytest.mark.parametrize("seed", range(3))
def test_a_row_alone_has_the_features_that_it_has_among_many(seed: int):
    rows = customers(seed)
    moments = [
        NOW,
        NOW.replace(microsecond=1),
        NOW + DAY,
        datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC),
        date(2026, 3, 1),
    ]
    for moment in [*moments, NOW.astimezone(ZoneInfo("America/New_York")), datetime(2026, 10, 25, 2, 30)]:  # noqa: DTZ001
        same(Everything, rows, moment)
    assert is_remembered(Everything)


def test_now_is_now_each_time():
    (one, other), hour = customers(1, 2), timedelta(hours=1)
    features = feature_set(Customer, since=f.HoursSince("joined_at"), late=f.Count("orders", at="placed_at"))
    Order.objects.all().delete()
    one.joined_at = timezone.now() - hour
    one.save()
    assert features.for_instance(one)["late"] == 0
    Order.objects.create(customer=one, total=1, placed_at=timezone.now())
    assert features.for_instance(one)["late"] == 1
    assert 1 <= features.for_instance(one)["since"] < 1.1
    assert features.for_instance(other)["late"] == 0


def test_an_expression_follows_the_time_zone_that_a_request_has_activated():
    rows = customers(2, 5)
    seen = set()
    for zone in (None, "Asia/Tokyo", "America/Los_Angeles", None):
        with timezone.override(ZoneInfo(zone) if zone else None):
            same(Everything, rows, NOW)
            seen.add(tuple(Everything.for_instance(row, NOW)["active_hour"] for row in rows))
    assert len(seen) == 3


@override_settings(USE_TZ=False)
def test_a_project_without_time_zones_has_the_same():
    features = feature_set(
        Customer, "seats", late=f.Count("orders", at="placed_at"), tickets=f.Count("tickets", at="opened_on")
    )
    rows = [Customer.objects.create(joined_at=datetime(2026, 1, 1)) for _ in range(3)]  # noqa: DTZ001
    Order.objects.create(customer=rows[0], total=1, placed_at=datetime(2026, 1, 2))  # noqa: DTZ001
    Ticket.objects.create(customer=rows[1], subject="lost", opened_on=date(2026, 1, 2))
    for day in (1, 2, 3):
        same(features, rows, datetime(2026, 1, day))  # noqa: DTZ001
    assert features.for_instance(rows[0], datetime(2026, 1, 2))["late"] == 1  # noqa: DTZ001
    assert is_remembered(features)


def test_rows_with_keys_of_other_sorts_and_tables_of_two_parts_have_the_same():
    (customer,) = customers(3, 1)
    orders = [Order.objects.create(customer=customer, total=1, items=number) for number in range(3)]
    parcels = feature_set(Parcel, items=f.Column("order__items"))
    same(parcels, [Parcel.objects.create(order=order) for order in orders], NOW)
    crates = feature_set(Crate, items=f.Column("order__items"))
    same(crates, [Crate.objects.create(order=order) for order in orders], NOW)
    charters = feature_set(
        Charter, "carrier", code=f.Method(needs=["code"], gives=str), get_code=lambda self, row: row.code
    )
    same(charters, [Charter.objects.create(code=str(number)) for number in range(3)], NOW)
    assert all(is_remembered(one) for one in (parcels, crates, charters))


def test_a_method_that_reads_another_row_is_asked_as_before():
    rows = customers(4, 4)
    near = f.Method(needs=["plan__slug"], gives=str)
    many = f.Method(needs=["orders"])
    for features in (
        feature_set(Customer, near=near, get_near=lambda self, row: row.plan.slug if row.plan else None),
        feature_set(Customer, many=many, get_many=lambda self, row: len(row.orders.all())),
    ):
        same(features, rows, NOW)
        assert not is_remembered(features)


class Hours(Func):
    """An expression that looks at its argument, as one of a project may."""

    output_field = IntegerField()

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        moment = self.get_source_expressions()[0].value
        return "(%s + 0)", [moment.hour]


class Named(Hours):
    """One that writes what it sees into the SQL."""

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        return f"({self.get_source_expressions()[0].value.hour} + 0)", []


@pytest.mark.parametrize("function", [Hours, Named])
def test_an_expression_that_makes_something_else_of_the_moment_is_made_anew_each_time(function: type[Func]):
    rows = customers(5, 3)
    features = feature_set(Customer, hour=f.Expression(function(f.as_of)))
    for hour in (1, 2, 23):
        same(features, rows, NOW.replace(hour=hour))
        assert features.for_instance(rows[0], NOW.replace(hour=hour)) == {"hour": hour}
    assert not is_remembered(features)


def test_a_moment_that_each_row_says_itself_and_rows_that_are_gone_are_as_before():
    rows = customers(6, 6)
    for row in rows:
        if row.joined_at is not None:
            assert Everything.for_instance(row, "joined_at") == Everything.for_queryset([row, row], "joined_at")[0]


def test_the_query_is_made_once(monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any):
    rows, making, made = customers(7, 3), statement._made, []

    def counted(*arguments: Any) -> Any:
        made.append(arguments)
        return making(*arguments)

    monkeypatch.setattr(statement, "_made", counted)
    for row in rows:
        with django_assert_num_queries(1):
            Everything.for_instance(row)
    assert len(made) == 1


def test_threads_that_ask_at_once_have_the_same_query_and_it_holds_none_of_their_connections():
    features = feature_set(Flight, "carrier", late=f.Column("arr_delay"))
    flight = Flight.objects.create(code="UA1", arr_delay=3)
    made: list[Any] = []
    held: list[Any] = []
    barrier = threading.Barrier(4)

    def ask() -> None:
        barrier.wait(10)
        one = statement_of(features, shape_of(features), "default")
        assert one is not None
        one._converters(connections["default"])
        made.append(one._sql)
        held.append(weakref.ref(connections["default"]))
        connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    gc.collect()
    assert len(made) == 4
    assert len(set(made)) == 1
    assert [one() for one in held] == [None] * 4
    assert features.for_instance(flight) == {"carrier": "UA", "late": 3.0}


def test_few_time_zones_are_kept():
    (row,) = customers(8, 1)
    for minutes in range(-100, 100):
        with timezone.override(timezone.get_fixed_timezone(minutes)):
            Everything.for_instance(row)
    assert len(Everything.__dict__["_statements"]) <= statement.MOST
