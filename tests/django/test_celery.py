"""Tasks of Celery around `trivet.score` and `trivet.predict`: a real worker takes them from a broker, and tries some again.

The broker is in memory, and the worker a thread. The tasks are those of the how-to page, but for how long they wait.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.signals import setup_logging, task_postrun, task_retry
from django.db import connections, transaction

import trivet
from tests.docs.pages import blocks
from tests.shop.models import Subscriber
from trivet.control.scoring.models import RunState, ScoringRun
from trivet.core.errors import Conflict, DeadlineExceeded, InvalidRequest, Unavailable
from trivet.testing import outbox, override_predictor

PAGE = "docs/how-to/background-work.md"
WAIT_SECONDS = 30
pytestmark = pytest.mark.django_db(transaction=True)

app = Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
app.conf.worker_hijack_root_logger = False


@app.task(autoretry_for=(Unavailable, DeadlineExceeded), default_retry_delay=0, max_retries=3)
def ask(pk: int, user: str | None = None) -> dict[str, Any]:
    """Ask about one row."""
    return trivet.predict("renewal", pk, user=user).as_dict()


@app.task(
    autoretry_for=(Conflict, Unavailable, DeadlineExceeded), default_retry_delay=0.1, max_retries=99, acks_late=True
)
def rescore(user: str | None = None) -> dict[str, Any]:
    """Score all rows."""
    run = trivet.score(Subscriber.objects.all(), "renewal", only_stale=True, batch_size=2, user=user)
    return {"run": run.pk, "done": run.done, "errors": run.errors}


def _close(**_: Any) -> None:
    connections.close_all()


def _leave_logging(**_: Any) -> None:
    """Say that logging is set up already."""


@pytest.fixture(autouse=True, scope="module")
def _worker(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Have a worker, which checks the project when it starts."""
    setup_logging.connect(_leave_logging)  # a worker would set the level of the root logger, for all tests after it
    task_postrun.connect(_close)
    with django_db_blocker.unblock(), start_worker(app, perform_ping_check=False, shutdown_timeout=WAIT_SECONDS):
        yield
    task_postrun.disconnect(_close)
    setup_logging.disconnect(_leave_logging)


def failing(*errors: Exception) -> Callable[[Any], float]:
    """Return what raises one error after another, and then answers by the row's seats."""
    left = list(errors)

    def make(features: Any) -> float:
        if left:
            raise left.pop(0)
        return features["seats"] / 100

    return make


def test_a_worker_scores_a_table():
    Subscriber.objects.bulk_create(Subscriber(seats=seats) for seats in (10, 20, 30))
    with override_predictor("renewal", returns=failing()):
        said = rescore.delay(user="ana").get(timeout=WAIT_SECONDS)
    (run,) = ScoringRun.objects.all()
    assert said == {"run": run.pk, "done": 3, "errors": 0}
    assert (run.actor, run.state) == ("user:ana", RunState.FINISHED)
    assert list(Subscriber.objects.order_by("pk").values_list("staying", flat=True)) == [0.1, 0.2, 0.3]


def test_a_row_that_was_saved_is_asked_about_once_it_is_there():
    with override_predictor("renewal", returns=failing()):
        asked: list[Any] = []
        with transaction.atomic():
            row = Subscriber.objects.create(seats=10)
            transaction.on_commit(lambda: asked.append(ask.delay(row.pk, user="ana")))
            assert asked == []
        said = asked[0].get(timeout=WAIT_SECONDS)
    assert (said["model"], said["value"]) == ("renewal", 0.1)
    assert [(one.entity_key, one.caller) for one in outbox] == [(f"shop.subscriber:{row.pk}", "user:ana")]


@pytest.mark.parametrize("error", [Unavailable("renewal: its queue is full."), DeadlineExceeded("renewal: too late.")])
def test_what_may_succeed_later_is_tried_again(error: Exception):
    row = Subscriber.objects.create(seats=10)
    with override_predictor("renewal", returns=failing(error, error)):
        assert ask.delay(row.pk).get(timeout=WAIT_SECONDS)["value"] == 0.1
    assert len(outbox) == 3


def test_a_row_that_does_not_fit_is_not_tried_again():
    row = Subscriber.objects.create(seats=10, plan="gold")
    with override_predictor("renewal", returns=failing()), pytest.raises(InvalidRequest, match="'plan' is 'gold'"):
        ask.delay(row.pk).get(timeout=WAIT_SECONDS)
    assert len(outbox) == 0


def test_a_run_that_failed_is_gone_on_with_when_its_task_is_tried_again():
    Subscriber.objects.bulk_create(Subscriber(seats=seats) for seats in (10, 20, 30))
    asked: list[int] = []

    def make(features: Any) -> float:
        asked.append(features["seats"])
        if asked == [10, 20, 30]:
            raise Unavailable("renewal: its queue is full.")
        return features["seats"] / 100

    with override_predictor("renewal", returns=make):
        said = rescore.delay().get(timeout=WAIT_SECONDS)
    assert asked == [10, 20, 30, 30]
    assert (said["done"], ScoringRun.objects.count()) == (3, 1)


def test_a_task_waits_for_who_writes_the_column_already():
    Subscriber.objects.create(seats=10)
    began, was_tried_again = Event(), Event()

    def make(features: Any) -> float:
        began.set()
        assert was_tried_again.wait(WAIT_SECONDS)
        return features["seats"] / 100

    def score() -> None:
        trivet.score(Subscriber.objects.all(), "renewal", user="ana")
        connections.close_all()

    def tell(**_: Any) -> None:
        was_tried_again.set()

    first = Thread(target=score)
    task_retry.connect(tell)
    with override_predictor("renewal", returns=make):
        first.start()
        assert began.wait(WAIT_SECONDS)
        said = rescore.delay(user="bo").get(timeout=WAIT_SECONDS)
        first.join(WAIT_SECONDS)
    assert (said["done"], was_tried_again.is_set()) == (0, True)
    assert [(run.actor, run.done) for run in ScoringRun.objects.order_by("pk")] == [("user:ana", 1), ("user:bo", 0)]


def test_the_page_tries_the_same_errors_again():
    (tasks,) = [block.text for block in blocks(PAGE) if block.marker == "file=customers/tasks.py"]
    said = re.findall(r"autoretry_for=(\(.*?\)).*max_retries=.*\ndef (\w+)", tasks)
    assert said == [
        ("(Unavailable, DeadlineExceeded)", "ask"),
        ("(Conflict, Unavailable, DeadlineExceeded)", "rescore"),
    ]
