"""Latest: what the champion said last about each row, as a column of a query."""

from __future__ import annotations

from time import time_ns
from typing import Any

import msgspec
import pytest
from django.core.exceptions import FieldError
from django.db import connection
from django.template import Context, Template

import trivet
from tests.django.declared import declaring, feature_set, predictor
from tests.django.worlds import CHURN, MADE_AT, ready, ready_of, record, registered
from tests.shop.models import Crate, Customer, Delay, Flight, Order, Parcel, Subscriber
from trivet import f
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.core.errors import Unavailable
from trivet.core.records import SHADOW
from trivet.testing import outbox, override_predictor

pytestmark = pytest.mark.django_db


def numbers(model: str) -> dict[Any, Any]:
    """Return what was said of each customer."""
    return dict(Customer.objects.annotate(risk=trivet.Latest(model)).values_list("pk", "risk"))


def live_of(*classes: str) -> Any:
    """Promote a version that says how likely each of these classes is."""
    version = ready_of(*classes)
    actions.promote(model="churn", version=version.number, actor="cli:ana")
    return version


def said(version: Any, score: float, about: Any, *, hours: int = 0, **more: Any) -> Any:
    """Return the record of a prediction about a row of a table."""
    decision = "churned" if score > 0.5 else "stays"
    return record(
        version,
        entity_key=f"{type(about)._meta.label_lower}:{about.pk}",
        outputs=[[decision], [1 - score, score]],
        made_at=MADE_AT + hours * 3600 * 10**9,
        **more,
    )


def test_each_row_has_what_the_champion_said_last_about_it(django_assert_num_queries: Any):
    first, second = ready(2)
    actions.promote(model="churn", version=2, actor="cli:ana")
    anna, bert, carl, dora = (Customer.objects.create() for _ in range(4))
    ship(
        [
            said(second, 0.9, anna),
            said(second, 0.25, anna, hours=2),
            said(second, 0.6, anna, hours=1),
            said(first, 0.7, bert, hours=3),  # not of the champion
            said(second, 0.8, carl),
            said(second, 0.1, carl, hours=1, kind=SHADOW),
            said(second, 0.3, Order(pk=dora.pk), hours=9),  # about somebody else
        ],
        cursor=("worker", 1, 10),
    )
    with django_assert_num_queries(1):
        rows = Customer.objects.annotate(risk=trivet.Latest("churn"), said=trivet.Latest("churn", "decision"))
        told = {row.pk: (row.risk, row.said) for row in rows}
    assert told == {anna.pk: (0.25, "stays"), bert.pk: (None, None), carl.pk: (0.8, "churned"), dora.pk: (None, None)}
    risky = Customer.objects.annotate(risk=trivet.Latest("churn")).filter(risk__gt=0.5)
    assert list(risky) == [carl]
    assert list(Customer.objects.alias(risk=trivet.Latest("churn")).filter(risk__isnull=False).order_by("-risk")) == [
        carl,
        anna,
    ]


def test_a_row_may_be_about_another_and_its_key_be_no_number():
    (version,) = ready()
    actions.promote(model="churn", version=1, actor="cli:ana")
    order = Order.objects.create(customer=Customer.objects.create(), total=3)
    parcel = Parcel.objects.create(order=order)
    ship([said(version, 0.75, order.customer), said(version, 0.25, parcel)], cursor=("worker", 1, 10))
    assert Order.objects.annotate(risk=trivet.Latest("churn", of="customer")).get().risk == 0.75
    assert Parcel.objects.annotate(risk=trivet.Latest("churn", of="order__customer")).get().risk == 0.75
    assert Parcel.objects.annotate(risk=trivet.Latest("churn")).get().risk == 0.25


