"""F04: while the database does not answer, loaded models do; what was promoted the moment it is back is followed at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import OperationalError

from tests.django.worlds import ready, trained_bundle
from trivet.control.registry import actions
from trivet.control.registry.models import Worker
from trivet.dataplane.authentication import trusted
from trivet.dataplane.infer import enter, infer
from trivet.dataplane.lease import SECOND_NS, now_ns
from trivet.dataplane.protocol.messages import RowsRequest
from trivet.serving import process

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def here(settings) -> Iterator[process.Process]:
    settings.TRIVET_KEEPER = "external"
    version = actions.register_version(name="churn", bundle=trained_bundle(), actor="u")
    actions.mark_ready(model="churn", version=version.number, actor="process:probe")
    actions.promote(model="churn", version=1, actor="u")
    here = process.Process(process.WorkerKind.PROCESS)
    here.step()
    yield here
    here.stop()


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Say `database["is_away"] = True`, and whoever asks for the generation hears that it is."""
    state = {"is_away": False}
    ask = process.current_generation

    def answer() -> int:
        if state["is_away"]:
            raise OperationalError("could not connect to server")
        return ask()

    monkeypatch.setattr(process, "current_generation", answer)
    return state


def answers(here: process.Process) -> int:
    entrance = enter(here.plane, trusted("t"), "churn", "predict")
    return infer(here.plane, entrance, RowsRequest([{"age": 41.0, "city": "Oslo"}]), door="rows").version


def let_the_lease_end(here: process.Process) -> None:
    """As if its last beat were six seconds ago."""
    here.plane.lease.renew(now_ns() - 6 * SECOND_NS)
    here._next_beat_ns = 0


def test_f04_with_the_database_away_loaded_models_answer_and_nobody_waits(here, database):
    database["is_away"] = True
    let_the_lease_end(here)
    here.step()
    assert not here.plane.lease.is_over  # nobody waits
    assert here.plane.lease.is_lost
    assert here.plane.is_ready
    assert [answers(here) for _ in range(20)] == [1] * 20


def test_f04_once_it_is_back_the_registry_is_looked_at_after_the_lease_is_taken(here, database, monkeypatch):
    database["is_away"] = True
    let_the_lease_end(here)
    here.step()
    database["is_away"] = False
    ready(1, model="other")
    beat = Worker.objects.all().__class__.beat

    def promoting(queryset, *arguments, **facts):
        actions.set_alias(model="churn", alias="late", version=1, actor="u")  # after the look, before the lease
        beat(queryset, *arguments, **facts)

    monkeypatch.setattr(Worker.objects.all().__class__, "beat", promoting)
    here.step()
    monkeypatch.undo()
    assert not here.plane.lease.is_lost
    assert here.plane.table.models["churn"].entry.aliases == {"champion": 1, "late": 1}


def test_a_worker_that_could_not_renew_its_lease_does_not_take_it_for_renewed(here, monkeypatch):
    let_the_lease_end(here)

    def locked(*_arguments, **_facts):
        raise OperationalError("database is locked")

    monkeypatch.setattr(Worker.objects.all().__class__, "beat", locked)
    here.step()
    assert here.plane.lease.is_lost
