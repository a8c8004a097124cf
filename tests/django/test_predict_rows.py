"""trivet.predict of rows of a table: what a FeatureSet says of them, whom they are about, and how often the database is asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from time import monotonic_ns
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject

import trivet
from tests.django.declared import declaring, feature_set, predictor
from tests.django.worlds import live_model
from tests.shop.models import Customer, Flight, Order, Parcel, Shuttle
from trivet import checks, f
from trivet.control.predictions.auditing import audit_log
from trivet.control.predictions.models import Prediction
from trivet.core.errors import DeadlineExceeded, InvalidRequest, NotFound, Unavailable
from trivet.serving import predict as predicting, process, subjects
from trivet.serving.keeper import Keeper, spool_root
from trivet.testing import outbox, override_predictor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def here(settings) -> Iterator[process.Process]:
    """A live model, and this process, which predicts without following the registry from a thread."""
    settings.TRIVET_KEEPER = "external"
    live_model("churn")
    began = process.Process(process.WorkerKind.PROCESS)
    began.step()
    process._process = began
    with declaring():
        yield began
    process._process = None
    began.stop()


@pytest.fixture
def churn() -> Any:
    """Declare a Predictor of Customers, whose FeatureSet knows one feature more than the model reads."""
    ages = f.Sum("orders__items", default=20, at=None)
    return predictor("Churn", features=feature_set(Customer, "seats", age=ages, city=f.Column("email")))


def customers(*cities: str) -> list[Customer]:
    made = [Customer.objects.create(email=city) for city in cities]
    for place, one in enumerate(made):
        Order.objects.create(customer=one, total=1, items=30 + place)
    return made


def keys_in_the_log() -> list[str]:
    Keeper(spool_root()).step()
    return sorted(Prediction.objects.values_list("entity_key", flat=True))


def test_a_row_and_its_key_are_answered_as_its_features_are_and_the_log_knows_whom_it_is_about(churn):
    (anna,) = customers("Oslo")
    given = trivet.predict("churn", {"age": 30.0, "city": "Oslo"})
    for model in ("churn", "churn@1", churn):
        for data in (anna, anna.pk, str(anna.pk)):
            answer = trivet.predict(model, data)
            assert (answer.value, answer.features) == (given.value, {"age": 30, "city": "Oslo"})
    assert keys_in_the_log() == ["", *[f"shop.customer:{anna.pk}"] * 9]


def test_a_whole_number_of_another_library_and_a_uuid_are_keys():
    import numpy as np

    (anna,) = customers("Oslo")
    ages = {"age": f.Column("order__items"), "city": f.Column("order__customer__email")}
    predictor("Churn", features=feature_set(Parcel, **ages))
    parcel = Parcel.objects.create(id=uuid4(), order=anna.orders.get())
    for data in (parcel, parcel.pk, str(parcel.pk), parcel.pk.hex):
        assert trivet.predict("churn", data).features == {"age": 30, "city": "Oslo"}
    predictor("Churn", features=feature_set(Customer, age=f.Column("seats"), city=f.Column("email")))
    assert trivet.predict("churn", np.int64(anna.pk)).features == {"age": 1, "city": "Oslo"}
    assert keys_in_the_log() == [f"shop.customer:{anna.pk}", *[f"shop.parcel:{parcel.pk}"] * 4]


def test_an_entity_that_is_said_stands_in_the_place_of_the_row(churn):
    first, second = customers("Oslo", "Lyon")
    trivet.predict("churn", first, entity_key="shop.customer:of old")
    trivet.predict_many("churn", [first, second], entity_keys=["", second.orders.get()])
    order = f"shop.order:{second.orders.get().pk}"
    assert keys_in_the_log() == sorted(["shop.customer:of old", f"shop.customer:{first.pk}", order])


SORTS: dict[str, tuple[Callable[[], Any], int]] = {
    "instances": (lambda: list(Customer.objects.order_by("-pk")), 1),
    "keys": (lambda: [one.pk for one in Customer.objects.order_by("-pk")], 1),
    "a queryset": (lambda: Customer.objects.order_by("-pk"), 2),
    "a slice of one": (lambda: Customer.objects.order_by("-pk")[:15], 2),
    "a queryset of keys": (lambda: Customer.objects.order_by("-pk").values_list("pk", flat=True), 2),
    "a generator": (lambda: (one for one in Customer.objects.order_by("-pk")), 1),
}


@pytest.mark.parametrize("sort", SORTS)
def test_many_rows_are_as_few_queries_as_two_in_their_order(churn, sort: str):
    made = customers(*["Oslo", "Lyon", "Oslo"] * 5)
    rows, queries = SORTS[sort]
    asked = rows()
    with CaptureQueriesContext(connection) as captured:
        answers = trivet.predict_many("churn", asked)
    assert [one.features["age"] for one in answers] == [30 + place for place in reversed(range(15))]
    assert len(captured) == queries
    Keeper(spool_root()).step()
    logged = dict(Prediction.objects.values_list("row", "entity_key"))
    assert [logged[row] for row in range(15)] == [f"shop.customer:{one.pk}" for one in made[::-1]]


def test_a_queryset_that_was_evaluated_is_not_asked_again_and_an_empty_one_has_no_answers(churn):
    customers("Oslo", "Lyon")
    rows = Customer.objects.order_by("pk")
    assert len(rows) == 2
    with CaptureQueriesContext(connection) as captured:
        assert len(trivet.predict_many("churn", rows)) == 2
    assert len(captured) == 1
    assert trivet.predict_many("churn", Customer.objects.none()) == []


def test_one_row_is_one_query(churn, django_assert_num_queries):
    (anna,) = customers("Oslo")
    for data in (anna, anna.pk):
        with django_assert_num_queries(1):
            trivet.predict("churn", data)


def test_rows_of_values_are_mappings(churn):
    customers("Oslo", "Lyon")
    rows = Customer.objects.order_by("pk").values(age=F("seats"), city=F("email"))
    assert [one.features["city"] for one in trivet.predict_many("churn", rows)] == ["Oslo", "Lyon"]


def test_more_rows_than_a_request_may_have_are_several_batches(here, churn):
    here.plane.limits = replace(here.plane.limits, max_rows=2)
    made = customers(*["Oslo"] * 5)
    answers = trivet.predict_many("churn", made)
    assert [one.features["age"] for one in answers] == [30, 31, 32, 33, 34]
    assert len({one.id.partition(":")[0] for one in answers}) == 3
    assert keys_in_the_log() == sorted(f"shop.customer:{one.pk}" for one in made)


def test_a_mapping_is_as_strict_as_ever(churn):
    with pytest.raises(InvalidRequest, match="unknown input 'seats'"):
        trivet.predict("churn", {"age": 3.0, "city": "Oslo", "seats": 1})


# --- what cannot be asked -------------------------------------------------------------------------------------------


def test_a_row_without_features_is_told_what_to_declare():
    (anna,) = customers("Oslo")
    with pytest.raises(
        InvalidRequest, match=r"churn: asked about 'Customer', and it has no Predictor\..* features = …"
    ):
        trivet.predict("churn", anna)
    predictor("Churn")
    for rows, said in ((anna, "Customer"), (anna.pk, "int"), ("7", "str")):
        with pytest.raises(InvalidRequest, match=f"churn: asked about '{said}', and Churn has no features"):
            trivet.predict("churn", rows)
    with pytest.raises(InvalidRequest, match="asked about 'Customer'"):
        trivet.predict_many("churn", Customer.objects.all())


def test_a_row_of_another_table_is_told_which_it_should_be(churn):
    flight = Flight.objects.create(code="UA1")
    message = "churn: ChurnFeatures is of Customer, not of Flight"
    with pytest.raises(InvalidRequest, match=message):
        trivet.predict("churn", flight)
    with pytest.raises(InvalidRequest, match=message):
        trivet.predict_many("churn", Flight.objects.all())


def test_a_row_by_another_name_is_a_row_of_its_table():
    predictor("Churn", features=feature_set(Flight, age=f.Column("arr_delay"), city=f.Column("carrier")))
    shuttle = Shuttle.objects.create(code="UA1", carrier="Oslo"[:3])
    with pytest.raises(InvalidRequest, match="city"):  # which the model does not know
        trivet.predict("churn", shuttle)


@pytest.mark.parametrize("key", [0, -1, 2**31, 2**63, 2**70, "99999999999999999999999"])
def test_a_row_that_is_not_there_is_not_found(churn, key: Any):
    with pytest.raises(NotFound, match=f"churn: ChurnFeatures: there is no Customer '{key}'"):
        trivet.predict("churn", key)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")  # the connection is as it was


def test_a_row_that_was_deleted_or_never_saved_is_told(churn):
    (anna,) = customers("Oslo")
    Customer.objects.all().delete()
    with pytest.raises(NotFound, match="there is no Customer"):
        trivet.predict("churn", anna)
    with pytest.raises(InvalidRequest, match="is not saved"):
        trivet.predict("churn", Customer())


@pytest.mark.parametrize("key", ["", "anna", "7.5"])
def test_a_text_that_is_no_key_is_told(churn, key: str):
    with pytest.raises(InvalidRequest, match=f"churn: ChurnFeatures: '{key}' is no primary key of a Customer"):
        trivet.predict("churn", key)


@pytest.mark.parametrize("data", [None, True, 1.5, [], object()])
def test_what_is_neither_is_no_row(churn, data: Any):
    with pytest.raises(
        InvalidRequest, match="a row is a mapping or a dataclass of named features, a saved instance or"
    ):
        trivet.predict("churn", data)


def test_two_sorts_of_rows_are_two_calls(churn):
    (anna,) = customers("Oslo")
    for rows in ([anna, anna.pk], [{"age": 1.0, "city": "Oslo"}, anna]):
        with pytest.raises(InvalidRequest, match="in one call: one call for each sort"):
            trivet.predict_many("churn", rows)


def test_a_model_is_a_name_or_a_predictor(churn):
    for model in (Customer, None, churn()):
        with pytest.raises(InvalidRequest, match="a model is a name or a Predictor"):
            trivet.predict(model, {"age": 1.0, "city": "Oslo"})


@pytest.mark.parametrize("said", ["ChurnFeatures", Customer, 3])
def test_features_that_are_no_feature_set_are_found_by_check_and_told_when_used(said: Any):
    predictor("Churn", features=said)
    (found,) = checks.check_declared_names()
    assert found.id == "trivet.E018"
    assert "shop.ml.Churn.features is " in found.msg
    assert found.msg.endswith(": a FeatureSet, the class itself.")
    with pytest.raises(ImproperlyConfigured, match=r"shop.ml.Churn.features is .*: a FeatureSet"):
        trivet.predict("churn", 1)


# --- deadlines and fallbacks ----------------------------------------------------------------------------------------


@pytest.fixture
def _a_minute_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call have begun a minute ago, as where reading features took that long."""
    monkeypatch.setattr("trivet.serving.predict.now", lambda: monotonic_ns() - 60 * 10**9)