def test_a_foreign_key_may_hold_another_column_and_a_key_be_a_parents():
    (version,) = ready()
    actions.promote(model="churn", version=1, actor="cli:ana")
    flight = Flight.objects.create(code="999")
    other = Flight.objects.create(pk=999, code="other")
    crate = Crate.objects.create(order=Order.objects.create(customer=Customer.objects.create(), total=3))
    ship([said(version, 0.75, flight), said(version, 0.5, other), said(version, 0.25, crate)], cursor=("worker", 1, 10))
    Delay.objects.create(flight=flight)
    assert Delay.objects.annotate(risk=trivet.Latest("churn", of="flight")).get().risk == 0.75
    assert Crate.objects.annotate(risk=trivet.Latest("churn")).get().risk == 0.25


@pytest.mark.parametrize("classes", [("churned", "stays"), ('été "perdu"', "stays"), ("a", "churned", "c")])
def test_the_number_is_that_of_the_class_which_the_predictor_declares(classes: tuple[str, ...]):
    version = live_of(*classes)
    anna, bert = Customer.objects.create(), Customer.objects.create()
    shares = [0.6, 0.4] if len(classes) == 2 else [0.6, 0.3, 0.1]
    answers = {"outputs": [[classes[0]], shares], "made_at": MADE_AT}
    ship([record(version, entity_key=f"shop.customer:{anna.pk}", **answers)], cursor=("worker", 1, 10))
    page = Template('{% load trivet %}{{ who|prediction:"churn" }}')
    assert numbers("churn") == {anna.pk: 0.4 if len(classes) == 2 else 0.6, bert.pk: None}
    for name, share in zip(classes, shares, strict=True):
        with declaring():
            predictor("Churn", output=f.Probability(name))
            if '"' in name and connection.vendor == "sqlite":  # a path of SQLite has no word for it
                assert numbers("churn") == {anna.pk: None, bert.pk: None}
                continue
            assert numbers("churn") == {anna.pk: share, bert.pk: None}
            assert page.render(Context({"who": anna})) == str(share)
            assert list(Customer.objects.annotate(risk=trivet.Latest("churn")).filter(risk__gt=share - 0.01)) == [anna]
    with declaring():
        predictor("Churn", output=f.Probability("gone"))
        assert numbers("churn") == {anna.pk: None, bert.pk: None}


def test_of_a_model_of_yes_and_no_it_is_that_of_yes_by_whatever_name():
    version = live_of("0", "1")
    anna = Customer.objects.create()
    answers = {"outputs": [["0"], [0.75, 0.25]], "made_at": MADE_AT}
    ship([record(version, entity_key=f"shop.customer:{anna.pk}", **answers)], cursor=("worker", 1, 10))
    for name, share in (("churned", 0.25), ("0", 0.75), ("1", 0.25)):
        with declaring():
            predictor("Churn", output=f.Probability(name))
            assert numbers("churn") == {anna.pk: share}


def test_of_two_classes_without_names_it_is_that_of_the_second():
    label, shares = CHURN.outputs
    nameless = msgspec.structs.replace(CHURN, outputs=(label, msgspec.structs.replace(shares, classes=None)))
    version = registered("nameless", signature=nameless)
    actions.mark_ready(model="churn", version=1, actor="process:probe")
    actions.promote(model="churn", version=1, actor="cli:ana")
    anna = Customer.objects.create()
    ship([record(version, entity_key=f"shop.customer:{anna.pk}", made_at=MADE_AT)], cursor=("worker", 1, 10))
    with declaring():
        predictor("Churn", output=f.Probability("churned"))
        assert numbers("churn") == {anna.pk: 0.75}


def test_of_three_numbered_classes_none_is_meant_by_another_name():
    version = live_of("0", "1", "2")
    anna = Customer.objects.create()
    answers = {"outputs": [["0"], [0.5, 0.3, 0.2]], "made_at": MADE_AT}
    ship([record(version, entity_key=f"shop.customer:{anna.pk}", **answers)], cursor=("worker", 1, 10))
    for name, share in (("churned", None), ("2", 0.2), ("1", 0.3)):
        with declaring():
            predictor("Churn", output=f.Probability(name))
            assert numbers("churn") == {anna.pk: share}


