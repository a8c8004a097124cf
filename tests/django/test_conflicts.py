"""Two people at once, on real connections."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection, connections, router

from tests.django.worlds import ready, record, registered
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.models import Alias, Event, ModelVersion
from trivet.control.registry.snapshots import current_generation
from trivet.core.errors import Conflict

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


def test_f16_of_two_who_promote_at_once_one_wins_and_the_other_learns_what_changed():
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