@pytest.mark.usefixtures("_a_minute_ago")
def test_a_deadline_covers_the_reading_of_features_and_a_fallback_is_given_the_row(churn):
    (anna,) = customers("Oslo")
    with pytest.raises(DeadlineExceeded, match="TRIVET_DEADLINE_SECONDS"):
        trivet.predict("churn", anna)
    with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.2 s, the request's own timeout"):
        trivet.predict_many("churn", [anna], deadline_seconds=0.2)
    answer = trivet.predict("churn", anna, deadline_seconds=0.2, fallback=lambda customer: customer.seats / 4)
    assert (answer.value, answer.route, answer.version) == (0.25, "fallback", 0)
    assert trivet.predict("churn", anna, fallback={"stays": 0.9, "churned": 0.1}, user="ana").decision == "stays"
    assert async_to_sync(trivet.apredict)("churn", anna, fallback=lambda customer: customer.seats) == 1.0
    assert keys_in_the_log() == [f"shop.customer:{anna.pk}"] * 3
    row = Prediction.objects.get(caller="user:ana")
    assert (row.version, row.route, row.digest, row.inputs) == (0, "fallback", "", None)
    assert row.output == {"label": "stays", "probabilities": [0.9, 0.1]}
    assert Prediction.objects.get(score=0.25).public_id == answer.id
    assert audit_log().broken is None


