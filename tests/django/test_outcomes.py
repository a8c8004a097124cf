"""Labels from a project's own tables: found when a row is saved and in the night, the same whichever comes first."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core import serializers
from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings, strategies as st

import trivet
from tests.django.declared import declaring, feature_set, outcome_of, predictor
from tests.django.watched import watched_version
from tests.django.worlds import live_model, ready, ready_free, ready_of, record
from tests.scale import scaled
from tests.shop.models import Charter, Contract, Customer, Flight, Order, Shuttle
from trivet.control.monitoring.models import LabelProfile
from trivet.control.predictions.labelling import say
from trivet.control.predictions.models import Label, LabelState, Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry.models import ModelVersion
from trivet.core.errors import InvalidRequest
from trivet.core.records import SHADOW, PredictionRecord, SaidLabel
from trivet.dataplane.metrics import host
from trivet.features import joining
from trivet.features.joining import join_all
from trivet.features.outcome import Outcome
from trivet.serving import process
from trivet.serving.keeper import Keeper, spool_root

pytestmark = pytest.mark.django_db

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LATE = Outcome(Q(arr_delay__gt=15), known=Q(arr_delay__isnull=False), at="landed_at", model=Flight, matures=2 * DAY)
LEFT = Outcome(Q(left_at__isnull=False), at="left_at", model="shop.Customer", matures=30 * DAY, absent_means=False)
UNDATED = Outcome(Q(left_at__isnull=False), model=Customer, matures=30 * DAY, absent_means=False)


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with declaring():
        yield


@pytest.fixture
def version() -> ModelVersion:
    """A version whose classes are false and true."""
    return ready_of("false", "true")


@pytest.fixture
def words() -> ModelVersion:
    """A version whose classes are words: stays and churned."""
    (version,) = ready()
    return version


@pytest.fixture
def free() -> ModelVersion:
    """A version without classes, of which anything may turn out true."""
    return ready_free()


def asked(version: ModelVersion, entity_key: str, ago: timedelta = HOUR, **changes: Any) -> PredictionRecord:
    """Ship an answer about an entity, given a while ago."""
    made_at = int((timezone.now() - ago).timestamp() * 1e9)
    answer = record(version, **{"made_at": made_at, "entity_key": entity_key, **changes})
    ship([answer])
    return answer


def labels(answer: PredictionRecord) -> list[Any]:
    """Return what was said of an answer, the newest last."""
    rows = Label.objects.filter(state=LabelState.APPLIED, prediction_id=answer.id)
    return list(rows.order_by("revision").values_list("value", flat=True))


def night(later: timedelta = timedelta(0)) -> dict[str, int]:
    """Look through all tables; return how many labels came to what."""
    counts: dict[str, int] = {}
    for step in join_all(timezone.now() + later):
        for (_, result), number in step.counts.items():
            counts[result] = counts.get(result, 0) + number
    return counts


@pytest.fixture
def commits(django_capture_on_commit_callbacks):
    """Return a block at whose end what was saved is committed."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


# --- saves ------------------------------------------------------------------------------------------------------------


def test_a_row_that_is_saved_labels_the_predictions_about_it(version, commits):
    outcome_of("churn", LATE)
    flight = Flight.objects.create(code="UA1")
    answer, other = asked(version, f"shop.flight:{flight.pk}"), asked(version, f"shop.flight:{flight.pk + 1}")
    landed = timezone.now() - HOUR / 2
    with commits():
        flight.arr_delay, flight.landed_at = 31.0, landed
        flight.save()
    label = Label.objects.get()
    assert (str(label.prediction_id), label.value, label.source, label.revision) == (answer.id, True, "outcome", 1)
    assert label.observed_at == landed
    assert label.caller.startswith("process:")
    assert labels(other) == []


@pytest.mark.parametrize(("arr_delay", "said"), [(31.0, [True]), (15.0, [False]), (None, [])])
def test_a_row_says_yes_no_or_nothing_yet(version, commits, arr_delay: float | None, said: list[Any]):
    outcome_of("churn", LATE)
    answer = asked(version, "shop.flight:1")
    with commits():
        Flight.objects.create(pk=1, code="UA1", arr_delay=arr_delay, landed_at=timezone.now())
    assert labels(answer) == said


