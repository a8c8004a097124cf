"""Two people at once, on real connections."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import DatabaseError, connection, connections, router

from tests.django.worlds import ready, record, registered
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.models import Alias, Event, ModelVersion
from trivet.control.registry.snapshots import build_snapshot, current_generation
from trivet.core.errors import Conflict, NotFound

pytestmark = pytest.mark.django_db(transaction=True)


def together(*deeds):
    """Run `deeds` at the same moment, each in its own thread and connection; return what each returned or raised."""
    start = Barrier(len(deeds))

    def run(deed):
        try:
            connection.ensure_connection()
            start.wait()
            return deed()
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(deeds)) as pool:
        return list(pool.map(run, deeds))


def promoting(number, seen):
    return lambda: actions.promote(model="churn", version=number, actor=f"user:{number}", expected_generation=seen)


RACES = 100


def test_F16_of_two_who_promote_at_once_one_wins_and_the_other_learns_what_changed():
    ready(4)
    began = current_generation()
    winners = []
    for pair in [(1, 2), (3, 4)] * (RACES // 2):
        seen = current_generation()

        outcomes = together(*(promoting(number, seen) for number in pair))

        (winner,) = (outcome for outcome in outcomes if isinstance(outcome, Event))
        (loser,) = (outcome for outcome in outcomes if isinstance(outcome, Conflict))
        assert f"version {winner.version} promoted by {winner.version} at" in str(loser)
        assert Alias.objects.get(name="champion").version.number == winner.version
        winners.append(winner.version)
    history = Event.objects.filter(generation__gt=began).order_by("generation").values_list("generation", "version")
    assert list(history) == list(enumerate(winners, began + 1))  # one after another, and nobody else's
    assert_serial(began)


def test_F16_a_person_who_promotes_and_an_automatic_promotion_at_once_one_wins():
    ready(4)
    began = current_generation()
    for person, process in [(1, 2), (3, 4)] * (RACES // 2):
        seen = current_generation()

        outcomes = together(promoting(person, seen), promoting_automatically(process, seen))

        (winner,) = (outcome for outcome in outcomes if isinstance(outcome, Event))
        (loser,) = (outcome for outcome in outcomes if isinstance(outcome, Conflict))
        assert f"generation {seen} → {winner.generation}" in str(loser)
        assert winner.actor in (f"user:{person}", "process:rollout")
    assert current_generation() == began + RACES
    assert_serial(began)


def promoting_automatically(number, seen):
    """Return what moves all traffic by itself: the call that a canary's last step is."""
    return lambda: actions.set_routes(
        model="churn",
        routes={number: 100},
        aliases={"champion": number},
        actor="process:rollout",
        expected_generation=seen,
    )


def test_F16_a_version_that_is_promoted_while_it_is_taken_out_of_service_is_one_or_the_other():
    ready(2)
    actions.promote(model="churn", version=1, actor="user:ana")
    began = current_generation()
    for _ in range(RACES):
        actions.load(model="churn", version=2, actor="user:ana")

        promoted, unloaded = together(
            lambda: actions.promote(model="churn", version=2, actor="user:ana"),
            lambda: actions.unload(model="churn", version=2, actor="user:bo"),
        )

        assert isinstance(promoted, Event)  # one that is not loaded is loaded with its traffic
        if isinstance(unloaded, Exception):
            assert isinstance(unloaded, Conflict)
            assert "churn 2 has traffic" in str(unloaded)
        else:
            assert unloaded < promoted.generation
        entry = build_snapshot().models["churn"]
        assert [(route.version, entry.versions[route.version].keep_loaded) for route in entry.routes] == [(2, True)]
        actions.roll_back(model="churn", to=1, actor="user:ana")
    assert_serial(began)


def test_F16_a_version_that_is_promoted_while_its_row_is_deleted_leaves_no_dangling_route():
    ready(1)
    actions.promote(model="churn", version=1, actor="user:ana")
    began = current_generation()
    for race in range(RACES):
        version = registered(f"graph of race {race}")
        actions.mark_ready(model="churn", version=version.number, actor="process:probe")

        promoted, deleted = together(
            lambda number=version.number: actions.promote(model="churn", version=number, actor="user:ana"),
            lambda version=version: ModelVersion.objects.get(pk=version.pk).delete(),
        )

        assert isinstance(promoted, Event | NotFound | DatabaseError), promoted
        connection.check_constraints()
        is_there = ModelVersion.objects.filter(pk=version.pk).exists()
        assert is_there == isinstance(promoted, Event), (promoted, deleted)
        assert [route.version for route in build_snapshot().models["churn"].routes] == [
            version.number if is_there else 1
        ]
        if is_there:
            actions.promote(model="churn", version=1, actor="user:ana")
    assert_serial(began)


def assert_serial(began: int) -> None:
    """The changes since `began` came one after another: each found the traffic as the one before had left it."""
    moves = Event.objects.filter(generation__gt=began, action__in=("promote", "roll_back", "set_routes"))
    told = list(moves.order_by("generation").values_list("before", "after"))
    assert [before for before, _ in told[1:]] == [after for _, after in told[:-1]]
    generations = Event.objects.filter(generation__gt=began).order_by("generation").values_list("generation", flat=True)
    assert list(generations) == list(range(began + 1, current_generation() + 1))


def test_pushes_at_once_are_numbered_without_gap_or_double():
    versions = together(*(lambda i=i: registered(f"graph {i}") for i in range(6)))
    assert sorted(version.number for version in versions) == [1, 2, 3, 4, 5, 6]


def test_the_same_push_twice_at_once_is_one_version():
    versions = together(*(lambda: registered("graph") for _ in range(4)))
    assert {version.pk for version in versions} == {ModelVersion.objects.get().pk}


def test_the_first_change_ever_may_be_two_at_once():
    outcomes = together(
        *(lambda i=i: actions.issue_key(name=str(i), grants={"*": ["view"]}, actor="user:a") for i in range(2))
    )
    assert all(isinstance(outcome, tuple) for outcome in outcomes), outcomes
    assert current_generation() == 2


def test_two_processes_that_ship_the_same_segment_write_each_row_once():
    (version,) = ready()
    records = [record(version, rows=3) for _ in range(200)]
    outcomes = together(*(lambda: ship(records, cursor=("a", 1, 4096)) for _ in range(2)))
    assert 600 in outcomes, outcomes
    ship(records, cursor=("a", 1, 4096))  # whoever stumbled over the other's cursor comes again
    assert Prediction.objects.count() == 600


class LaggingReplica:
    """A router whose reads would be answered by yesterday."""

    def db_for_read(self, model, **hints):
        raise AssertionError(f"{model.__name__} was read from the replica")

    def db_for_write(self, model, **hints):
        return "default"


def test_what_a_change_depends_on_is_read_where_it_is_written(monkeypatch):
    monkeypatch.setattr(router, "routers", [LaggingReplica()])
    ready(2)
    registered("churn graph 1")
    seen = actions.promote(model="churn", version=1, actor="user:ana").generation
    actions.promote(model="churn", version=2, actor="user:ana", expected_generation=seen)
    with pytest.raises(Conflict):
        actions.set_alias(model="churn", alias="canary", version=1, actor="user:ana", expected_generation=seen)
    actions.set_alias(model="churn", alias="canary", version=1, actor="user:ana")
    assert actions.roll_back(model="churn", actor="user:ana").version == 1
    key, _ = actions.issue_key(name="a", grants={"churn": ["predict"]}, actor="user:ana")
    assert actions.revoke_key(key=key.pk, actor="user:ana").revoked_at
