"""FeatureSets: declared over a model of Django, right against plain SQL, as of their moment, the same whoever reads them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import jsonschema
import numpy as np
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import Case, DateTimeField, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce, Length
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.django.declared import declaring, feature_set
from tests.shop.models import Contract, Customer, Flight, Order, Plan, Ticket
from trivet import FeatureSet, checks, f
from trivet.core.errors import InvalidRequest, InvalidRows, NotFound

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with declaring():
        yield


def told(check: Any) -> list[str]:
    return [f"{one.id.removeprefix('trivet.')} {one.msg}" for one in check()]


def one(feature: f.Column | Any, obj: Any, as_of: Any = NOW) -> Any:
    """Return what one feature of one row is."""
    return feature_set(type(obj), x=feature).for_instance(obj, as_of)["x"]


def placed(customer: Customer, *days_ago: float, total: Any = 10, **said: Any) -> list[Order]:
    return [
        Order.objects.create(customer=customer, total=total, placed_at=NOW - days * DAY, **said) for days in days_ago
    ]


# --- columns ------------------------------------------------------------------------------------------------------------


def test_columns_have_the_type_of_their_field_and_go_through_foreign_keys():
    customer = Customer.objects.create(country="FR", seats=3, plan=Plan.objects.create(slug="pro"), is_invoiced=True)
    Contract.objects.create(customer=customer, fee=Decimal("9.90"))
    features = feature_set(
        Customer,
        "country",
        "seats",
        "plan_id",
        "discount",
        plan=f.Column("plan__slug"),
        fee=f.Column("contract__fee"),
        invoiced=f.Boolean("is_invoiced"),
    )
    values = features.for_instance(customer)
    assert values == {
        "country": "FR",
        "seats": 3,
        "plan_id": customer.plan_id,
        "discount": None,
        "plan": "pro",
        "fee": 9.9,
        "invoiced": True,
    }
    assert [type(value) for value in values.values()] == [str, int, float, type(None), str, float, bool]
    assert (type(values["plan_id"]), features.frame()["seats"].dtype) == (float, np.int64)  # which may be missing


def test_a_missing_value_is_none_and_of_an_array_nan_or_stands_aside_for_another():
    Customer.objects.create()
    features = feature_set(Customer, plan=f.Column("plan__slug"), discount=f.Column("discount"))
    assert features.for_queryset(Customer.objects.all()) == [{"plan": None, "discount": None}]
    frame = features.frame()
    assert frame["plan"].tolist() == [None]
    assert np.isnan(frame["discount"]).tolist() == [True]
    filled = feature_set(
        Customer, plan=f.Column("plan__slug", missing="none"), discount=f.Column("discount", missing=0)
    )
    assert filled.for_queryset(Customer.objects.all()) == [{"plan": "none", "discount": 0}]
    assert filled.frame()["discount"].dtype == np.int64
    with pytest.raises(InvalidRequest, match=r"ChurnFeatures, Customer \d+: 'x' is missing\."):
        one(f.Column("discount", missing="reject"), Customer.objects.get())


def test_bounds_are_kept_as_they_are_said():
    customer = Customer.objects.create(seats=900)
    assert one(f.Column("seats", high=100), customer) == 900
    assert one(f.Column("seats", high=100, outside="clip"), customer) == 100
    assert one(f.Column("seats", low=1000, outside="clip"), customer) == 1000
    with pytest.raises(InvalidRequest, match=r"'x' is '900', outside at most 100\."):
        one(f.Column("seats", high=100, outside="reject"), customer)


def test_a_category_is_of_a_known_set():
    customer = Customer.objects.create(plan=Plan.objects.create(slug="gold"))
    said = {"choices": ["free", "pro"]}
    assert one(f.Category("plan__slug"), customer) == "gold"
    assert one(f.Category("plan__slug", unknown="pass", **said), customer) == "gold"
    assert one(f.Category("plan__slug", unknown="missing", **said), customer) is None
    assert one(f.Category("plan__slug", unknown="missing", missing="free", **said), customer) == "free"
    with pytest.raises(
        InvalidRequest, match=r"'x' is 'gold'. Known: free, pro. To accept unseen values declare unknown"
    ):
        one(f.Category("plan__slug", **said), customer)


def test_time_is_relative_to_the_moment_and_parts_are_of_a_time_zone(settings):
    customer = Customer.objects.create(joined_at=NOW - timedelta(days=2, hours=12), born_on=date(2000, 3, 31))
    assert one(f.DaysSince("joined_at"), customer) == 2.5
    assert one(f.HoursSince("joined_at"), customer) == 60
    assert one(f.DaysSince("born_on"), customer) == (date(2026, 3, 31) - date(2000, 3, 31)).days
    assert one(f.DaysSince("joined_at"), customer, NOW - 3 * DAY) == -0.5
    late = Customer.objects.create(joined_at=datetime(2026, 1, 31, 23, 30, tzinfo=UTC))  # a Saturday
    assert [one(f.Part("joined_at", part), late) for part in ("hour", "weekday", "month")] == [23, 5, 1]
    berlin = [one(f.Part("joined_at", part, time_zone="Europe/Berlin"), late) for part in ("hour", "weekday", "month")]
    assert berlin == [0, 6, 2]
    with timezone.override("Asia/Tokyo"):  # whatever a request has activated: the project's counts
        assert one(f.Part("joined_at", "hour"), late) == 23
        assert one(f.DaysSince("born_on"), customer, NOW + timedelta(hours=11)) == 9496
    assert one(f.DaysSince("joined_at"), Customer.objects.create()) is None


def test_a_project_without_time_zones_has_naive_moments(settings):
    settings.USE_TZ = False
    noon = NOW.replace(tzinfo=None)
    customer = Customer.objects.create(joined_at=noon - 2 * DAY, left_at=noon, born_on=date(2026, 3, 30))
    Order.objects.create(customer=customer, total=1, placed_at=noon)
    Ticket.objects.create(customer=customer, subject="x", opened_on=date(2026, 3, 31))
    features = feature_set(
        Customer,
        joined=f.DaysSince("joined_at"),
        born=f.DaysSince("born_on"),
        hour=f.Part("joined_at", "hour"),
        orders=f.Count("orders", at="placed_at"),
        tickets=f.Count("tickets", at="opened_on"),
    )
    expected = {"joined": 2.0, "born": 1.0, "hour": 12.0, "orders": 1, "tickets": 0}
    for as_of in (noon, NOW, "left_at"):
        assert features.for_instance(customer, as_of) == expected
    assert features.for_instance(customer)["tickets"] == 1


# --- many rows ----------------------------------------------------------------------------------------------------------


def test_two_aggregates_over_two_relations_give_what_plain_sql_does_alone():
    for place in range(30):
        customer = Customer.objects.create()
        placed(customer, *range(1, place % 5 + 1), total=Decimal(place) + Decimal("0.25"), items=place)
        for number in range(place % 3):
            Ticket.objects.create(customer=customer, subject="x", opened_on=date(2026, 1, 1), hours=number + 0.5)
    features = feature_set(
        Customer,
        orders=f.Count("orders", at="placed_at"),
        spent=f.Sum("orders__total", default=0),
        basket=f.Avg("orders__total"),
        least=f.Min("orders__items"),
        most=f.Max("orders__items", default=-1),
        tickets=f.Count("tickets", at="opened_on"),
        hours=f.Sum("tickets__hours"),
        has_ticket=f.Exists("tickets"),
    )
    rows = list(features.rows(as_of=NOW, also=["pk"]))
    with connection.cursor() as cursor:
        for row in rows:
            cursor.execute(
                "SELECT count(*), coalesce(sum(total), 0), avg(total), min(items), coalesce(max(items), -1)"
                " FROM shop_order WHERE customer_id = %s",
                [row["pk"]],
            )
            alone = list(cursor.fetchone())
            cursor.execute(
                "SELECT count(*), sum(hours), count(*) > 0 FROM shop_ticket WHERE customer_id = %s", [row["pk"]]
            )
            alone += cursor.fetchone()
            expected = [value if value is None else pytest.approx(float(value), rel=1e-14) for value in alone]
            assert [row[name] for name in features.declared] == expected
    assert len(rows) == 30
    assert {type(row["most"]) for row in rows} == {int}
    joined = Customer.objects.filter(orders__isnull=False, tickets__isnull=False)  # many times each: here once
    assert len(features.frame(joined)["orders"]) == joined.distinct().count() < joined.count()


def test_an_order_that_came_after_the_moment_is_not_counted_in_any_feature_over_orders():
    customer = Customer.objects.create()
    placed(customer, 100, 30, total=10)
    placed(customer, 0, total=40)
    placed(customer, -1, -0.00001, total=1000)  # still to come
    features = feature_set(
        Customer,
        orders_90d=f.Count("orders", where=Q(placed_at__gte=f.as_of - 90 * DAY)),
        basket=f.Avg("orders__total", default=0),
        newest=f.Newest("orders__total", by="placed_at"),
        biggest=f.Max("orders__total", at=None),  # says itself that orders have no time
    )
    assert features.for_instance(customer, NOW) == {"orders_90d": 2, "basket": 20, "newest": 40, "biggest": 1000}
    before = features.for_instance(customer, NOW - 99 * DAY)
    assert before == {"orders_90d": 1, "basket": 10, "newest": 10, "biggest": 1000}
    nothing = features.for_instance(customer, NOW - 300 * DAY)
    assert nothing == {"orders_90d": 0, "basket": 0, "newest": None, "biggest": 1000}


def test_each_row_may_say_its_own_moment():
    early, late, without = (Customer.objects.create(left_at=at) for at in (NOW - 60 * DAY, NOW, None))
    for customer in (early, late, without):
        placed(customer, 90, 45, -5)
        Ticket.objects.create(customer=customer, subject="x", opened_on=(NOW - 60 * DAY).date())
    features = feature_set(
        Customer,
        orders=f.Count("orders", where=Q(placed_at__gt=f.as_of - 60 * DAY)),
        tickets=f.Count("tickets", at="opened_on"),
        days=f.DaysSince("joined_at"),
        has_left=f.Expression(Case(When(left_at__lte=f.as_of, then=1), default=0)),
    )
    frame = features.frame(as_of="left_at", also=["pk"])
    assert frame["pk"].tolist() == [early.pk, late.pk]
    assert frame["orders"].tolist() == [1, 1]
    assert frame["has_left"].tolist() == [1, 1]
    assert frame["tickets"].tolist() == [0, 1]  # a day counts once it is over
    for customer in (early, late):  # and it is what that moment itself gives
        assert features.for_instance(customer, "left_at") == features.for_instance(customer, customer.left_at)
    with pytest.raises(NotFound, match=rf"there is no Customer '{without.pk}' whose left_at is there\."):
        features.for_instance(without, "left_at")


def test_a_moment_is_a_datetime_a_date_for_its_beginning_or_a_path_of_one():
    customer = Customer.objects.create()
    placed(customer, 0.6, 0.4)
    count = f.Count("orders", at="placed_at")
    assert one(count, customer, NOW.date()) == 1
    assert one(count, customer, NOW.replace(tzinfo=None)) == 2  # in the project's time zone
    assert one(count, customer, None) == 2
    for wrong, problem in (
        ("left", "as_of: Customer has no field 'left'"),
        ("born_on", "as_of: 'born_on' of Customer is no single DateTimeField"),
        ("orders__placed_at", "as_of: 'orders__placed_at' of Customer is no single DateTimeField"),
        (3, "as_of is '3': a datetime"),
    ):
        with pytest.raises(InvalidRequest, match=problem):
            one(count, customer, wrong)


def test_relations_of_every_sort_are_gone_through():
    plan = Plan.objects.create(slug="pro")
    anna, bert, carl = (Customer.objects.create(plan=plan, seats=seats) for seats in (1, 2, 4))
    anna.friends.add(bert, carl)
    carl.friends.add(bert)
    placed(bert, 3, 2)
    contract = Contract.objects.create(customer=bert)
    assert one(f.Sum("friends__seats", at=None), anna) == 6
    assert one(f.Count("friend_of", at=None), bert) == 2
    assert one(f.Sum("plan__customer__seats", at=None), anna) == 7
    assert one(f.Newest("orders__customer__plan__slug", by="placed_at"), bert) == "pro"
    assert feature_set(Contract, x=f.Count("customer__orders", at=None)).for_instance(contract) == {"x": 2}
    assert one(f.Count("orders", where=~Q(total__lt=5) | Q(items=7), at=None), bert) == 2
    assert one(f.Exists("orders", where=Q(items__gt=F("total"))), bert) is False


# --- computed -----------------------------------------------------------------------------------------------------------


def test_an_expression_knows_the_moment():
    customer = Customer.objects.create(email="ann@gmail.com", joined_at=NOW - DAY)
    assert one(f.Expression(Length("email")), customer) == 13
    assert one(f.Expression(F("seats") * 2.5), customer) == 2.5
    is_new = f.Expression(Coalesce(F("joined_at"), Value(NOW, output_field=DateTimeField())))
    assert "not a number" in next(feature_set(Customer, x=is_new) and iter(told(checks.check_feature_paths)))


def says_nothing(self: Any, row: Customer) -> bool:
    return None  # type: ignore[return-value]


def says_a_list(self: Any, row: Customer) -> list[int]:
    return []


def test_an_expression_may_be_a_query_of_its_own_in_which_the_moment_is_not_known():
    customer = Customer.objects.create()
    placed(customer, 2, 1, total=7)
    orders = Order.objects.filter(customer=OuterRef("pk")).order_by("placed_at")
    assert one(f.Expression(Subquery(orders.values("total")[:1])), customer) == 7
    with pytest.raises(ImproperlyConfigured, match=r"f\.as_of stands inside a query of its own"):
        one(f.Expression(Subquery(orders.filter(placed_at__lte=f.as_of).values("total")[:1])), customer)


class Mail(FeatureSet):
    """As a project would write it."""

    free_mail = f.Method(needs=["email"])
    plan = f.Method(needs=["plan__slug"])
    subjects = f.Method(needs=["tickets"])
    age = f.Method(needs=["joined_at"])

    class Meta:
        model = Customer
        fields = ["seats"]

    def get_free_mail(self, row: Customer) -> bool:
        return row.email.endswith("@gmail.com")

    def get_plan(self, row: Customer) -> str | None:
        return row.plan and row.plan.slug

    def get_subjects(self, row: Customer) -> int:
        return len({ticket.subject for ticket in row.tickets.all()})

    def get_age(self, row: Customer) -> float | None:
        return row.joined_at and (self.as_of - row.joined_at) / DAY


def test_a_method_has_what_it_needs_and_asks_for_nothing():
    plan = Plan.objects.create(slug="pro")
    for place in range(40):
        customer = Customer.objects.create(email="a@gmail.com" if place % 2 else "", plan=plan, joined_at=NOW - DAY)
        Ticket.objects.create(customer=customer, subject=f"{place}", opened_on=NOW)
    for number in (2, 40):
        rows = Customer.objects.order_by("-pk")[:number]
        with CaptureQueriesContext(connection) as queries:
            found = Mail.for_queryset(rows, NOW)
        assert len(queries) == 3, number  # keys, rows, tickets
    assert found[0] == {"seats": 1, "free_mail": True, "plan": "pro", "subjects": 1, "age": 1.0}
    assert [type(value) for value in found[0].values()] == [int, bool, str, int, float]

    class Nosy(FeatureSet):
        age = f.Method(needs=["email"])

        class Meta:
            model = Customer

        def get_age(self, row):
            return row.seats

    with pytest.raises(ImproperlyConfigured, match=r"Nosy.get_age asks the database.*age = f.Method\(needs="):
        Nosy.for_instance(customer)


def test_a_method_that_says_nothing_of_its_type_gives_a_number():
    class Short(FeatureSet):
        x = f.Method(needs=["email"])

        class Meta:
            model = Customer

        def get_x(self, row):
            return row.email or True

    assert Short.for_instance(Customer.objects.create()) == {"x": 1.0}
    with pytest.raises(InvalidRequest, match="'free_mail' is missing"):
        type("Silent", (Mail,), {"get_free_mail": says_nothing}).for_instance(Customer.objects.get())
    with pytest.raises(InvalidRequest, match=r"'x' is 'a@b\.de', not a number"):
        Short.for_instance(Customer.objects.create(email="a@b.de"))


# --- reading ------------------------------------------------------------------------------------------------------------


def all_sorts() -> type[FeatureSet]:
    return feature_set(
        Customer,
        "country",
        "seats",
        "discount",
        tenure=f.DaysSince("joined_at"),
        orders=f.Count("orders", where=Q(placed_at__gte=f.as_of - 90 * DAY)),
        spent=f.Sum("orders__total"),
        basket=f.Avg("orders__total"),
        hours=f.Avg("tickets__hours", at="opened_on", default=0.1),
        newest=f.Newest("orders__total", by="placed_at"),
        plan=f.Category("plan__slug", choices=["free", "pro"], unknown="missing"),
        mail=f.Method(needs=["email"], gives=str),
        get_mail=lambda self, row: row.email.partition("@")[2] or None,
    )


def shop(customers: int) -> None:
    plans = [Plan.objects.create(slug=slug) for slug in ("free", "pro", "gold")]
    made = Customer.objects.bulk_create(
        Customer(
            joined_at=NOW - timedelta(seconds=place * 1_234_567.891) if place % 7 else None,
            left_at=NOW - place * timedelta(hours=1.37),
            email=f"{place}@example{place % 3}.com",
            country=["DE", "FR", "\u00d6"][place % 3],
            seats=place,
            discount=place % 4 or None,
            plan=plans[place % 4] if place % 4 < 3 else None,
        )
        for place in range(customers)
    )
    Order.objects.bulk_create(
        Order(customer=one, total=Decimal(place * number) / 7, placed_at=NOW - number * place * timedelta(minutes=31))
        for place, one in enumerate(made)
        for number in range(place % 6)
    )
    Ticket.objects.bulk_create(
        Ticket(customer=one, subject="x", opened_on=(NOW - number * DAY).date(), hours=1 / (place + number + 3))
        for place, one in enumerate(made)
        for number in range(place % 4)
    )


def bits(value: Any) -> Any:
    return np.float64(value).tobytes() if isinstance(value, float) else value


@pytest.mark.parametrize(("as_of", "customers"), [(NOW, 1000), ("left_at", 100)])
def test_a_thousand_rows_are_bit_for_bit_the_same_in_an_export_and_when_served_one_by_one(as_of: Any, customers: int):
    shop(customers)
    features = all_sorts()
    exported = features.frame(as_of=as_of, chunk_rows=137)
    listed = features.for_queryset(Customer.objects.order_by("pk"), as_of)
    for place, customer in enumerate(Customer.objects.order_by("pk")):
        served = features.for_instance(customer, as_of)
        assert {name: bits(value) for name, value in served.items()} == {
            name: bits(value) for name, value in listed[place].items()
        }
        for name, column in exported.items():
            value = column[place].item() if column.dtype != object else column[place]
            value = None if isinstance(value, float) and np.isnan(value) else value
            assert (bits(value), type(value)) == (bits(served[name]), type(served[name])), (name, place)
    assert {
        name for name, column in exported.items() if len(set(map(str, column))) < 2
    } == set()  # none is the same for all


def test_as_many_queries_for_two_rows_as_for_two_thousand():
    shop(60)
    features = all_sorts()
    for number in (1, 60):
        with CaptureQueriesContext(connection) as queries:
            features.for_queryset(Customer.objects.all()[:number])
        assert len(queries) == 2, number  # the keys, and the rest
    row = Customer.objects.first()
    with CaptureQueriesContext(connection) as queries:
        features.for_instance(row)
    assert len(queries) == 1


def test_a_queryset_keeps_its_order_and_a_frame_that_of_the_keys_whatever_the_chunk():
    shop(25)
    features = feature_set(Customer, "seats")
    backwards = Customer.objects.filter(seats__gt=4).order_by("-seats")
    assert [row["seats"] for row in features.for_queryset(backwards)] == list(range(24, 4, -1))
    assert [row["seats"] for row in features.for_queryset(list(backwards))] == list(range(24, 4, -1))
    for chunk_rows in (1, 7, 20, 21):
        assert features.frame(backwards, chunk_rows=chunk_rows)["seats"].tolist() == list(range(5, 25))
    assert features.frame(Customer.objects.none())["seats"].tolist() == []


def test_a_row_that_is_none_is_refused():
    features = feature_set(Customer, "seats")
    for wrong, problem in (
        (Flight(), "ChurnFeatures is of Customer, not of Flight"),
        ({"seats": 1}, "a row is a Customer, not 'dict'"),
        (Customer(), "is not saved"),
    ):
        with pytest.raises(InvalidRequest, match=problem):
            features.for_instance(wrong)
    gone = Customer.objects.create()
    Customer.objects.all().delete()
    gone.pk = 12345
    with pytest.raises(NotFound, match="there is no Customer '12345'"):
        features.for_instance(gone)
    with pytest.raises(InvalidRequest, match=r"also: Customer has no field 'sats'\. Did you mean 'seats'"):
        features.frame(also=["sats"])


# --- what is wrong --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feature", "problem"),
    [
        (f.Column("sets"), "Customer has no field 'sets'. Did you mean 'seats'?"),
        (f.Column("plan__slgu"), "Plan has no field 'slgu'. Did you mean 'slug'?"),
        (f.Column("plan"), "'plan' of Customer is a relation: name a column behind it, as 'plan__pk'."),
        (f.Column("orders__total"), "'orders__total' of Customer goes to many rows."),
        (f.Column("email__lower"), "'email__lower' of Customer is no field."),
        (
            f.Column("joined_at"),
            "'joined_at' of Customer is a DateTimeField, not a number, a truth or a text. Time is f.D",
        ),
        (f.Column("seats", outside="drop"), "outside is 'drop': 'flag', 'clip' or 'reject'."),
        (f.Column("seats", low="1"), "low is '1': a number."),
        (f.Column("seats", low=5, high=1), "low is 5, above high, 1."),
        (f.Column("email", low=5), "low and high are of numbers, and this is a text."),
        (f.Column("seats", missing="none"), "'none' would stand for a missing value, and is not a whole number."),
        (f.Category("email", choices="abc"), "choices is 'abc': a list of different texts."),
        (f.Category("email", choices=["a", "a"]), "choices is '['a', 'a']': a list of different texts."),
        (f.Category("email", unknown="drop"), "unknown is 'drop': 'reject', 'missing' or 'pass'."),
        (f.Category("email", choices=["a"], missing="b"), "missing is 'b', which is none of choices."),
        (f.Boolean("seats"), "'seats' of Customer is a IntegerField, not a BooleanField."),
        (f.DaysSince("seats"), "'seats' of Customer is a IntegerField, not a date or a time."),
        (f.Part("joined_at", "year"), "'year' is no part of a time: hour, weekday, month."),
        (f.Part("born_on", "hour"), "'born_on' of Customer is a DateField, which has no hour."),
        (f.Part("joined_at", "hour", time_zone="Berlin"), "time_zone is 'Berlin'"),
        (f.Count("ordrs"), "Customer has no field 'ordrs'. Did you mean 'orders'?"),
        (f.Count("plan"), "'plan' of Customer goes to no more than one row: f.Column."),
        (f.Count("orders__total"), "'orders__total' names a column of Order, and the rows are meant: 'orders'."),
        (f.Count("friends__orders"), "'friends__orders' of Customer goes to many rows of many rows."),
        (f.Sum("orders"), "'orders' names no column of Order: 'orders__column'."),
        (f.Sum("tickets__subject"), "'subject' of Ticket is a CharField, not a number."),
        (f.Sum("orders__total", default="no"), "'no' would stand for a missing value, and is not a number."),
        (f.Sum("orders__total", default=0, missing=1), "has default and missing, which say the same: one of them."),
        (f.Count("orders", where=True), "where is 'True': Q(...)."),
        (f.Count("orders", where=Q(totl__gt=1)), "where: Order has no field 'totl'. Did you mean 'total'?"),
        (f.Count("orders", where=Q(total__gtt=1)), "where: Order cannot be asked for that"),
        (
            f.Count("orders", where=Q(customer__tickets__hours=1)),
            "where: 'customer__tickets__hours' of Order goes to many",
        ),
        (f.Count("orders", at="total"), "at: 'total' of Order is a DecimalField, not a date or a time of each row."),
        (f.Newest("orders__total", by="placed"), "by: Order has no field 'placed'. Did you mean 'placed_at'?"),
        (f.Newest("orders__customer", by="placed_at"), "'customer' of Order is a ForeignKey, not a number"),
        (f.Expression("seats"), "is made of 'seats': an expression of Django."),
        (f.Expression(F("sets")), "Customer cannot be asked for that"),
    ],
)
def test_E012_a_feature_that_is_not_on_the_model(feature: Any, problem: str):
    features = feature_set(Customer, x=feature)
    (found,) = told(checks.check_feature_paths)
    assert found.startswith(f"E012 shop.ml.ChurnFeatures.x: {problem}")
    with pytest.raises(ImproperlyConfigured) as raised:
        features.frame()
    assert str(raised.value) == found.removeprefix("E012 ")


def test_E012_a_model_that_is_none():
    for model, problem in (
        (None, "is not said"),
        ("shop.Custmer", "is 'shop.Custmer'"),
        (dict, "is '<class 'dict'>'"),
    ):
        feature_set(model, "seats")
        (found,) = told(checks.check_feature_paths)
        assert found.startswith(f"E012 shop.ml.ChurnFeatures.Meta.model {problem}")
    feature_set("shop.Customer", "seats")
    assert told(checks.check_feature_paths) == []


def inner(**said: Any) -> type:
    return type("Meta", (), {"model": Customer, "fields": ["seats"], **said})


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (
            {"Meta": inner(modle=1)},
            ".Meta has no 'modle'. Did you mean 'model'? Known: abstract, fields, model, sensitive.",
        ),
        ({"Meta": inner(fields="seats")}, ".Meta.fields is 'seats': a list of names."),
        ({"Meta": inner(sensitive=["set"])}, ".Meta.sensitive: there is no feature 'set'. Did you mean 'seats'?"),
        ({"Meta": inner(fields=[])}, " has no features."),
        ({"frame": f.Column("seats")}, ".frame is a name of FeatureSet itself: another one for the feature."),
        ({"x": f.Method}, ".x is the class f.Method: f.Method(...)."),
        ({"x": f.Method()}, ".x is made by a method that is not there: def get_x(self, row)."),
        ({"get_y": lambda self, row: 1}, ".get_y is of no feature: y = f.Method(needs=[...])."),
        (
            {"x": f.Method(), "get_x": says_a_list},
            ".get_x returns 'list[int]': bool, int, float or str, or one of them or None.",
        ),
        ({"x": f.Method(), "get_x": lambda row: 1}, ".get_x takes (row): (self, row)."),
    ],
)
def test_E018_a_name_that_no_feature_set_has(said: dict[str, Any], problem: str):
    type("ChurnFeatures", (FeatureSet,), {"__module__": "shop.ml", "Meta": inner(), **said})
    (found,) = told(checks.check_declared_names)
    assert found == f"E018 shop.ml.ChurnFeatures{problem}"


def test_W016_rows_of_which_nothing_says_when_they_came():
    feature_set(Customer, x=f.Avg("orders__total"), y=f.Count("tickets", at=None))
    (found,) = told(checks.check_feature_times)
    assert found.startswith("W016 shop.ml.ChurnFeatures.x: nothing says when a row of 'orders__total' came to be")
    for where in (
        ~Q(placed_at__gte=f.as_of - 90 * DAY),  # older ones: that may be later, if nobody says
        Q(placed_at__gte=f.as_of - 90 * DAY) | Q(items=1),
        Q(placed_at__gte=f.as_of),  # what is still to come is meant
        Q(placed_at__lte=f.as_of - 90 * DAY),
    ):
        feature_set(Customer, x=f.Avg("orders__total", where=where))
        assert len(told(checks.check_feature_times)) == 1, where
    feature_set(Customer, x=f.Avg("orders__total"), z=f.Newest("orders__total", by="placed_at"))
    assert told(checks.check_feature_times) == []


def test_a_class_is_inherited_from_and_a_feature_left_out_by_none():
    class Base(FeatureSet):
        seats = f.Column("seats")
        country = f.Column("country")

        class Meta:
            abstract = True

    class Churn(Base):
        country = None
        mail = f.Column("email")

        class Meta:
            model = Customer

    assert told(checks.check_declared_names) == told(checks.check_feature_paths) == []
    assert Churn.for_instance(Customer.objects.create(email="a@b.de")) == {"seats": 1, "mail": "a@b.de"}


# --- from somebody else -----------------------------------------------------------------------------------------------------


def whatif() -> type[FeatureSet]:
    return feature_set(
        Customer,
        seats=f.Column("seats", low=1, high=500, outside="reject", title="Seats paid for"),
        invoiced=f.Boolean("is_invoiced"),
        discount=f.Column("discount", unit="percent", low=0, outside="clip"),
        spent=f.Sum("orders__total", default=0, at=None),
        plan=f.Category("plan__slug", choices=["free", "pro"], missing="free"),
        country=f.Column("country"),
    )


WHOLE = {"seats": 3, "invoiced": True, "discount": 5, "spent": 9.5, "plan": "pro", "country": "DE"}


def test_data_is_taken_as_a_form_takes_it():
    features = whatif()
    assert features.from_data(WHOLE) == {**WHOLE, "discount": 5.0}
    written = {"seats": " 3", "invoiced": "on", "discount": "-1", "spent": "9.5", "plan": "", "country": "DE "}
    found = features.from_data(written)
    assert found == {"seats": 3, "invoiced": True, "discount": 0.0, "spent": 9.5, "plan": "free", "country": "DE"}
    assert [type(value) for value in found.values()] == [int, bool, float, float, str, str]
    assert features.from_data({"seats": 3.0, "invoiced": False, "country": "DE"}) == {
        "seats": 3,
        "invoiced": False,
        "discount": None,
        "spent": 0.0,
        "plan": "free",
        "country": "DE",
    }
    customer = Customer.objects.create(country="DE", seats=3)
    served = features.for_instance(customer)
    assert features.from_data(served) == served  # what is read is what is taken


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"seats": "many"}, "'seats' is 'many', not a whole number."),
        ({"seats": 2.5}, "'seats' is '2.5', not a whole number."),
        ({"seats": True}, "'seats' is 'True', not a whole number."),
        ({"seats": 2**63}, "'seats' is '9223372036854775808', not a whole number."),
        ({"seats": 501}, "'seats' is '501', outside 1 to 500."),
        ({"seats": None}, "'seats' is missing."),
        ({"seats": float("nan")}, "'seats' is missing."),
        ({"invoiced": 1}, "'invoiced' is '1', not a truth."),
        ({"spent": float("inf")}, "'spent' is 'inf', not a number."),
        ({"spent": "nan"}, "'spent' is 'nan', not a number."),
        ({"spent": [1]}, "'spent' is '[1]', not a number."),
        ({"plan": "gold"}, "'plan' is 'gold'. Known: free, pro. To accept unseen values declare unknown=\"missing\"."),
        ({"country": 49}, "'country' is '49', not a text."),
        (
            {"cuntry": "DE"},
            "unknown input 'cuntry'. Did you mean 'country'? Expected: seats, invoiced, discount, spent",
        ),
    ],
)
def test_data_that_does_not_fit_is_refused_by_name(said: dict[str, Any], problem: str):
    with pytest.raises(InvalidRows) as raised:
        whatif().from_data({**WHOLE, **said})
    (found,) = raised.value.problems
    assert (found.message.startswith(problem), found.field) == (True, next(iter(said))), found.message
    assert raised.value.message == f"ChurnFeatures: {found.message}"


def test_all_that_does_not_fit_is_told():
    with pytest.raises(InvalidRows, match=r"^ChurnFeatures: 3 features do not fit: ") as raised:
        whatif().from_data({"x": 1, "country": "DE"})
    assert [problem.field for problem in raised.value.problems] == ["x", "seats", "invoiced"]


@pytest.mark.parametrize("data", [[1], "seats", None, 3])
def test_what_is_no_mapping_is_refused_as_a_whole(data: Any):
    with pytest.raises(InvalidRequest, match=r"^ChurnFeatures: features are a mapping of names to values, not '"):
        whatif().from_data(data)


def test_the_form_is_one_of_django_and_takes_the_same():
    form = whatif().form_class()
    filled = form({"seats": "3", "invoiced": "on", "discount": "5", "spent": "", "plan": "pro", "country": "DE"})
    assert filled.is_valid(), filled.errors
    assert filled.cleaned_data == {**WHOLE, "spent": 0.0}
    wrong = form({"seats": "600", "plan": "gold"})
    assert not wrong.is_valid()
    assert {name: list(errors) for name, errors in wrong.errors.items()} == {
        "seats": ["'seats' is '600', outside 1 to 500."],
        "plan": ["'plan' is 'gold'. Known: free, pro. To accept unseen values declare unknown=\"missing\"."],
        "country": ["'country' is missing."],
    }
    shown = form().as_p()
    for piece in ("Seats paid for:", 'min="1"', 'max="500"', 'type="checkbox"', '<option value="pro">', "percent"):
        assert piece in shown
    assert [field.required for field in form().fields.values()] == [True, False, False, False, False, True]


def test_the_schema_takes_what_data_is_taken_of():
    features = whatif()
    schema = features.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["required"] == ["seats", "invoiced", "country"]
    takes = jsonschema.Draft202012Validator(schema).is_valid
    for data in (
        WHOLE,
        {"seats": 3, "invoiced": False, "country": "DE"},
        {**WHOLE, "discount": None, "plan": None, "spent": None},
        {**WHOLE, "discount": -4},
    ):
        assert takes(data), data
        features.from_data(data)
    for wrong in ({"seats": 501}, {"seats": None}, {"plan": "gold"}, {"x": 1}, {"country": 3}, {"invoiced": None}):
        assert not takes({**WHOLE, **wrong}), wrong
        with pytest.raises(InvalidRequest):
            features.from_data({**WHOLE, **wrong})


def test_features_of_all_bases_are_there_and_what_is_put_in_place_of_one_is_none():
    class Plain:
        seats = f.Column("seats")
        country = f.Column("country")

    class Both(Plain, feature_set(Customer, name="Tenure", days=f.DaysSince("joined_at"))):
        country = None

        class Meta:
            model = Customer

    assert set(Both.declared) == {"seats", "days"}


@pytest.mark.parametrize("many", [F("orders__items") * 2, F("friends__seats"), F("tickets__hours")])
def test_E012_an_expression_over_many_rows_is_refused_and_one_over_one_is_not(many: Any):
    feature_set(Customer, x=f.Expression(many))
    assert "which multiplies those of others" in " ".join(told(checks.check_feature_paths))
    feature_set(Customer, x=f.Expression(F("contract__fee") * F("seats")), y=f.Expression(F("plan__pk")))
    assert "multiplies" not in " ".join(told(checks.check_feature_paths))