def test_what_is_rolled_back_is_no_label(version, commits):
    outcome_of("churn", LATE)
    answer = asked(version, "shop.flight:1")
    with commits():
        try:
            with transaction.atomic():
                Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
                raise DatabaseError("no")
        except DatabaseError:
            pass
    assert labels(answer) == []
    assert night() == {}


def test_a_row_that_nobody_asked_about_costs_one_look_into_the_log(version, commits):
    outcome_of("churn", LATE)
    asked(version, "shop.flight:2")
    with CaptureQueriesContext(connection) as queries, commits():
        Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
    assert len(queries) == 2
    assert "trivet_prediction" in queries[1]["sql"]
    with CaptureQueriesContext(connection) as queries, commits():
        Customer.objects.create()
    assert len(queries) == 1


def test_a_save_is_harmed_by_nothing_that_joining_does(version, commits, monkeypatch, caplog):
    outcome_of("churn", LATE)
    answer = asked(version, "shop.flight:1")

    def away(*_: Any, **__: Any) -> None:
        raise DatabaseError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(joining, "say", away)
        with commits():
            Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
    assert Flight.objects.count() == 1
    assert "event=outcome_not_joined model=churn" in caplog.text
    assert labels(answer) == []
    assert night() == {"applied": 1}
    assert labels(answer) == [True]


@pytest.mark.django_db(transaction=True)
def test_without_a_transaction_a_save_joins_at_once_and_without_autocommit_the_night_does(version):
    outcome_of("churn", LATE)
    first, second = asked(version, "shop.flight:1"), asked(version, "shop.flight:2")
    Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
    assert labels(first) == [True]
    transaction.set_autocommit(False)
    try:
        Flight(pk=2, code="UA2", arr_delay=31.0).save_base(force_insert=True)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert labels(second) == []
    assert night() == {"applied": 1}


def test_a_fixture_that_is_loaded_is_left_to_the_night(version, commits):
    outcome_of("churn", LATE)
    answer = asked(version, "shop.flight:1")
    text = serializers.serialize("json", [Flight(pk=1, code="UA1", arr_delay=31.0)])
    with commits():
        for one in serializers.deserialize("json", text):
            one.save()
    assert labels(answer) == []
    assert night() == {"applied": 1}


@pytest.mark.parametrize("kind", [Charter, Shuttle])
def test_a_child_and_a_proxy_of_the_table_say_it_too(version, commits, kind: type[Flight]):
    outcome_of("churn", LATE)
    answer = asked(version, "shop.flight:1")
    with commits():
        kind.objects.create(pk=1, code="UA1", arr_delay=31.0)
    assert labels(answer) == [True]


def test_a_child_says_it_of_who_was_asked_about_by_the_parents_key(version, commits):
    features = feature_set(Flight, "carrier")
    outcome_of("churn", dataclasses.replace(LATE, model=Charter), features=features)
    saved, other = asked(version, "shop.flight:1"), asked(version, "shop.charter:1")
    with commits():
        Charter.objects.create(pk=1, code="UA1", arr_delay=31.0)
    assert (labels(saved), labels(other)) == ([True], [])
    Charter.objects.update(arr_delay=3.0)
    assert night() == {"revised": 1}


@pytest.fixture
def answering(transactional_db, settings) -> Iterator[None]:
    """A live model, and the process that answers, ended when the test ends."""
    settings.TRIVET_KEEPER = "external"
    live_model("churn")
    yield
    if process._process is not None:
        process._process.stop()
        process._process = None


def test_what_is_asked_in_python_says_whom_it_is_about_and_what_is_saved_here_is_counted(answering, home):
    outcome_of("churn", dataclasses.replace(UNDATED, says=("stays", "churned")))
    customers = [Customer.objects.create() for _ in range(3)]
    row = {"age": 41.0, "city": "Oslo"}
    trivet.predict("churn", row, entity_key=customers[0])
    trivet.predict_many("churn", [row, row], entity_keys=[f"shop.customer:{customers[1].pk}", customers[2]])
    trivet.predict("churn", row)
    with pytest.raises(InvalidRequest, match="1 entity_keys for 2 rows"):
        trivet.predict_many("churn", [row, row], entity_keys=["a"])
    for wrong in (Customer(), 17):
        with pytest.raises(InvalidRequest, match="an entity_key is a text or a saved instance"):
            trivet.predict("churn", row, entity_key=wrong)
    keeper = Keeper(spool_root())
    keeper.step()
    keeper._release()
    told = [f"shop.customer:{one.pk}" for one in customers]
    assert list(Prediction.objects.order_by("pk").values_list("entity_key", flat=True)) == [*told, ""]

    customers[0].left_at = timezone.now()
    customers[0].save()
    labelled = Prediction.objects.with_labels().order_by("pk")
    assert [one.label for one in labelled] == ["churned", None, None, None]
    assert host.read(home / "metrics")["count", "trivet_labels_total", "churn", "applied"] == [1]


