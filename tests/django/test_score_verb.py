"""The verb `score`: it plans, and acts with --apply."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from tests.django.command_line import trivet, verb
from tests.django.test_scoring import refusing, stop_after, subscribers, unfinished_run
from tests.shop.models import Subscriber
from trivet.control.scoring.models import RunState, ScoringRun
from trivet.core.holders import this_holder
from trivet.testing import override_predictor

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _stubbed() -> Iterator[None]:
    with override_predictor("renewal", returns=refusing):
        yield


def score(*words: object) -> int:
    return trivet("score", "renewal", "shop.Subscriber", *words)


def test_without_apply_it_plans_and_writes_nothing(capsys: pytest.CaptureFixture[str]):
    rows = subscribers(12)
    Subscriber.objects.filter(seats__gt=10).update(staying_version=0, staying_at=timezone.now())
    Subscriber.objects.filter(pk=rows[1].pk).update(seats=None)
    assert score() == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(
        "would score 10 rows (12 there; only stale ones, --all for every row), about 0 s, writes staying"
    )
    assert told[1] == f"  {rows[0].pk}  0.25  seats=1, plan=free"
    assert told[6] == "of the first 10: least 0.25, mean 0.25, largest 0.25"
    assert told[7:] == [
        "the same in all of them: plan",
        "1 of them are refused:",
        f"  {rows[1].pk}  renewal: seats are missing.",
        "nothing is written yet: add --apply to do it",
    ]
    assert not ScoringRun.objects.exists()
    assert Subscriber.objects.filter(staying__isnull=False).count() == 0
    assert score("--all") == 0
    assert "would score 12 rows, about 0 s" in capsys.readouterr().out


def test_with_apply_it_writes_and_says_what_came_of_it(capsys: pytest.CaptureFixture[str]):
    subscribers(6)
    assert score("--apply", "--where", "seats__lt=3") == 0
    assert capsys.readouterr().out.startswith(
        f"run {ScoringRun.objects.get().pk}: renewal into shop.subscriber.staying: 2 of 2"
    )
    Subscriber.objects.filter(seats=6).update(seats=None)
    code, document = verb(capsys, "score", "renewal", "shop.subscriber", "--apply")
    assert (code, document["done"], document["errors"], document["state"]) == (1, 3, 1, "finished")
    assert [problem["message"] for problem in document["problems"]] == ["renewal: seats are missing."]


def test_what_is_interrupted_says_how_to_go_on_and_does(capsys: pytest.CaptureFixture[str], monkeypatch: Any):
    subscribers(7)
    with monkeypatch.context() as patched:
        stop_after(2, patched)
        assert score("--apply", "--batch-size", 2, "--where", "seats__in=1,2,3,4,5") == 130
    (run,) = ScoringRun.objects.all()
    told = capsys.readouterr().err
    assert f"stopped after 4 of 5 rows. To go on: trivet score renewal shop.subscriber --resume {run.pk}" in told
    assert score("--resume", run.pk) == 0
    assert f"run {run.pk}: renewal into shop.subscriber.staying: goes on behind 4 of 5 rows" in capsys.readouterr().out
    run.refresh_from_db()
    assert (run.state, run.done) == (RunState.FINISHED, 5)
    assert Subscriber.objects.filter(staying__isnull=False).count() == 5
    assert score("--resume", run.pk) == 3
    assert "is finished: begin a new one" in capsys.readouterr().err


def test_while_another_runs_it_exits_3_and_says_who(capsys: pytest.CaptureFixture[str]):
    subscribers(1)
    unfinished_run(seen_at=timezone.now(), holder=this_holder())
    assert score("--apply") == 3
    assert "is under way: user:ana began it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("shop.Subscribr",), 4, "Did you mean 'shop.Subscriber'?"),
        (("shop.Subscriber", "--where", "seets=3"), 2, "Did you mean 'seats'?"),
        (("shop.Subscriber", "--where", "seats=many"), 2, "cannot be asked for 'seats=many'"),
        (("shop.Subscriber", "--where", "seats__isnull=perhaps"), 2, "isnull is true or false"),
        (("shop.Subscriber", "--where", "seats"), 2, "is not NAME=VALUE"),
        (("shop.Subscriber", "--where", "seats=1", "--where", "seats=2"), 2, "says 'seats' twice"),
        (("shop.Subscriber", "--to", "gess"), 2, "Did you mean 'guess'?"),
        (("shop.Subscriber", "--to", "guess"), 2, "score all rows (--all)"),
        (("shop.Subscriber", "--limit", "0"), 2, "0 is not above zero"),
        (("shop.Subscriber", "--resume", "99"), 4, "there is no scoring run 99"),
        (("shop.Subscriber", "--resume", "99", "--all"), 2, "has its own --where"),
    ],
)
def test_what_is_wrong_is_said(words: tuple[str, ...], code: int, told: str, capsys: pytest.CaptureFixture[str]):
    assert trivet("score", "renewal", *words) == code
    assert told in capsys.readouterr().err


def test_somebody_needs_to_be_allowed_to_predict_and_to_change_the_rows(capsys: pytest.CaptureFixture[str]):
    get_user_model().objects.create_user("ana")
    assert score("--apply", "--as", "ana") == 4
    assert "no model 'renewal'" in capsys.readouterr().err
