"""How traffic is handled: shadows, sticky callers, fallback chains; who set them, what is refused, what reaches the log."""

from __future__ import annotations

import msgspec
import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from tests.django.worlds import ready, record, registered
from trivet import signals
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.models import Event, ModelVersion, RegisteredModel, Shadow
from trivet.control.registry.snapshots import build_snapshot, current_generation
from trivet.core.errors import Conflict, InvalidRequest, NotFound, Refused
from trivet.core.ids import new_prediction_id
from trivet.core.signature import Input, Output, Signature
from trivet.core.snapshot import Route, Snapshot

pytestmark = pytest.mark.django_db

CONSTANT = {"label": "stays", "probabilities": {"stays": 0.75, "churned": 0.25}}
OTHER = Signature(
    inputs=(Input(name="weight", datatype="FP64", shape=(-1, 1)),),
    outputs=(Output(name="label", datatype="BYTES", shape=(-1,)),),
)


@pytest.fixture
def churn() -> RegisteredModel:
    """Four ready versions; the first is champion."""
    ready(4)
    actions.promote(model="churn", version=1, actor="user:ana")
    return RegisteredModel.objects.get()


def handle(**given) -> Event:
    return actions.set_routes(model="churn", actor="user:ana", **given)


def entry():
    return build_snapshot().models["churn"]


# --- what is set ----------------------------------------------------------------------------------------------------


def test_all_of_it_is_one_change_one_event_and_one_snapshot(churn: RegisteredModel):
    before = current_generation()

    event = handle(
        routes={1: 90, 2: 10}, shadows={3: 20}, sticky_by="age", fallback=["champion", 4, CONSTANT], reason="try it"
    )

    assert (event.generation, event.action, event.reason) == (before + 1, "set_routes", "try it")
    assert event.before == {"routes": {"1": 100}, "aliases": {"champion": 1}}
    assert event.after == {
        "routes": {"1": 90, "2": 10},
        "aliases": {"champion": 1},
        "shadows": {"3": 20},
        "sticky_by": "age",
        "fallback": ["champion", 4, CONSTANT],
    }
    snapshot = build_snapshot()
    model = snapshot.models["churn"]
    assert (model.shadows, model.sticky_by) == ((Route(3, 20),), "age")
    assert (model.fallback, model.constant) == ((1, 4), CONSTANT)
    assert {number: version.keep_loaded for number, version in model.versions.items()} == {
        1: True,
        2: True,
        3: False,  # a shadow runs, but cannot be asked
        4: True,
    }
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot), type=Snapshot) == snapshot


def test_what_is_not_given_stays(churn: RegisteredModel):
    handle(routes={1: 90, 2: 10}, shadows={3: 20}, sticky_by="age", fallback=[4])
    handle(routes={1: 50, 2: 50})
    model = entry()
    assert (model.shadows, model.sticky_by, model.fallback) == ((Route(3, 20),), "age", (4,))
    handle(shadows={3: 30})
    assert entry().routes == (Route(1, 50), Route(2, 50))


def test_each_can_be_taken_back(churn: RegisteredModel):
    handle(shadows={3: 20}, sticky_by="age", fallback=[4, CONSTANT])
    event = handle(shadows={}, sticky_by="", fallback=[])
    assert event.after == {"routes": {"1": 100}, "aliases": {"champion": 1}}
    model = entry()
    assert (model.shadows, model.sticky_by, model.fallback, model.constant) == ((), "", (), None)


def test_setting_what_is_set_changes_nothing(churn: RegisteredModel):
    first = handle(shadows={3: 20}, fallback=[4, CONSTANT])
    assert handle(shadows={3: 20}, fallback=[4, CONSTANT]) == first


def test_a_promotion_and_a_rollback_keep_it(churn: RegisteredModel):
    handle(shadows={3: 20}, sticky_by="age", fallback=[4, CONSTANT])
    for move in (
        lambda: actions.promote(model="churn", version=2, actor="user:ana"),
        lambda: actions.roll_back(model="churn", actor="user:ana"),
    ):
        move()
        model = entry()
        assert (model.shadows, model.sticky_by, model.fallback) == ((Route(3, 20),), "age", (4,))
        assert model.constant == CONSTANT