# --- nights -----------------------------------------------------------------------------------------------------------


def test_the_night_sees_what_no_save_tells_of(version):
    outcome_of("churn", LATE)
    answers = [asked(version, f"shop.flight:{pk}") for pk in (1, 2, 3)]
    Flight.objects.bulk_create(Flight(pk=pk, code=f"UA{pk}") for pk in (1, 2, 3))
    assert night() == {}
    Flight.objects.filter(pk__lte=2).update(arr_delay=31.0)
    assert night() == {"applied": 2}
    assert night() == {}
    assert [labels(answer) for answer in answers] == [[True], [True], []]


def test_silence_is_an_answer_only_once_it_matured_and_only_where_it_means_one(version):
    answer = asked(version, "shop.customer:1", 29 * DAY)
    Customer.objects.create(pk=1)
    for outcome, later, said in (
        (Outcome(LEFT.when, at="left_at", model=Customer, matures=30 * DAY), 9 * DAY, []),
        (LEFT, HOUR, []),
        (LEFT, DAY, [False]),
    ):
        outcome_of("churn", outcome)
        night(later)
        assert labels(answer) == said
    label = Label.objects.get()
    assert label.observed_at == Prediction.objects.get().made_at + 30 * DAY


def test_a_date_decides_which_predictions_it_is_a_label_of(version):
    outcome_of("churn", LEFT)
    long_before, before, after = (asked(version, "shop.customer:1", days * DAY) for days in (60, 35, 5))
    Customer.objects.create(pk=1, left_at=timezone.now() - 10 * DAY)
    night()
    assert [labels(answer) for answer in (long_before, before, after)] == [[False], [True], []]


def test_what_will_be_is_not_yet(version):
    outcome_of("churn", LEFT)
    answer = asked(version, "shop.customer:1", 10 * DAY)
    Customer.objects.create(pk=1, left_at=timezone.now() + DAY)
    assert night() == {}
    assert night(2 * DAY) == {"applied": 1}
    assert labels(answer) == [True]


def test_without_a_date_what_matured_as_silence_stays_so_and_what_was_said_too(version):
    outcome_of("churn", UNDATED)
    old, young = (asked(version, "shop.customer:1", days * DAY) for days in (40, 10))
    Customer.objects.create(pk=1)
    night()
    Customer.objects.update(left_at=timezone.now())
    night()
    assert (labels(old), labels(young)) == ([False], [True])
    night(60 * DAY)
    assert (labels(old), labels(young)) == ([False], [True])


def test_a_fact_is_told_however_late_it_is_learnt(free):
    outcome_of("churn", Outcome(value="arr_delay", model=Flight, matures=DAY))
    answer = asked(free, "shop.flight:1", 20 * DAY)
    Flight.objects.create(pk=1, code="UA1", arr_delay=12.5)
    night()
    assert labels(answer) == [12.5]


def test_a_correction_is_a_revision_and_the_same_again_is_nothing(version, commits):
    outcome_of("churn", LATE)
    answer = asked(version, "shop.flight:1")
    with commits():
        flight = Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
    with commits():
        flight.save()
    assert night() == {}
    Flight.objects.update(arr_delay=3.0)
    assert night() == {"revised": 1}
    assert labels(answer) == [True, False]


def test_what_somebody_said_stands(version, commits):
    outcome_of("churn", LATE)
    answer = asked(version, "shop.flight:1")
    say([SaidLabel(False, answer.id, 0, source="support")], actor="cli:ana")
    with commits():
        Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
    night()
    assert labels(answer) == [False]


def test_what_somebody_says_while_a_table_is_read_stands_too(version, monkeypatch):
    outcome_of("churn", LATE)
    answer = asked(version, "shop.flight:1")
    Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
    found, looked = joining.Join._labels, []

    def look(*given: Any) -> list[SaidLabel]:
        told = found(*given)
        if not looked:  # after it was read who said what, and before the log is locked
            say([SaidLabel(False, answer.id, 0, source="support")], actor="cli:ana")
        looked.append(told)
        return told

    monkeypatch.setattr(joining.Join, "_labels", look)
    assert night() == {}
    assert [bool(told) for told in looked] == [True, False]
    assert labels(answer) == [False]


