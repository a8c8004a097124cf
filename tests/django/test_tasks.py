"""Work for later: what is enqueued does what the calls and verbs do, and says what came of it as JSON has it."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

import pytest
from celery import Celery

import django
import trivet
from tests.shop.models import Subscriber
from trivet.control.scoring.models import ScoringRun
from trivet.testing import outbox, override_predictor

pytestmark = pytest.mark.django_db
has_tasks = pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 5.2 has no tasks of its own")


@pytest.fixture
def tasks() -> Any:
    return import_module("trivet.tasks")


@pytest.fixture(autouse=True)
def _stubbed():
    with override_predictor("renewal", returns=lambda features: features["seats"] / 100):
        yield


@has_tasks
def test_rows_are_scored(tasks: Any):
    Subscriber.objects.bulk_create(Subscriber(seats=seats) for seats in (10, 20, 30))
    done = tasks.score.enqueue("renewal", "shop.Subscriber", where={"seats__gt": "10"}, user="ana")
    (run,) = ScoringRun.objects.all()
    assert done.return_value == {"run": run.pk, "done": 2, "errors": 0, "total": 2}
    assert (run.actor, run.where) == ("user:ana", {"seats__gt": "10"})
    assert list(Subscriber.objects.order_by("pk").values_list("staying", flat=True)) == [None, 0.2, 0.3]


@has_tasks
def test_the_same_asked_again_finds_nothing_stale(tasks: Any):
    Subscriber.objects.create(seats=10)
    first, second = (tasks.score.enqueue("renewal", "shop.Subscriber").return_value for _ in range(2))
    assert (first["done"], second["total"]) == (1, 0)


@has_tasks
def test_a_row_is_asked_about(tasks: Any):
    row = Subscriber.objects.create(seats=10)
    said = tasks.predict.enqueue("renewal", "shop.Subscriber", row.pk, user="ana").return_value
    assert said == {"id": str(outbox[0].prediction.id), "value": 0.1, "decision": "", "version": 0}
    assert (outbox[0].entity_key, json.loads(json.dumps(said))) == (f"shop.subscriber:{row.pk}", said)


@has_tasks
def test_outcomes_are_looked_through(tasks: Any):
    assert tasks.reconcile.enqueue().return_value == {}


@has_tasks
def test_what_goes_wrong_is_in_the_result(tasks: Any):
    done = tasks.score.enqueue("renewal", "shop.Subscribr")
    assert not done.is_finished or "Did you mean" in done.errors[0].traceback


@pytest.mark.skipif(django.VERSION >= (6, 0), reason="Django has tasks")
def test_on_django_5_2_the_remedy_is_named_when_something_is_enqueued(tasks: Any):
    for task in (tasks.score, tasks.predict, tasks.refresh, tasks.reconcile):
        with pytest.raises(ImportError, match="django-tasks"):
            task.enqueue("renewal", "shop.Subscriber")


def test_who_looks_for_the_tasks_of_each_app_may_import_these():
    apps = Celery("tests", set_as_current=False)
    apps.autodiscover_tasks(["trivet"], force=True)
    assert "trivet.tasks" in sys.modules
    assert not [name for name in apps.tasks if "trivet" in name]  # they are Django's


@has_tasks
def test_they_run_by_the_backend_that_is_named(settings: Any, monkeypatch: pytest.MonkeyPatch, tasks: Any):
    settings.TASKS = {
        "default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"},
        "slow": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"},
    }
    settings.TRIVET_TASKS = "slow"
    monkeypatch.setattr(trivet, "tasks", tasks)  # to be put back, as what follows is imported a second time
    monkeypatch.delitem(sys.modules, "trivet.tasks")
    assert import_module("trivet.tasks").score.backend == "slow"
