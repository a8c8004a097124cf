"""Golden cases of a model: kept, replayed at push, verify and promotion, and in the way of whoever fails one."""

from __future__ import annotations

import json
from functools import cache

import pytest

from tests.django.command_line import trivet
from tests.django.worlds import live_model, trained_bundle
from trivet.control.registry import actions, pushing
from trivet.control.registry.golden import cases_of
from trivet.control.registry.models import Event, GoldenCaseRow, ModelVersion, Route
from trivet.control.registry.storage import fetch_bundle
from trivet.core.errors import Conflict, InvalidRequest, NotFound, Refused
from trivet.model.bundle.bundle import Bundle

pytestmark = pytest.mark.django_db
ROW = {"age": 85.0, "city": "Oslo"}  # certainly churned, as the first version says


@pytest.fixture
def churn() -> ModelVersion:
    return live_model("churn")


@cache
def inverted_bundle() -> Bundle:
    """A version that learned the opposite."""
    import numpy as np
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    from trivet.model.compile.compiler import compile_model

    random = np.random.default_rng(2)
    rows = pd.DataFrame({"age": random.uniform(18, 90, 100), "city": random.choice(["Lyon", "Oslo"], 100)})
    stays = np.where(rows.age + (rows.city == "Oslo") * 20 > 60, "stays", "churned")
    prepare = ColumnTransformer([("age", "passthrough", ["age"]), ("city", OneHotEncoder(), ["city"])])
    return compile_model(make_pipeline(prepare, LogisticRegression()).fit(rows, stays), sample=rows).bundle


def keep(**expect) -> GoldenCaseRow:
    expect = expect or {"class": "churned"}
    return actions.add_golden_case(model="churn", inputs=ROW, expect=expect, actor="user:ana", note="a known leaver")


def pushed_inverted() -> pushing.Probed:
    return pushing.register_and_probe(inverted_bundle(), name="churn", actor="cli:ana")


def test_a_version_that_fails_a_case_is_registered_told_and_refused_promotion(churn):
    keep()
    probed = pushed_inverted()
    assert probed.version.is_ready
    assert probed.probe.golden_failures == ("age=85, city='Oslo': decides 'churned'; it decides 'stays'",)
    with pytest.raises(Refused, match=r"churn 2 fails a golden case: age=85, city='Oslo'.* it decides 'stays'\."):
        actions.promote(model="churn", version=2, actor="user:ben")
    assert Route.objects.get().version == churn
    refusal = Event.objects.latest("generation")
    assert (refusal.action, refusal.actor, refusal.version) == ("refuse_promotion", "user:ben", 2)


def test_nor_does_it_get_a_share_but_a_shadow_it_may_be(churn):
    keep()
    pushed_inverted()
    with pytest.raises(Refused, match="churn 2 fails a golden case"):
        actions.set_routes(model="churn", routes={1: 90, 2: 10}, actor="user:ben")
    actions.set_routes(model="churn", shadows={2: 100}, actor="user:ben")


def test_a_case_that_comes_after_the_canary_stops_its_promotion_and_a_rollback_stays_open(churn):
    pushed_inverted()
    actions.promote(model="churn", version=2, actor="user:ana")
    actions.set_routes(model="churn", routes={1: 50, 2: 50}, aliases={"champion": 1}, actor="user:ana")
    case = keep()
    with pytest.raises(Refused, match="fails a golden case"):
        actions.promote(model="churn", version=2, actor="user:ana")
    actions.roll_back(model="churn", to=2, actor="user:ana")
    actions.roll_back(model="churn", to=1, actor="user:ana")
    actions.remove_golden_case(model="churn", number=case.number, actor="user:ana", reason="she stayed after all")
    actions.promote(model="churn", version=2, actor="user:ana")
    assert Route.objects.get().version.number == 2


