"""Refusals stand in the history, and nobody fills it with them."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.django.test_people import person
from tests.django.worlds import ready, registered
from trivet.console.words import event as in_words
from trivet.control.predictions.pruning import forget
from trivet.control.registry import actions
from trivet.control.registry.actions.refusals import MOST, WITHIN
from trivet.control.registry.models import Event
from trivet.control.registry.snapshots import build_snapshot, current_generation
from trivet.core.errors import PermissionDenied, Refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def churn():
    ready(2)
    registered("not probed")
    actions.promote(model="churn", version=1, actor="cli:ana")


def ask(who, times=1):
    for _ in range(times):
        with pytest.raises(PermissionDenied):
            actions.promote(model="churn", version=2, actor=who)


def forbidden():
    with pytest.raises(Refused):
        actions.promote(model="churn", version=3, actor="user:bo")


def of(who):
    return Event.objects.filter(actor=f"user:{who.get_username()}")


def test_D02_who_insists_fills_no_history_and_moves_no_generation(churn, caplog):
    ben, zoe = person("view_registeredmodel"), person("view_registeredmodel", name="zoe")
    before = current_generation()
    ask(ben, MOST + 5)
    assert of(ben).count() == current_generation() - before == MOST
    last = of(ben).first()
    assert "log" in in_words(last.action, last.version, last.after)
    assert [event.after.get("more") for event in of(ben)[1:]] == [None] * (MOST - 1)
    assert sum("event=refused actor='user:ben' action=refuse model=churn" in line for line in caplog.messages) == 5
    ask(zoe)
    assert of(zoe).count() == 1, "of others it is told"


def test_D02_a_minute_later_it_is_told_again_and_a_clock_that_was_set_back_hides_nothing(churn, monkeypatch):
    ben, now = person("view_registeredmodel"), timezone.now()
    ask(ben, MOST)
    for passed in (WITHIN + timedelta(seconds=1), -timedelta(hours=1)):
        with monkeypatch.context() as other_clock:
            other_clock.setattr(timezone, "now", lambda passed=passed: now + passed)
            ask(ben, MOST + 1)
    assert of(ben).count() == 3 * MOST


def test_F17_a_promotion_that_the_rules_forbid_is_told_as_seldom(churn):
    before = current_generation()
    for _ in range(MOST + 5):
        forbidden()
    assert current_generation() == before + MOST
    assert Event.objects.filter(action="refuse_promotion").count() == MOST


def test_it_takes_no_lock_and_few_queries_to_find_that_it_is_not_told(churn):
    ben = person("view_registeredmodel")
    ask(ben, MOST)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        ask(ben)
    assert not [query["sql"] for query in asked if not query["sql"].startswith("SELECT")]


@pytest.mark.parametrize(
    "change",
    [
        lambda: ask(person("view_registeredmodel")),
        forbidden,
        lambda: forget("customers.customer:42", actor="cli:ana"),
    ],
    ids=["refuse", "refuse_promotion", "forget"],
)
def test_what_changes_nothing_that_answers_is_followed_without_reading_anything_again(churn, change):
    before = build_snapshot()
    change()
    with CaptureQueriesContext(connection) as asked:
        after = build_snapshot(before)
    assert after.generation == before.generation + 1
    assert all(after.models[name] is entry for name, entry in before.models.items())
    assert len(asked) == 3, "the generation, the Events, the generation"