@pytest.mark.usefixtures("_a_minute_ago")
def test_a_predictor_may_say_how_long_one_row_is_waited_for():
    row = {"age": 30.0, "city": "Oslo"}
    predictor("Churn", Meta=type("Meta", (), {"deadline_seconds": 0.2}))
    for ask in (trivet.predict, async_to_sync(trivet.apredict)):
        with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.2 s"):
            ask("churn", row)
        with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.5 s"):
            ask("churn", row, deadline_seconds=0.5)
    with pytest.raises(DeadlineExceeded, match="TRIVET_DEADLINE_SECONDS"):
        trivet.predict_many("churn", [row])  # a batch takes longer than a row
    predictor("Churn", Meta=type("Meta", (), {"deadline_seconds": 0}))
    assert [one.id for one in checks.check_declared_names()] == ["trivet.E018"]


def test_in_time_the_model_answers(churn):
    (anna,) = customers("Oslo")
    answer = trivet.predict("churn", anna, deadline_seconds=5, fallback=0.5)
    assert (answer.version, answer.route) == (1, "only")


def test_a_fallback_answers_where_the_database_cannot_be_read_and_hides_no_mistake(churn, monkeypatch, caplog):
    (anna,) = customers("Oslo")
    with pytest.raises(NotFound):
        trivet.predict("churn", 0, fallback=0.5)
    with pytest.raises(InvalidRequest):
        trivet.predict("churn", {"age": "old", "city": "Oslo"}, fallback=0.5)
    failing(monkeypatch, OperationalError("the server closed the connection"))
    with pytest.raises(TypeError, match="churn: a fallback answers a number"):
        trivet.predict("churn", anna, fallback=[])
    assert trivet.predict("churn", anna, fallback=lambda customer: customer.seats / 4) == 0.25
    assert "event=answered_instead model=churn error=OperationalError" in caplog.text
    with pytest.raises(OperationalError):
        trivet.predict("churn", anna)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(subjects, "looked_up", fail)


