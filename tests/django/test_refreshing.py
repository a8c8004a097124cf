"""Columns that follow their rows: when one is saved, and each night; whoever saves waits for nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

import django
import trivet
from tests.django.declared import declaring, predictor
from tests.shop.models import Subscriber
from trivet import refreshing
from trivet.checks.columns import check_task_backend
from trivet.cli.parser import add_verbs
from trivet.control.scoring.models import RunState, ScoringRun
from trivet.core.errors import InvalidRequest, Unavailable
from trivet.serving import nightly
from trivet.serving.scoring import one_row
from trivet.serving.scoring.one_row import refresh
from trivet.testing import outbox, override_predictor

pytestmark = pytest.mark.django_db
has_tasks = pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 5.2 has no tasks of its own")
COLUMN = Subscriber._meta.get_field("staying")


@pytest.fixture(autouse=True)
def _stubbed() -> Iterator[None]:
    with override_predictor("renewal", returns=lambda features: features["seats"] / 100):
        yield


@pytest.fixture
def follows(monkeypatch: Any) -> Iterator[None]:
    """Let the column follow its rows."""
    monkeypatch.setattr(COLUMN, "refresh", "on_commit")
    refreshing._columns_of.cache_clear()
    yield
    refreshing._columns_of.cache_clear()


@has_tasks
@pytest.mark.usefixtures("follows")
def test_a_row_that_is_saved_is_asked_about_once_that_is_committed(django_capture_on_commit_callbacks: Any):
    before = timezone.now()
    with django_capture_on_commit_callbacks(execute=True):
        row = Subscriber.objects.create(seats=10)
        assert not outbox
    row.refresh_from_db()
    assert (row.staying, row.staying_version, row.staying_at > before) == (0.1, 0, True)
    with django_capture_on_commit_callbacks(execute=True):
        row.seats = 30
        row.save()
    row.refresh_from_db()
    assert row.staying == 0.3
    assert [asked.entity_key for asked in outbox] == [f"shop.subscriber:{row.pk}"] * 2


@has_tasks
@pytest.mark.usefixtures("follows")
def test_what_is_rolled_back_and_what_writes_the_column_itself_asks_nothing(django_capture_on_commit_callbacks: Any):
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            Subscriber.objects.create(seats=1 // 0 if Subscriber.objects.create(seats=1) else 1)
        (row,) = Subscriber.objects.bulk_create([Subscriber(seats=10)])
        row.staying = 0.5
        row.save(update_fields=["staying", "staying_at"])
    assert (callbacks, list(outbox)) == ([], [])


@has_tasks
@pytest.mark.usefixtures("follows")
def test_a_broker_that_is_away_and_a_model_that_does_not_answer_harm_no_save(
    django_capture_on_commit_callbacks: Any, monkeypatch: Any, caplog: Any
):
    with override_predictor("renewal", raises=Unavailable("no room")), django_capture_on_commit_callbacks(execute=True):
        row = Subscriber.objects.create(seats=10)
    monkeypatch.setattr(refreshing, "_enqueue", lambda *_: 1 / 0)
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        row.save()
    assert len(callbacks) == 1
    assert "ZeroDivisionError" in caplog.text
    row.refresh_from_db()
    assert (row.seats, row.staying) == (10, None)


def test_what_was_said_of_a_row_as_it_has_been_since_stays(monkeypatch: Any):
    row = Subscriber.objects.create(seats=10)
    real = one_row.predict

    def slowly(*args: Any, **said: Any) -> Any:
        answer = real(*args, **said)
        monkeypatch.setattr(one_row, "predict", real)
        Subscriber.objects.update(seats=40)  # meanwhile, and whoever did it has it asked about, too
        assert refresh(Subscriber, row.pk, "staying")
        return answer

    monkeypatch.setattr(one_row, "predict", slowly)
    assert not refresh(Subscriber, row.pk, "staying")
    row.refresh_from_db()
    assert row.staying == 0.4


def test_a_row_that_is_gone_is_nothing_and_a_plain_column_is_refused():
    assert not refresh(Subscriber, 999, "staying")
    with pytest.raises(InvalidRequest, match=r"shop\.Subscriber\.'guess' is no trivet\.PredictedField"):
        refresh(Subscriber, 1, "guess")


@pytest.mark.usefixtures("follows")
def test_W005_says_where_tasks_would_run_in_the_request(settings: Any):
    settings.DEBUG = False
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    (found,) = check_task_backend()
    assert found.id == "trivet.W005"
    assert found.msg.startswith('shop.Subscriber.staying has refresh="on_commit", and ')
    if django.VERSION >= (6, 0):
        assert "the request that saves a row" in found.msg
        settings.DEBUG = True  # on a laptop that is as it should be
        assert check_task_backend() == []
        settings.DEBUG = False
        settings.TASKS = {"default": {"BACKEND": "shop.tasks.Queue"}}
        assert check_task_backend() == []
    COLUMN.refresh = "manual"
    assert check_task_backend() == []


NIGHT = datetime(2026, 3, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (None, NIGHT, True),
        (None, NIGHT.replace(hour=14), False),
        (NIGHT - timedelta(hours=12), NIGHT, True),
        (NIGHT.replace(hour=0, minute=30), NIGHT, True),
        (NIGHT.replace(hour=1, minute=10), NIGHT, False),
        (NIGHT, NIGHT.replace(hour=14), False),
        (NIGHT - timedelta(days=1), NIGHT.replace(hour=14), False),  # the night is not told of, for it was busy
        (NIGHT - timedelta(days=1), NIGHT.replace(hour=14, minute=30), True),
    ],
)
def test_a_nightly_column_is_due_once_a_night_and_by_day_where_a_night_was_missed(
    settings: Any, last: datetime | None, now: datetime, due: bool
):
    settings.TIME_ZONE = "UTC"
    assert nightly.is_due(last, now) is due


def test_a_keeper_has_a_nightly_column_scored_by_a_process_that_ends_with_it(monkeypatch: Any, caplog: Any):
    monkeypatch.setattr(COLUMN, "refresh", "nightly")
    monkeypatch.setattr(nightly, "is_due", lambda _last, _now: True)
    begun: list[list[str]] = []
    real = subprocess.Popen

    def begin(words: list[str], **said: Any) -> Any:
        begun.append(words)
        return real([sys.executable, "-c", "raise SystemExit(3)"], **said)

    monkeypatch.setattr(subprocess, "Popen", begin)
    for _ in nightly._write_due():
        pass
    (words,) = begun
    assert words[3:] == [
        "score",
        "renewal",
        "shop.Subscriber",
        "--to",
        "staying",
        "--apply",
        "--quiet",
        "--all",
        *words[-2:],
    ]
    parser = ArgumentParser()
    add_verbs(parser)
    options = parser.parse_args(words[3:])
    assert (options.apply, options.all, options.supervisor) == (True, True, os.getpid())
    assert "event=nightly_column table=shop.Subscriber column=staying exit=3" in caplog.text
    with declaring():
        predictor("Renewal", Meta=type("Meta", (), {"max_age": timedelta(days=1)}))
        for _ in nightly._write_due():
            pass
    assert "--all" not in begun[1]


def test_when_it_was_done_last_is_what_the_runs_say():
    values = {
        "model": "renewal",
        "version": 1,
        "table": "shop.subscriber",
        "field": "staying",
        "batch_size": 1,
        "total": 1,
    }
    ended = [NIGHT - timedelta(days=days) for days in (3, 1, 2)]
    for at in ended:
        ScoringRun.objects.create(**values, actor="cli:ana", state=RunState.FINISHED, ended_at=at)
    ScoringRun.objects.create(**values, actor="cli:ana", state=RunState.ABANDONED, ended_at=NIGHT)
    assert nightly._last(Subscriber, COLUMN) == ended[1]


def test_a_refresh_is_one_of_three():
    with pytest.raises(ValueError, match=r"Known: manual, on_commit, nightly"):
        trivet.PredictedField("churn", refresh="hourly")