def test_a_shadow_that_takes_traffic_is_a_shadow_no_more(churn: RegisteredModel):
    handle(shadows={2: 100, 3: 20})
    actions.promote(model="churn", version=2, actor="user:ana")
    assert entry().shadows == (Route(3, 20),)
    handle(routes={2: 90, 3: 10})
    assert entry().shadows == ()


def test_an_alias_in_the_chain_is_followed_and_may_point_nowhere(churn: RegisteredModel):
    actions.set_alias(model="churn", alias="challenger", version=2, actor="user:ana")
    handle(fallback=["challenger", 4])
    assert entry().fallback == (2, 4)
    actions.set_alias(model="churn", alias="challenger", version=3, actor="user:ana")
    assert entry().fallback == (3, 4)
    actions.set_alias(model="churn", alias="challenger", version=None, actor="user:ana")
    assert entry().fallback == (4,)


def test_nobody_answers_for_a_model_that_was_unloaded(churn: RegisteredModel):
    handle(shadows={3: 20}, fallback=[4, CONSTANT])
    actions.unload(model="churn", actor="user:ana")
    model = entry()
    assert (model.shadows, model.fallback, model.constant) == ((), (), None)
    actions.load(model="churn", actor="user:ana")
    model = entry()
    assert (model.shadows, model.fallback, model.constant) == ((Route(3, 20),), (4,), CONSTANT)


def test_the_signal_tells_it(churn: RegisteredModel, django_capture_on_commit_callbacks):
    told = []

    def hear(**said):
        told.append(said)

    signals.routes_changed.connect(hear)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            handle(shadows={3: 20})
    finally:
        signals.routes_changed.disconnect(hear)
    assert told[0]["after"]["shadows"] == {"3": 20}


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"shadows": {1: 50}}, InvalidRequest, "has traffic"),
        ({"shadows": {3: 101}}, InvalidRequest, "percent"),
        ({"shadows": {3: 0.5}}, InvalidRequest, "percent"),
        ({"shadows": {9: 10}}, NotFound, "no version '9'"),
        ({"shadows": {5: 10}}, Refused, "not been probed"),
        ({"sticky_by": "agee"}, InvalidRequest, "Did you mean 'age'"),
        ({"fallback": [9]}, NotFound, "no version '9'"),
        ({"fallback": [5]}, Refused, "not been probed"),
        ({"fallback": ["champio"]}, NotFound, "Did you mean 'champion'"),
        ({"fallback": [CONSTANT, 4]}, InvalidRequest, "ends a fallback chain"),
        ({"fallback": [{"label": "stays"}]}, InvalidRequest, "lacks probabilities"),
        ({"fallback": [4] * 9}, InvalidRequest, "at most 8"),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_changes(churn: RegisteredModel, given, error, words):
    registered("not probed")
    before = current_generation()
    with pytest.raises(error, match=words):
        handle(routes={1: 100}, **given)
    assert current_generation() == before
    assert Shadow.objects.count() == 0


def test_a_model_without_routes_has_nothing_to_handle():
    ready(2)
    with pytest.raises(Refused, match="no routes yet"):
        handle(shadows={2: 10})


def test_every_version_with_traffic_needs_the_sticky_input(churn: RegisteredModel):
    other = registered("other", signature=OTHER)
    actions.mark_ready(model="churn", version=other.number, actor="process:probe")
    handle(sticky_by="age")
    with pytest.raises(InvalidRequest, match="no input 'age'"):
        handle(routes={1: 50, other.number: 50})
    actions.promote(model="churn", version=other.number, actor="user:ana")  # alone, it shares with nobody