def test_a_row_that_is_gone_says_nothing_and_what_it_said_stands(version):
    outcome_of("churn", LEFT)
    first, second = asked(version, "shop.customer:1", 40 * DAY), asked(version, "shop.customer:2", 40 * DAY)
    Customer.objects.create(pk=1, left_at=timezone.now() - 20 * DAY)
    Customer.objects.create(pk=2)
    list(join_all(timezone.now() - 15 * DAY))
    Customer.objects.all().delete()
    night()
    assert (labels(first), labels(second)) == ([True], [])


def test_a_one_to_one_row_speaks_for_the_entity_at_its_other_end(version, commits):
    key = {"model": Contract, "key": "customer", "matures": 30 * DAY}
    outcome_of("churn", Outcome(Q(ended=True), absent_means=False, **key))
    answers = {pk: asked(version, f"shop.customer:{pk}", 40 * DAY) for pk in (1, 2, 3, 4)}
    for pk in (1, 2, 3):
        Customer.objects.create(pk=pk)
    with commits():
        Contract.objects.create(customer_id=1, pk=71, ended=True)
    Contract.objects.bulk_create([Contract(customer_id=2, pk=72)])
    assert labels(answers[1]) == [True]
    night()
    assert [labels(answer) for answer in answers.values()] == [[True], [False], [False], []]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(value="code", model=Flight, matures=DAY), ["UA1"]),
        (Outcome(value="arr_delay", known=Q(carrier="LH"), model=Flight, matures=DAY), []),
        (Outcome(Q(flown_on__isnull=False), at="flown_on", model=Flight, matures=DAY), [True]),
        (Outcome(~Q(arr_delay__gt=15), model=Flight, matures=DAY), [True]),
    ],
)
def test_what_a_row_may_say(free, outcome: Outcome, said: list[Any]):
    outcome_of("churn", outcome)
    answer = asked(free, "shop.flight:1")
    Flight.objects.create(pk=1, code="UA1", flown_on=timezone.localdate())
    night()
    assert labels(answer) == said


def test_an_empty_text_says_nothing_yet(free):
    outcome_of("churn", Outcome(value="carrier", model=Flight, matures=DAY))
    answer = asked(free, "shop.flight:1")
    Flight.objects.create(pk=1, code="UA1", carrier="")
    assert (night(), labels(answer)) == ({}, [])
    Flight.objects.filter(pk=1).update(carrier="LH")
    assert (night(), labels(answer)) == ({"applied": 1}, ["LH"])


def test_numbers_of_any_column_are_labels(free):
    outcome_of("churn", Outcome(value="fee", model=Contract, key="customer", matures=DAY, absent_means=0))
    first, second = (asked(free, f"shop.customer:{pk}", 2 * DAY) for pk in (1, 2))
    Contract.objects.create(customer=Customer.objects.create(pk=1), fee=Decimal("9.50"))
    Customer.objects.create(pk=2)
    night()
    assert (labels(first), labels(second)) == ([9.5], [0])


def test_false_and_true_are_called_as_the_outcome_says(words):
    says = {
        "at": "left_at",
        "model": Customer,
        "matures": 30 * DAY,
        "absent_means": False,
        "says": ("stays", "churned"),
    }
    outcome_of("churn", Outcome(LEFT.when, **says))
    silent, left = (asked(words, f"shop.customer:{pk}", 40 * DAY) for pk in (1, 2))
    Customer.objects.create(pk=1)
    Customer.objects.create(pk=2, left_at=timezone.now() - 20 * DAY)
    assert night() == {"applied": 2}
    assert (labels(silent), labels(left)) == (["stays"], ["churned"])
    assert night() == {}
    outcome_of("late", dataclasses.replace(LATE, says=("stays", "churned")))
    (late,) = ready(model="late")
    answers = [asked(late, f"shop.flight:{pk}") for pk in (1, 2)]
    Flight.objects.bulk_create(Flight(pk=pk, code=f"UA{pk}", arr_delay=pk * 10) for pk in (1, 2))
    night()
    assert [labels(answer) for answer in answers] == [["stays"], ["churned"]]