def test_a_fallback_answers_where_no_version_can(churn, here, monkeypatch):
    here.plane.is_closed = True
    with pytest.raises(Unavailable):
        trivet.predict("churn", {"age": 3.0, "city": "Oslo"})
    row = {"age": 3.0, "city": "Oslo"}
    said = trivet.predict("churn", row, entity_key="shop.customer:7", fallback=lambda row: row["age"])
    assert (said, bool(said.id), keys_in_the_log()) == (3.0, True, ["shop.customer:7"])

    def full(_: bytes) -> None:
        raise Unavailable("the spool is full")

    monkeypatch.setattr(here.plane.spool, "append", full)
    assert trivet.predict("churn", row, fallback=0.5).id == ""
    monkeypatch.setattr(process, "_process", None)
    monkeypatch.setattr(predicting, "this_process", lambda: full(b""))
    assert trivet.predict("churn", row, fallback=0.5).id == ""


@pytest.mark.parametrize("seconds", [0, -1, True, "1", float("nan"), float("inf")])
def test_a_deadline_is_a_number_above_zero(churn, seconds: Any):
    with pytest.raises(InvalidRequest, match=r"deadline_seconds is .*: a number above 0"):
        trivet.predict("churn", {"age": 3.0, "city": "Oslo"}, deadline_seconds=seconds)