def test_a_version_that_the_constant_does_not_fit_is_not_promoted_and_still_the_way_back(churn: RegisteredModel):
    other = registered("other", signature=OTHER)
    actions.mark_ready(model="churn", version=other.number, actor="process:probe")
    actions.promote(model="churn", version=other.number, actor="user:ana")
    actions.promote(model="churn", version=2, actor="user:ana")
    handle(fallback=[CONSTANT])
    with pytest.raises(InvalidRequest, match="Give the fallback chain anew"):
        actions.promote(model="churn", version=other.number, actor="user:ana")
    actions.roll_back(model="churn", to=other.number, actor="user:ana")


def test_who_decided_on_what_is_no_more_is_told(churn: RegisteredModel):
    seen = current_generation()
    handle(shadows={3: 20})
    with pytest.raises(Conflict, match="churn changed while you decided"):
        handle(shadows={2: 20}, expected_generation=seen)


@pytest.mark.parametrize("weight", [0, 101])
def test_the_database_knows_what_a_share_is(churn: RegisteredModel, weight: int):
    version = ModelVersion.objects.get(number=2)
    with pytest.raises(IntegrityError), transaction.atomic():
        Shadow.objects.create(model=churn, version=version, weight=weight)


# --- the log --------------------------------------------------------------------------------------------------------


def test_the_log_tells_who_answered_for_whom(churn: RegisteredModel):
    first = ModelVersion.objects.get(number=1)
    ship([record(first, route="fallback", fallback_from=2)])
    ship([record(first)])
    assert list(Prediction.objects.order_by("pk").values_list("version", "route", "fallback_from")) == [
        (1, "fallback", 2),
        (1, "only", None),
    ]


def test_a_constants_answer_is_logged_in_the_words_of_the_version_it_stood_in_for(churn: RegisteredModel):
    first = ModelVersion.objects.get(number=1)
    ship([msgspec.structs.replace(record(first, route="fallback", fallback_from=1), version=0, digest="c" * 64)])
    row = Prediction.objects.get()
    assert (row.version, row.fallback_from) == (0, 1)
    assert row.inputs == {"age": 41.0, "plan": "pro"}
    assert row.output["probabilities"] == {"stays": 0.25, "churned": 0.75}


def test_a_shadow_is_logged_and_is_no_answer(churn: RegisteredModel, django_capture_on_commit_callbacks):
    first, second = ModelVersion.objects.order_by("number")[:2]
    answered = record(first)
    beside = record(second, kind="shadow", route="shadow", shadow_of=answered.id, inputs=None, id=new_prediction_id())
    told = []

    def hear(ids, **_):
        told.extend(ids)

    signals.predictions_recorded.connect(hear)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            ship([answered, beside])
    finally:
        signals.predictions_recorded.disconnect(hear)
    assert told == [f"{answered.id}:0"]
    assert Prediction.objects.count() == 2
    assert [str(row.prediction_id) for row in Prediction.objects.answers()] == [answered.id]
    shadow = Prediction.objects.get(kind="shadow")
    assert (str(shadow.shadow_of), shadow.version, shadow.inputs) == (answered.id, 2, None)


# --- the migration --------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_migration_goes_back_and_forth_and_the_triggers_stay():
    registered()
    try:
        call_command("migrate", "trivet", "0001", verbosity=0)
        with pytest.raises(DatabaseError, match="a version is immutable"):
            _run("UPDATE trivet_modelversion SET number = 9")
        old = MigrationExecutor(connection).loader.project_state([("trivet", "0001_initial")]).apps
        call_command("migrate", "trivet", verbosity=0)
        old.get_model("trivet", "RegisteredModel").objects.create(name="late")  # by a process of the release before
    finally:
        call_command("migrate", "trivet", verbosity=0)
    for statement in ("UPDATE trivet_modelversion SET number = 9", "UPDATE trivet_event SET actor = 'nobody'"):
        with pytest.raises(DatabaseError, match=r"immutable|never edited"):
            _run(statement)
    late = RegisteredModel.objects.get(name="late")
    assert (late.sticky_by, late.fallback) == ("", None)


def _run(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
