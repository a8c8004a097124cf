"""`trivet route`: words in, one change of the registry out."""

from __future__ import annotations

import json

import pytest

from tests.django.command_line import trivet
from tests.django.worlds import ready
from trivet.control.registry import actions
from trivet.control.registry.models import Event
from trivet.control.registry.snapshots import build_snapshot
from trivet.core.snapshot import Route

pytestmark = pytest.mark.django_db
CONSTANT = '{"label": "stays", "probabilities": [0.75, 0.25]}'


@pytest.fixture(autouse=True)
def churn() -> None:
    ready(4)
    actions.promote(model="churn", version=1, actor="user:ana")
    actions.set_alias(model="churn", alias="challenger", version=2, actor="user:ana")


def test_shares_by_number_or_alias_and_all_else_in_one_command(capsys: pytest.CaptureFixture[str]):
    words = [
        "--shadow",
        "3=20",
        "--shadow",
        "4",
        "--sticky-by",
        "age",
        "--fallback",
        "champion",
        "--fallback",
        CONSTANT,
    ]
    assert trivet("route", "churn", "champion=90", "challenger=10", *words, "-m", "step 1") == 0
    assert capsys.readouterr().out.startswith(
        "churn 1=90% 2=10% · shadow 3=20% · shadow 4=100% · sticky by age · fallback champion, constant · generation"
    )
    model = build_snapshot().models["churn"]
    assert (model.routes, model.shadows) == ((Route(1, 90), Route(2, 10)), (Route(3, 20), Route(4, 100)))
    assert (model.sticky_by, model.fallback) == ("age", (1,))
    assert Event.objects.first().reason == "step 1"


def test_what_is_not_named_stays_and_each_part_can_be_taken_back(capsys: pytest.CaptureFixture[str]):
    trivet("route", "churn", "--shadow", "3", "--sticky-by", "age", "--fallback", "4")
    trivet("route", "churn", "1=50", "2=50")
    assert build_snapshot().models["churn"].shadows == (Route(3, 100),)
    capsys.readouterr()
    assert trivet("route", "churn", "--no-shadow", "--no-sticky", "--no-fallback", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["routes"] == {"1": 50, "2": 50}
    assert "shadows" not in told


def test_show_tells_how_traffic_is_handled(capsys: pytest.CaptureFixture[str]):
    trivet("route", "churn", "--shadow", "3", "--fallback", "4")
    capsys.readouterr()
    trivet("show", "churn")
    assert "traffic 1=100% · shadow 3=100% · fallback 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["1=fifty"], 2, "'1=fifty' is no share"),
        (["1"], 2, "'1' is no share"),
        (["1=90%"], 2, "in whole numbers, without %"),
        (["1=50", "champion=50"], 2, "given two shares"),
        (["1=50"], 2, "add to 50, not 100"),
        (["9=100"], 4, "no version '9'"),
        (["--fallback", "{nonsense"], 2, "not JSON"),
        (["--fallback", "champio"], 4, "Did you mean 'champion'"),
        (["1=100", "--if-generation", "1"], 3, "changed while you decided"),
    ],
)
def test_what_cannot_be_is_told_with_its_exit_code(
    capsys: pytest.CaptureFixture[str], words: list[str], code: int, told: str
):
    assert trivet("route", "churn", *words) == code
    assert told in capsys.readouterr().err