def test_a_row_that_inherits_is_the_same_whoever_asks_and_wherever_it_is_looked_for():
    (version,) = ready()
    actions.promote(model="churn", version=1, actor="cli:ana")
    crate = Crate.objects.create(order=Order.objects.create(customer=Customer.objects.create(), total=3))
    key = f"shop.parcel:{crate.pk}"
    with declaring():
        predictor("Churn", features=feature_set(Parcel, items=f.Column("order__items")))
        ship([record(version, entity_key=key, made_at=time_ns() - 10**9)], cursor=("worker", 1, 10))
        with override_predictor("churn", returns=0.3):
            trivet.predict("churn", crate)
            trivet.predict("churn", {"items": 1}, entity_key=crate)
            trivet.predict_many("churn", Parcel.objects.all())
        assert [asked.entity_key for asked in outbox] == [key] * 3
        for table in (Crate, Parcel):
            assert table.objects.annotate(risk=trivet.Latest("churn")).get().risk == 0.75
        assert Template('{% load trivet %}{{ who|prediction:"churn" }}').render(Context({"who": crate})) == "0.75"
        assert trivet.label(crate, "churned", model="churn").result == "applied"


def test_it_is_read_by_the_index_of_entities():
    (version,) = ready()
    ship([said(version, 0.5, Customer(pk=number)) for number in range(500)], cursor=("worker", 1, 10))
    connection.cursor().execute("ANALYZE")
    assert "trivet_prediction_of_entity" in Customer.objects.annotate(risk=trivet.Latest("churn")).explain()


def test_what_cannot_be_told_is_refused_with_what_can():
    with pytest.raises(ValueError, match="one of score, decision, version"):
        trivet.Latest("churn", "inputs")
    for of, problem in {
        "orders": r"shop\.Customer\.orders is no relation to one row",
        "orders__customer": "no relation to one row",
        "seats": "no relation to one row",
        "plam": "Did you mean 'plan'",
    }.items():
        with pytest.raises(FieldError, match=problem):
            Customer.objects.annotate(risk=trivet.Latest("churn", of=of))


def test_a_template_shows_what_was_said_and_predicts_nothing(django_assert_num_queries: Any):
    (version,) = ready()
    actions.promote(model="churn", version=1, actor="cli:ana")
    anna, bert = Customer.objects.create(), Customer.objects.create()
    ship([said(version, 0.75, anna)], cursor=("worker", 1, 10))
    page = Template('{% load trivet %}{{ who|prediction:"churn"|floatformat:2 }}')
    with django_assert_num_queries(1):
        assert page.render(Context({"who": anna})) == "0.75"
    assert page.render(Context({"who": bert})) == ""
    assert page.render(Context({"who": Customer()})) == ""
    assert page.render(Context({})) == ""


def test_a_template_asks_the_log_alone_wherever_the_row_is():
    (version,) = ready()
    actions.promote(model="churn", version=1, actor="cli:ana")
    anna = Customer.objects.create()
    ship([said(version, 0.75, anna)], cursor=("worker", 1, 10))
    anna._state.db = "elsewhere"  # a database that has no log
    assert Template('{% load trivet %}{{ who|prediction:"churn" }}').render(Context({"who": anna})) == "0.75"


def test_a_template_asks_now_and_says_who_looked(rf, django_user_model):
    request = rf.get("/")
    request.user = django_user_model(username="ana")
    row = Subscriber.objects.create(seats=10)
    page = Template('{% load trivet %}{% predict who "renewal" as risk %}{{ risk.value }} {{ risk.version }}')
    with override_predictor("renewal", returns=0.3):
        assert page.render(Context({"who": row, "request": request})) == "0.3 0"
        assert page.render(Context({"who": row})) == "0.3 0"
    assert next((asked.caller, asked.entity_key) for asked in outbox) == ("user:ana", f"shop.subscriber:{row.pk}")
    late = Template('{% load trivet %}{% predict who "renewal" fallback=0.5 as risk %}{{ risk.value }}')
    with override_predictor("renewal", raises=Unavailable("no room")):
        assert late.render(Context({"who": row})) == "0.5"