def test_what_a_version_passed_is_in_its_bundle_and_verify_replays_it_for_ever(churn, capsys):
    case = keep()
    keep(between=[0.9, 1.0], of="churned")
    failing = keep(**{"class": "stays"})
    version = pushing.register_and_probe(trained_bundle(), name="churn", actor="cli:ana").version
    bundle = fetch_bundle(version.digest)
    assert bundle.manifest.golden_cases == 2
    assert [json.loads(line)["expect"] for line in bundle.files["golden.jsonl"].splitlines()] == [
        {"class": "churned"},
        {"between": [0.9, 1.0], "of": "churned"},
    ]
    assert trivet("verify", "churn@2") == 1  # the third
    assert "golden case age=85, city='Oslo': decides 'stays'; it decides 'churned'" in capsys.readouterr().out
    for gone in (case, failing):
        actions.remove_golden_case(model="churn", number=gone.number, actor="user:ana")
    assert trivet("verify", "churn@2") == 0
    assert "2 golden cases hold" in capsys.readouterr().out


def test_a_case_and_its_end_are_one_event_each_without_its_inputs(churn):
    before = Event.objects.count()
    case = keep()
    actions.remove_golden_case(model="churn", number=case.number, actor="user:ben", reason="wrong")
    added, removed = Event.objects.order_by("generation")[before:]
    assert (added.action, added.actor, added.after) == (
        "add_golden_case",
        "user:ana",
        {"case": 1, "expect": {"class": "churned"}},
    )
    assert (removed.action, removed.before["case"], removed.reason) == ("remove_golden_case", 1, "wrong")
    assert cases_of("churn") == []
    assert keep().number == 2  # a number is never given twice
    with pytest.raises(NotFound, match="no golden case '1'"):
        actions.remove_golden_case(model="churn", number=1, actor="user:ana")


def test_a_case_that_could_not_be_asked_is_not_kept(churn):
    with pytest.raises(InvalidRequest, match="Did you mean 'churned'"):
        keep(**{"class": "churn"})
    with pytest.raises(InvalidRequest, match="no golden case"):
        keep(below=3)
    assert not GoldenCaseRow.objects.exists()


def test_cases_that_change_during_the_replay_send_whoever_promotes_back(churn, monkeypatch):
    from trivet.control.registry.actions import traffic

    version = pushing.register_and_probe(trained_bundle(), name="other", actor="cli:ana").version
    monkeypatch.setattr(traffic, "prove", lambda version: traffic.Proof([]))
    actions.add_golden_case(model="other", inputs=ROW, expect={"class": "churned"}, actor="user:ana")
    with pytest.raises(Conflict, match="golden cases of other changed"):
        actions.promote(model="other", version=version.number, actor="user:ana")


def test_the_command_line_keeps_lists_and_takes_away(churn, capsys, tmp_path):
    assert trivet("golden", "add", "churn", "age=85", "city=Oslo", "--class", "churned", "-m", "a known leaver") == 0
    assert "golden case 1 of churn: age=85, city='Oslo': decides 'churned'" in capsys.readouterr().out
    assert trivet("golden", "add", "churn", "age=70", "city=Lyon", "--not-below", "age=30", "--of", "churned") == 0
    file = tmp_path / "cases.jsonl"
    file.write_text('{"inputs": {"age": 20, "city": "Lyon"}, "expect": {"same_as": {"city": "Oslo"}}}\n')
    capsys.readouterr()
    assert trivet("golden", "add", "churn", "--file", str(file)) == 1
    assert "the champion fails: age=20, city='Lyon': the same with city='Oslo'; its" in capsys.readouterr().out
    assert trivet("golden", "list", "churn", "--json") == 0
    assert [case["number"] for case in json.loads(capsys.readouterr().out)] == [1, 2, 3]
    assert trivet("golden", "remove", "churn", "3", "-m", "it depends on the city") == 0
    capsys.readouterr()
    assert trivet("golden", "list", "churn") == 0
    assert "same with" not in capsys.readouterr().out
    assert trivet("golden", "remove", "churn", "3") == 4
    assert trivet("golden", "add", "churn", "age=85", "city=Oslo", "--class", "churn") == 2
    assert trivet("golden", "add", "churn", "--class", "churned") == 2
    assert trivet("golden", "list", "chum") == 4