def test_without_words_for_them_false_and_true_are_none_of_two_words_and_the_log_says_what_to_add(words, caplog):
    outcome_of("churn", LATE)
    answer = asked(words, "shop.flight:1")
    Flight.objects.bulk_create([Flight(pk=1, code="UA1", arr_delay=31.0)])
    assert night() == {"refused": 1}
    assert labels(answer) == []
    assert 'event=outcome_refused model=churn labels=1 remedy="say in says= which class' in caplog.text


def test_a_column_that_says_no_class_is_told_of_and_what_was_said_rightly_stands(words, commits, caplog):
    outcome_of("churn", Outcome(value="code", model=Flight, matures=DAY))
    first, second = (asked(words, f"shop.flight:{pk}") for pk in (1, 2))
    Flight.objects.bulk_create([Flight(pk=1, code="churned"), Flight(pk=2, code="stays")])
    assert night() == {"applied": 2}
    Flight.objects.filter(pk=1).update(code="chrned")
    assert night() == {"refused": 1}
    with commits():
        Flight.objects.get(pk=1).save()
    assert (labels(first), labels(second)) == (["churned"], ["stays"])
    assert Label.objects.count() == 2
    remedy = "`trivet label --outcomes --model churn` says which and why"
    assert caplog.text.count(f'event=outcome_refused model=churn labels=1 remedy="{remedy}"') == 2
    assert "chrned" not in caplog.text  # what somebody sent is in the database alone


def test_a_condition_over_many_rows_is_one_label(version):
    outcome_of("churn", Outcome(Q(orders__is_refunded=True), model=Customer, matures=DAY, absent_means=False))
    first, second = (asked(version, f"shop.customer:{pk}", 2 * DAY) for pk in (1, 2))
    for pk in (1, 2):
        customer = Customer.objects.create(pk=pk)
        for place in range(3):
            Order.objects.create(customer=customer, total=1, is_refunded=pk == 1 and place > 0)
    assert night() == {"applied": 2}
    assert (labels(first), labels(second)) == ([True], [False])


HOSTILE = ["", "01", "1 ", "-0", "9" * 40, str(2**63), "1_0", "\u0661", "x", "1:1", "None", "1;--", "Ω"]


def test_keys_that_nobody_has_find_nothing_and_harm_nobody(version):
    outcome_of("churn", LATE)
    Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
    for text in HOSTILE:
        asked(version, f"shop.flight:{text}")
    for key in ("shop.flight", "SHOP.FLIGHT:1", "shop.flights:1", ":1"):
        asked(version, key)
    answer = asked(version, "shop.flight:1")
    assert night() == {"applied": 1}
    assert labels(answer) == [True]


def test_one_that_cannot_be_joined_keeps_no_other_from_it(version, caplog):
    outcome_of("churn", Outcome(value="no_such", model=Flight, matures=DAY))
    predictor("Other", outcome=Outcome(value="x", model="no.Such", matures=DAY))
    asked(version, "shop.flight:1")
    answer = asked(ready_free("good"), "shop.flight:1")
    predictor("Good", outcome=Outcome(value="arr_delay", model=Flight, matures=DAY))
    Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
    night()
    assert labels(answer) == [31.0]
    assert "event=outcome_not_joined model=churn" in caplog.text
    assert "event=outcome_not_joined model=other" in caplog.text


# --- pages, and two at once -------------------------------------------------------------------------------------------


def test_a_page_takes_as_many_queries_as_any_other_and_none_is_left_out(version, monkeypatch):
    monkeypatch.setattr(joining, "PAGE_ROWS", 10)
    outcome_of("churn", LATE)
    made_at = int((timezone.now() - HOUR).timestamp() * 1e9)
    for start in (0, 20):
        keys = [f"shop.flight:{start + row}" for row in range(20)]
        ship([record(version, 20, made_at=made_at, entity_keys=keys)])  # of one request: made at one time
    Flight.objects.bulk_create(Flight(pk=pk, code=f"UA{pk}", arr_delay=pk) for pk in range(40))
    steps, counted = join_all(timezone.now()), []
    for _ in range(4):
        with CaptureQueriesContext(connection) as queries:
            next(steps)
        counted.append(len(queries))
    assert len(set(counted)) == 1
    assert [step.is_over for step in steps] == [True]
    assert Label.objects.count() == 40
    with CaptureQueriesContext(connection) as queries:
        assert night() == {}
    assert len(queries) == 4 * 3 + 1


