"""D38: inputs that are older than they are to be kept are gone, their answers stay, and the chain holds."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from tests.django.test_pruning import CANARY, DAY_NS, NOW_NS, about, dump, intact
from tests.django.turns import hurry, is_idle
from tests.django.worlds import ready, record
from trivet.control.predictions import aging, auditing
from trivet.control.predictions.aging import erase_inputs, inputs_retention_ends
from trivet.control.predictions.auditing import audit_log
from trivet.control.predictions.models import LogHead, LogLink, Prediction
from trivet.control.predictions.pruning import forget, prune_log
from trivet.control.predictions.shipping import ship
from trivet.control.registry.models import Event
from trivet.serving import chores, keeper as keeping
from trivet.serving.keeper import Keeper

pytestmark = pytest.mark.django_db
BEFORE = timezone.now() - timedelta(days=90)


def ship_aged(*days: int) -> list[Prediction]:
    """Ship a batch of one row for each age, all about entities of their own; return the rows."""
    (version,) = ready()
    inputs = {"parameters": {"campaign": CANARY}, "inputs": [[41.0], [CANARY]]}
    for place, age in enumerate(days):
        ship([record(version, entity_key=f"c-{place}", caller_id="mine", made_at=NOW_NS - age * DAY_NS, **inputs)])
    return list(Prediction.objects.order_by("pk"))


def erase() -> int:
    return sum(erase_inputs(BEFORE, actor="process:keeper"))


def test_D38_inputs_that_are_too_old_are_gone_and_all_else_stays_and_is_still_held_against_the_chain():
    old, young = ship_aged(100, 10)
    assert erase() == 1
    found = Prediction.objects.get(pk=old.pk)
    assert (found.inputs, found.parameters, found.inputs_sha256) == (None, None, "")
    assert (found.entity_key, found.caller_id, found.decision, found.output) == ("c-0", "mine", "churned", old.output)
    assert old.salt not in dump()
    assert Prediction.objects.get(pk=young.pk).inputs == {"age": 41.0, "plan": CANARY}
    event = Event.objects.get(action="erase_inputs")
    assert (event.actor, event.after["rows"]) == ("process:keeper", 1)
    assert (audit_log().erased, intact()) == (1, True)
    assert erase() == 0
    assert Event.objects.filter(action="erase_inputs").count() == 1

    Prediction.objects.filter(pk=young.pk).delete()
    assert CANARY not in dump()


def put_back() -> None:
    Prediction.objects.filter(entity_key="c-0").update(inputs={"age": 1.0})


def another_entity() -> None:
    Prediction.objects.filter(entity_key="c-0").update(entity_key="c-9")


def another_digest() -> None:
    Prediction.objects.filter(entity_key="c-0").update(inputs_digest="a" * 64)


def no_event() -> None:
    LogLink.objects.filter(number=1).update(inputs_erased_by=None)


def one_more() -> None:
    """Erase another row as the keeper would, in the name of its Event."""
    told = LogLink.objects.get(number=1).inputs_erased_by
    aging._erase_rows(Prediction.objects.filter(link=2), "default")
    LogLink.objects.filter(number=2).update(inputs_erased_by=told)


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        (put_back, "has inputs again"),
        (another_entity, "the entity of"),
        (another_digest, "the entity of"),
        (no_event, "no Event tells of it"),
        (one_more, "tells of fewer than the 2 rows"),
    ],
)
def test_D38_a_row_without_its_inputs_cannot_be_changed_unnoticed(attack, text):
    ship_aged(100, 10)
    erase()
    attack()
    broken = audit_log().broken
    assert broken is not None
    assert (broken.kind, text in broken.text) == ("edited", True)


def test_D38_they_go_in_small_batches_and_what_one_that_was_killed_left_goes_the_next_time(monkeypatch):
    monkeypatch.setattr(aging, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(aging, "LINKS_AN_EVENT", 3)
    ship_aged(100, 100, 100, 100, 100)
    batches = erase_inputs(BEFORE, actor="process:keeper")
    assert next(batches) == 2
    batches.close()  # killed
    assert (audit_log().erased, intact()) == (2, True)
    assert list(erase_inputs(BEFORE, actor="process:keeper")) == [2, 1]
    assert (audit_log().erased, intact()) == (5, True)
    told = Event.objects.filter(action="erase_inputs").order_by("generation").values_list("after__rows", flat=True)
    assert list(told) == [3, 3]


def test_D38_somebody_whose_inputs_are_gone_can_be_forgotten_and_the_forgotten_age():
    ship_aged(100, 100, 10)
    forget("c-0", actor="cli:ana")
    assert erase() == 1
    forget("c-1", actor="cli:ana")
    assert set(Prediction.objects.values_list("entity_key", flat=True)) == {"", "c-2"}
    assert (audit_log().erased, intact()) == (2, True)
    assert not Prediction.objects.exclude(inputs_digest="").exists()
    prune_log(timezone.now() - timedelta(days=50), actor="cli:ana")
    assert (Prediction.objects.count(), intact()) == (1, True)


def test_D38_inputs_that_are_erased_while_the_chain_is_verified_break_nothing(monkeypatch):
    ship_aged(100, 100)
    in_order = auditing._Audit._in_order

    def read_before(audit, field, after):
        links = list(in_order(audit, field, after))
        if field == "first_id":
            assert erase() == 2
        yield from links

    monkeypatch.setattr(auditing._Audit, "_in_order", read_before)
    monkeypatch.setattr(auditing, "_Ahead", _Late)
    assert audit_log().broken is None
    assert LogLink.objects.filter(inputs_erased_by__isnull=False).count() == 2


class _Late:
    """Rows that are read when they are first looked at."""

    def __init__(self, rows):
        self._rows = rows

    @property
    def next(self):
        if not hasattr(self, "_next"):
            self._next = next(self._rows, None)
        return self._next

    def take(self):
        self._next = next(self._rows, None)


def test_D38_rows_from_before_the_chain_lose_their_inputs_too():
    (version,) = ready()
    ship([about(version, "c-1")])
    Prediction.objects.update(link=None, place=None, sha256="", private_sha256="", salt="")
    LogLink.objects.all().delete()
    LogHead.objects.all().delete()
    ship([about(version, "c-2")])
    Prediction.objects.update(made_at=BEFORE - timedelta(days=1))
    LogLink.objects.update(until=timezone.now())
    assert erase() == 1
    assert [row.inputs is None for row in Prediction.objects.order_by("pk")] == [True, False]
    assert Event.objects.get(action="erase_inputs").after["older"] == 1


def test_D38_the_keeper_erases_them_between_two_looks_at_the_spool(home, settings, monkeypatch):
    monkeypatch.setattr(aging, "ROWS_AT_ONCE", 1)
    ship_aged(100, 100, 10)
    keeper = Keeper(home / "spool")
    keeper.step()
    assert not Event.objects.filter(action="erase_inputs").exists()  # not in the first minute of a process

    settings.TRIVET_INPUT_RETENTION_DAYS = None
    hurry(keeper._chores[0])
    keeper.step()
    assert inputs_retention_ends() is None
    assert Prediction.objects.filter(inputs__isnull=True).count() == 0

    del settings.TRIVET_INPUT_RETENTION_DAYS
    hurry(keeper._chores[0])
    for gone in (1, 2, 2):
        keeper.step()
        assert Prediction.objects.filter(inputs__isnull=True).count() == gone
    assert (is_idle(keeper._chores[0]), intact()) == (True, True)
    keeper._release()


def test_D38_a_database_that_goes_away_meanwhile_stops_no_keeper(home, monkeypatch):
    def away(*_arguments, **_more):
        raise OperationalError("the connection is lost")
        yield

    ship_aged(100)
    keeper = Keeper(home / "spool")
    hurry(keeper._chores[0])
    with monkeypatch.context() as patch:
        patch.setattr(chores, "erase_inputs", away)
        patch.setattr(keeping.connections, "close_all", lambda: None)
        keeper.step()
    hurry(keeper._chores[0])
    for _ in range(2):
        keeper.step()
    assert Prediction.objects.get().inputs is None
    keeper._release()