# --- coroutines -----------------------------------------------------------------------------------------------------


def test_reasons_and_intervals_are_refused_until_they_are_made(churn):
    for said in ({"explain": 3}, {"interval": 0.9}):
        with pytest.raises(InvalidRequest, match=f"^{next(iter(said))} is '.*', and no version carries") as refused:
            trivet.predict("churn", {"age": 30.0, "city": "Oslo"}, **said)
        assert refused.value.code == "BAD_PARAMETER"
        with pytest.raises(InvalidRequest):
            async_to_sync(trivet.apredict)("churn", {"age": 30.0, "city": "Oslo"}, **said)
    answer = trivet.predict("churn", {"age": 30.0, "city": "Oslo"}, explain=0, interval=None)
    assert (answer.reasons, answer.interval) == ((), None)


def test_coroutines_read_rows_without_blocking_the_loop(churn, django_assert_num_queries):
    made = customers("Oslo", "Lyon", "Oslo")

    async def asked() -> list[Any]:
        one = await trivet.apredict(churn, made[0])
        by_key = await trivet.apredict("churn", made[1].pk)
        return [one, by_key, *await trivet.apredict_many("churn", Customer.objects.order_by("-pk"))]

    with django_assert_num_queries(4):
        answers = async_to_sync(asked)()
    assert [one.features["age"] for one in answers] == [30, 31, 32, 31, 30]


def test_the_loop_goes_on_while_features_are_read(churn, monkeypatch):
    (anna,) = customers("Oslo")
    reading, is_reading, goes_on = subjects.looked_up, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        is_reading.set()
        assert goes_on.wait(10), "the loop stood still"
        return reading(*arguments)

    async def beside() -> None:
        while not is_reading.is_set():
            await asyncio.sleep(0)
        goes_on.set()

    async def both() -> Any:
        answer, _ = await asyncio.gather(trivet.apredict("churn", anna), beside())
        return answer

    monkeypatch.setattr(subjects, "looked_up", slow)
    assert async_to_sync(both)().features["age"] == 30


def test_context_variables_reach_where_features_are_made_and_the_fallback(churn, here):
    tenant: ContextVar[int] = ContextVar("tenant")
    (anna,) = customers("Oslo")
    made = f.Method(needs=["seats"])
    features = feature_set(Customer, age=made, city=f.Column("email"), get_age=lambda self, row: tenant.get())
    predictor("Churn", features=features)

    async def asked() -> list[Any]:
        tenant.set(42)
        one = await trivet.apredict("churn", anna)
        here.plane.is_closed = True
        return [one, await trivet.apredict("churn", anna, fallback=lambda _: tenant.get())]

    one, instead = async_to_sync(asked)()
    assert (one.features["age"], instead.value) == (42, 42)


def test_a_user_who_is_not_read_yet_is_read_where_that_may_be(django_user_model: Any):
    """As `request.user` is in an asynchronous view, which nobody has looked at."""
    lazy = SimpleLazyObject(lambda: django_user_model.objects.create_user("ana"))
    with override_predictor("renewal", returns=0.3):
        async_to_sync(trivet.apredict)("renewal", {"seats": 3, "plan": "free"}, user=lazy)
    assert outbox[0].caller == "user:ana"


def test_a_table_of_columns_is_no_list_of_rows():
    with (
        override_predictor("renewal", returns=0.3),
        pytest.raises(InvalidRequest, match="list of mappings, not 'dict'"),
    ):
        trivet.predict_many("renewal", {"seats": [3], "plan": ["free"]})


def test_a_column_that_is_not_there_is_a_mistake_which_no_fallback_hides():
    def raises(_features: Any) -> Any:
        raise OperationalError("no such column: shop_subscriber.later")

    with override_predictor("renewal", returns=raises), pytest.raises(OperationalError, match="no such column"):
        trivet.predict("renewal", {"seats": 3, "plan": "free"}, fallback=0.5)