@pytest.mark.parametrize(("seconds", "told"), [(3600.0, [1, 0]), (-1.0, [0, 0, 0, 0, 0, 0, 1, 0])])
def test_what_is_about_others_is_passed_over_a_page_at_a_time_until_a_moment_is_over(
    version, monkeypatch, seconds, told
):
    monkeypatch.setattr(joining, "PAGE_ROWS", 10)
    monkeypatch.setattr(joining, "STEP_SECONDS", seconds)
    outcome_of("churn", LATE)
    made_at = int((timezone.now() - HOUR).timestamp() * 1e9)
    ship([record(version, 40, made_at=made_at, entity_keys=["shop.customer:1"] * 40)])
    ship([record(version, 20, made_at=made_at, entity_keys=["shop.flight:1"] * 20, kind=SHADOW)])
    answer = asked(version, "shop.flight:1")
    Flight.objects.bulk_create([Flight(pk=1, code="UA1", arr_delay=31.0)])
    with CaptureQueriesContext(connection) as queries:
        steps = [step.counts.total() for step in join_all(timezone.now())]
    assert steps == told
    looks = [query["sql"] for query in queries if "trivet_prediction" in query["sql"] and "LIMIT 10" in query["sql"]]
    assert len(looks) == 8
    assert not any("shop.flight" in look or "SHADOW" in look.upper() for look in looks)
    assert labels(answer) == [True]


def test_two_who_look_at_once_say_it_once(version, monkeypatch):
    outcome_of("churn", LATE)
    answers = [asked(version, f"shop.flight:{pk}") for pk in (1, 2)]
    Flight.objects.bulk_create(Flight(pk=pk, code=f"UA{pk}", arr_delay=31.0) for pk in (1, 2))
    truly, told = joining.say, []

    def meanwhile(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(joining, "say", truly)
        told.append(night())  # another keeper, between the look and the word
        return truly(*args, **options)

    monkeypatch.setattr(joining, "say", meanwhile)
    assert night() == {"repeated": 2}
    assert told == [{"applied": 2}]
    assert [labels(answer) for answer in answers] == [[True], [True]]


def test_labels_of_tables_are_counted_where_the_others_are(commits):
    version = watched_version()
    outcome_of("churn", dataclasses.replace(LATE, says=("stays", "churned")))
    asked(version, "shop.flight:1")
    with commits():
        Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
    assert LabelProfile.objects.get().labels == 1


# --- whatever the order -----------------------------------------------------------------------------------------------

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MOMENTS = st.sampled_from([None, *(NOW - days * DAY for days in (1, 9, 11, 31, 45, 80))])
STEPS = st.lists(st.tuples(st.sampled_from(["save", "update", "night", "delete"]), MOMENTS), max_size=8)


@pytest.mark.parametrize("outcome", [LEFT, Outcome(LEFT.when, at="left_at", model=Customer, matures=30 * DAY)])
@settings(
    max_examples=scaled(test=15, ci=60, full=300),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=st.tuples(STEPS, MOMENTS))
def test_in_whatever_order_it_is_said_the_last_word_of_a_row_stands(
    version, commits, monkeypatch, outcome: Outcome, story: tuple[list[Any], datetime | None]
):
    steps, last = story
    monkeypatch.setattr(timezone, "now", lambda: NOW)
    for model in (Label, Prediction, Customer):
        model.objects.all().delete()
    outcome_of("churn", outcome)
    answers = {
        days: asked(version, "shop.customer:1", days * DAY) for days in (0, 10, 30, 40, 60, 100)
    }  # of which the last are matured
    for verb, moment in [*steps, ("update", last)]:
        row = Customer.objects.filter(pk=1).first()
        if verb == "night":
            night()
        elif verb == "delete":
            Customer.objects.all().delete()
        elif verb == "save":
            with commits():
                Customer(pk=1, left_at=moment).save()
        elif row is not None:
            Customer.objects.update(left_at=moment)
        else:
            Customer.objects.bulk_create([Customer(pk=1, left_at=moment)])
    night()
    for days, answer in answers.items():
        made_at = NOW - days * DAY
        if last is not None and made_at <= last <= made_at + 30 * DAY:
            assert labels(answer)[-1] is True
        elif (last is None or last > made_at) and days >= 30 and outcome.absent_means is False:
            assert labels(answer)[-1] is False
        assert all(one is not other for one, other in zip(labels(answer), labels(answer)[1:], strict=False))
    assert night() == {}
