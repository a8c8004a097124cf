"""Refusals stand in the history, and nobody fills it with them."""

import ast
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import trivet.control
from tests.django.test_people import person
from tests.django.worlds import ready, record, registered
from trivet.console.words import event as in_words
from trivet.control.monitoring.alerts import acknowledge_alert, raise_alert, snooze_alert
from trivet.control.monitoring.models import Cause, Severity
from trivet.control.predictions.aging import erase_inputs
from trivet.control.predictions.exporting import export_predictions
from trivet.control.predictions.pruning import forget, prune_log
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.actions.refusals import MOST, WITHIN
from trivet.control.registry.models import OF_NO_SNAPSHOT, Event, ModelVersion
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


WITHOUT_EFFECT = {
    "refuse": lambda: ask(person("view_registeredmodel")),
    "refuse_promotion": forbidden,
    "forget": lambda: forget("customers.customer:42", actor="cli:ana"),
    "prune_log": lambda: prune_log(timezone.now(), actor="cli:ana"),
    "erase_inputs": lambda: list(erase_inputs(timezone.now(), actor="process:keeper")),
    "export_predictions": lambda: export_predictions(model="churn", actor="cli:ana"),
    "acknowledge_alert": lambda: acknowledge_alert(alert=raised().pk, actor="cli:ana"),
    "snooze_alert": lambda: snooze_alert(alert=raised().pk, until=timezone.now() + timedelta(hours=1), actor="cli:ana"),
}


def raised():
    return raise_alert(ModelVersion.objects.get(number=1), Cause.DRIFT, Severity.WARNING, features=["age"], evidence={})


@pytest.mark.parametrize("action", WITHOUT_EFFECT)
def test_what_changes_nothing_that_answers_is_followed_without_reading_anything_again(churn, action):
    ship([record(ModelVersion.objects.get(number=1))])
    before = build_snapshot()
    WITHOUT_EFFECT[action]()
    assert Event.objects.first().action == action
    with CaptureQueriesContext(connection) as asked:
        after = build_snapshot(before)
    assert after.generation == before.generation + 1
    assert all(after.models[name] is entry for name, entry in before.models.items())
    assert len(asked) == 3, "the generation, the Events, the generation"


def test_every_kind_of_event_that_names_neither_model_nor_key_is_one_of_them_or_takes_versions_away():
    assert {*WITHOUT_EFFECT, "accept_as_normal"} == OF_NO_SNAPSHOT, "of the last test_accepting tells"
    files = [path for path in Path(trivet.control.__file__).parent.rglob("*.py") if path.name != "keys.py"]
    found = sorted(action for path in files for action in actions_of_no_model(path))
    assert found == ["ACTION", "ERASE_INPUTS", "FORGET", "PRUNE_LOG"], "ACTION is that of prune_bundles"


def actions_of_no_model(path: Path) -> list[str]:
    """Return the action of each Event that a module writes without a model, as it stands there."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    named = [({one.arg for one in call.keywords}, call) for call in calls if ast.unparse(call.func).endswith(".record")]
    return [ast.unparse(call.args[0]) for names, call in named if "actor" in names and "model" not in names]
