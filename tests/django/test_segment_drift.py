"""`trivet drift --segment`: what the rows of one segment are like beside those of it before, read from the log."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from tests.django.command_line import trivet, verb
from tests.django.people import person
from tests.django.test_together import champion, log
from tests.django.watched import watched_version
from tests.django.worlds import CHURN
from trivet.control.monitoring import logged_rows, segment_drift
from trivet.control.monitoring.dimensions import places_of
from trivet.control.monitoring.references import watched
from trivet.control.registry import actions
from trivet.control.registry.models import ModelVersion
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.manifest import Manifest
from trivet.model.bundle.sample import encode_sample

pytestmark = pytest.mark.django_db
BEFORE = ("--reference", "previous", "--window", "1d")


def asked(version: ModelVersion, plan: str | None, rows: int, *, older: float = 0.0, days_ago: float = 0.1) -> None:
    """Log rows of a plan, whose ages are those of the reference, `older` by so many years."""
    ages = np.linspace(18.0, 78.0, rows) + older
    log(version, timezone.now() - timedelta(days=days_ago), ages.tolist(), plan)


@pytest.fixture
def moved() -> ModelVersion:
    """A champion of which those with one plan became older, and the few with the other did not."""
    version = champion()
    for days_ago, older in ((1.5, 0.0), (0.1, 40.0)):
        asked(version, "free", 300, older=older, days_ago=days_ago)
        asked(version, "pro", 200, days_ago=days_ago)
    return version


def distance(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[float, list[str], int, int]:
    """Return how far the ages of a segment are from those before, what of them changed, and of how many rows that is."""
    told = verb(capsys, "drift", "churn", *words, *BEFORE)[1]
    (age,) = told["features"]
    assert age["name"] == "age", "the column itself is the same in all rows of the segment"
    return age["distance"], age["changed"], told["rows"], told["reference_rows"]


@pytest.mark.usefixtures("moved")
def test_a_segment_that_moved_is_told_from_one_that_did_not(capsys):
    free, pro = distance(capsys, "--segment=plan=free"), distance(capsys, "--segment=plan=pro")
    assert free[0] > 0.5
    assert "drift" in free[1]
    assert free[2:] == (300, 300)
    assert pro == (0.0, [], 200, 200)


@pytest.mark.usefixtures("moved")
def test_it_says_what_was_looked_at_and_that_no_alarm_comes_of_it(capsys):
    assert trivet("drift", "churn", "--segment", "plan=free", *BEFORE) == 0
    verdict, about, changed, _, header, age = capsys.readouterr().out.splitlines()
    assert verdict == "Rows of churn 1 with plan = free alone: they are looked at here, and no alarm comes of it."
    assert about.startswith("300 of 500 logged rows from ")
    assert about.endswith(" UTC so far, beside 300 of 500 of the window before")
    assert changed.startswith("Changed further than is tolerated and than chance explains: the values of age")
    assert header.startswith("FEATURE")
    assert age.startswith("age")
    told = verb(capsys, "drift", "churn", "--segment", "plan=free", *BEFORE)[1]
    assert told["segment"] == {"column": "plan", "value": "free", "looked_at": 500, "looked_at_before": 500}
    assert (told["reconstruction"], told["latency_ms"]) == (None, [None, None])


def test_rows_without_a_value_and_with_others_are_segments_too(capsys):
    version = champion()
    asked(version, None, 60)
    asked(version, "enterprise", 70)
    asked(version, "pro", 80)
    for value, rows in (("missing", 60), ("other", 70), ("pro", 80), ("free", 0)):
        code, told = verb(capsys, "drift", "churn", f"--segment=plan={value}", *BEFORE)
        assert (code, told["rows"], told["reference_rows"]) == (0, rows, 0), value
    assert trivet("drift", "churn", "--segment=plan=pro", *BEFORE) == 0
    said = capsys.readouterr().out
    assert "80 of 210 logged rows from " in said
    assert said.endswith("; 0 of 0 of the window before: there is nothing to compare.\n")


def test_a_range_of_numbers_is_a_segment(capsys, moved):
    found = watched("churn", moved.digest)
    assert found is not None
    dimension = places_of(found, "age")
    assert dimension is not None
    title, end = dimension.values[0], dimension.bounds[1]
    told = verb(capsys, "drift", "churn", f"--segment=age={title}", *BEFORE)[1]
    (plan,) = told["features"]
    assert plan["name"] == "plan"
    free, pro = ((np.linspace(18.0, 78.0, rows) <= end).sum() for rows in (300, 200))
    assert (told["rows"], told["reference_rows"]) == (pro, free + pro), "of those that became older none is left"
    assert plan["distance"] == pytest.approx(free / (free + pro))


def test_beside_the_reference_it_is_beside_the_recorded_rows_of_the_segment(capsys, monkeypatch):
    version = champion()
    asked(version, "free", 300, older=30.0)
    ages = np.linspace(18.0, 78.0, 200).reshape(-1, 1)
    inputs = {"age": ages, "plan": np.array([["free"], ["pro"]] * 100, dtype=object)}
    outputs = {"label": np.array(["stays"] * 200, dtype=object), "probabilities": np.full((200, 2), 0.5)}
    manifest = Manifest(format=1, runtime="onnx", signature=CHURN, files=(), parity={"max": 2e-7})
    recorded = make_bundle(manifest, {"model.onnx": b"graph", "sample.jsonl": encode_sample(CHURN, inputs, outputs)})
    monkeypatch.setattr(logged_rows, "fetch_bundle", lambda digest: recorded)
    assert trivet("drift", "churn", "--segment=plan=free", "--window=1d") == 0
    assert "beside 100 of 200 of the sample that its bundle recorded" in capsys.readouterr().out


@pytest.mark.usefixtures("moved")
def test_more_rows_than_are_read_are_some_of_all_segments(capsys, monkeypatch):
    monkeypatch.setattr(segment_drift, "MOST_ROWS", 250)
    told = verb(capsys, "drift", "churn", "--segment=plan=free", *BEFORE)[1]
    assert 200 <= told["segment"]["looked_at"] <= 300
    assert 0 < told["rows"] < told["segment"]["looked_at"]


@pytest.mark.usefixtures("moved")
def test_a_segment_is_for_who_may_see_inputs(capsys):
    person("view_registeredmodel", name="eve")
    person("view_registeredmodel", "view_inputs", name="ina")
    words = ("drift", "churn", "--segment=plan=free", *BEFORE)
    code, said = verb(capsys, *words, "--as=eve")
    assert code != 0
    assert "view_inputs" in str(said)
    assert verb(capsys, *words, "--as=ina")[1]["rows"] == 300


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        ("plan", "'plan' is not COLUMN=VALUE."),
        (
            "plan=fre",
            "'fre' is no segment of 'plan': there are pro, free, other, missing. Did you mean 'free'?",
        ),
        ("plans=free", "plans"),
        ("age=17", "'17' is no segment of 'age'"),
    ],
)
def test_what_is_no_segment_is_told_with_what_there_is(capsys, segment, said):
    watched_version()
    actions.promote(model="churn", version=1, actor="cli:ana")
    code, told = verb(capsys, "drift", "churn", "--segment", segment)
    assert code == 2
    assert said in str(told)


def test_of_a_sensitive_column_there_is_no_segment(capsys, moved):
    actions.set_sensitive(model="churn", add=["plan"], actor="cli:ana")
    code, told = verb(capsys, "drift", "churn", "--segment=plan=free", *BEFORE)
    assert code == 2
    assert "'plan' is sensitive: no record has its values" in str(told)
    assert moved.number == 1


def test_it_is_no_classifier(capsys):
    champion()
    assert trivet("drift", "churn", "--segment=plan=free", "--classifier") == 2
