"""Features taken together: the reconstruction error in the drift report, and the classifier over logged rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest
from django.utils import timezone

from tests.django.command_line import trivet, verb
from tests.django.watched import asked_for_numbers, count, watched_version
from tests.django.worlds import CHURN, ready, record
from trivet.control.monitoring import logged_rows
from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.logged_rows import logged_columns
from trivet.control.monitoring.models import Grain, ReferenceProfile
from trivet.control.monitoring.references import watched
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.models import ModelVersion
from trivet.core.profile.reference import LIVE
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.manifest import Manifest
from trivet.model.bundle.sample import encode_sample

pytestmark = pytest.mark.django_db
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_numbers_that_move_together_as_they_did_are_said_so(capsys):
    asked_for_numbers()
    assert trivet("drift", "churn") == 0
    _, _, line, changed, empty, *_ = capsys.readouterr().out.splitlines()
    assert line.startswith("PCA of 3 numbers, 1 component: reconstruction error 0.1")
    assert line.endswith(" is usual.")
    assert changed.startswith("Nothing changed ")
    assert empty == ""
    found = verb(capsys, "drift", "churn")[1]["reconstruction"]
    assert found["low"] < found["error"] < found["high"]
    assert found["rows"] == 500


def test_numbers_that_do_not_are_outside_what_is_usual_though_no_single_one_has_moved(capsys):
    asked_for_numbers(apart=True)
    told = verb(capsys, "drift", "churn")[1]
    assert max(feature["distance"] for feature in told["features"]) < 0.1
    assert told["reconstruction"]["error"] > 3 * told["reconstruction"]["high"]
    assert trivet("report", "churn") == 0
    assert "PCA of 3 numbers" in capsys.readouterr().out


def test_of_a_number_that_became_sensitive_nothing_is_told(capsys):
    asked_for_numbers()
    actions.set_sensitive(model="churn", add=["y"], actor="cli:ana")
    found = verb(capsys, "drift", "churn")[1]["reconstruction"]
    assert (found["error"], found["error_before"], found["high"]) == (None, None, None)
    assert trivet("drift", "churn") == 0
    assert "1 component: not measured, one of its numbers is sensitive." in capsys.readouterr().out


def test_with_one_number_there_is_nothing_to_say(capsys):
    count(watched_version(), begin_of(timezone.now(), Grain.HOUR) - 2 * HOUR, 500)
    assert trivet("drift", "churn@1") == 0
    assert "PCA" not in capsys.readouterr().out


def log(version: ModelVersion, made_at: datetime, ages: Sequence[float | None], plan: str | None = "pro") -> None:
    """Log a row for each of `ages`, at one moment."""
    rows = len(ages)
    one = record(
        version,
        rows,
        made_at=int(made_at.timestamp()) * 10**9,
        inputs=[list(ages), [plan] * rows],
        outputs=[["churned"] * rows, [0.25, 0.75] * rows],
    )
    ship([one])


def asked(version: ModelVersion, *, older: float = 0.0, rows: int = 120, days_ago: float = 0.1, seed: int = 0) -> None:
    ages = np.random.default_rng(seed).normal(45.0 + older, 5.0, rows)
    log(version, timezone.now() - days_ago * DAY, ages.tolist())


def champion() -> ModelVersion:
    version = watched_version()
    actions.promote(model="churn", version=1, actor="cli:ana")
    return version


def test_a_classifier_tells_rows_of_a_window_from_those_before(capsys):
    version = champion()
    asked(version, older=10.0)
    asked(version, days_ago=1.5, seed=1)
    words = ("drift", "churn", "--classifier", "--reference", "previous", "--window", "1d")
    assert trivet(*words) == 0
    said = capsys.readouterr().out
    assert "A classifier tells 120 rows from 120 of the window before by 1 features with AUC 0.9" in said

    found = verb(capsys, *words)[1]["classifier"]
    assert found["auc"] > 0.9
    assert 0.6 < found["by_chance"] < 0.62
    assert (found["rows"], found["rows_before"]) == (120, 120)
    assert "classifier" not in verb(capsys, "drift", "churn")[1]


def test_rows_that_are_alike_are_not_told_apart(capsys):
    version = champion()
    for days_ago in (0.1, 7.1, 14.1):
        asked(version, days_ago=days_ago, seed=int(days_ago))
    found = verb(capsys, "drift", "churn", "--classifier", "--reference", "same-hour", "--window", "1d")[1][
        "classifier"
    ]
    assert 0.4 < found["auc"] < 0.6
    assert (found["rows"], found["rows_before"]) == (120, 240)


def test_beside_its_training_it_takes_the_rows_that_the_bundle_recorded(capsys, monkeypatch):
    version = champion()
    asked(version, older=30.0)
    ages = np.random.default_rng(3).normal(45.0, 5.0, (200, 1))
    inputs = {"age": ages, "plan": np.array([["pro"]] * 200, dtype=object)}
    outputs = {"label": np.array(["stays"] * 200, dtype=object), "probabilities": np.full((200, 2), 0.5)}
    manifest = Manifest(format=1, runtime="onnx", signature=CHURN, files=(), parity={"max": 2e-7})
    recorded = make_bundle(manifest, {"model.onnx": b"graph", "sample.jsonl": encode_sample(CHURN, inputs, outputs)})
    monkeypatch.setattr(logged_rows, "fetch_bundle", lambda digest: recorded)
    found = verb(capsys, "drift", "churn", "--classifier")[1]["classifier"]
    assert (found["rows"], found["rows_before"]) == (120, 200)
    assert found["auc"] > 0.99


def test_a_version_pushed_without_a_sample_is_told_what_to_compare_with(capsys):
    version = champion()
    found = watched("churn", version.digest)
    assert found is not None
    reference = ReferenceProfile.objects.get()
    reference.payload = bytes(reference.payload).replace(b"\xa6sample", b"\xa4" + LIVE.encode())
    reference.save()
    code, said = verb(capsys, "drift", "churn", "--classifier")
    assert code != 0
    assert "churn 1 was pushed without a sample" in said
    assert "--reference previous" in said


def test_too_few_rows_are_said_with_what_to_do(capsys):
    asked(champion(), rows=49)
    code, said = verb(capsys, "drift", "churn", "--classifier", "--reference", "previous")
    assert code != 0
    assert "takes 50 rows with their inputs on either side; there are 49, and 0 to compare" in said


def test_without_scikit_learn_it_says_what_to_install(capsys, monkeypatch):
    asked(champion())
    monkeypatch.setitem(sys.modules, "trivet.model.domain_classifier", None)
    code, said = verb(capsys, "drift", "churn", "--classifier")
    assert code != 0
    assert "--classifier needs scikit-learn: pip install 'trivet[compile]'" in said


def test_rows_are_those_that_were_answered_with_inputs_that_may_be_read():
    version = champion()
    (other,) = ready(1, model="fraud")
    now = timezone.now()
    log(version, now - HOUR, [40.0, None], plan=None)
    log(other, now - HOUR, [1.0])
    log(version, now - 3 * DAY, [2.0])
    ship([record(version, made_at=int(now.timestamp()) * 10**9 - 10**9, kind="shadow", inputs=[[3.0], ["pro"]])])
    ship([record(version, made_at=int(now.timestamp()) * 10**9 - 10**9, inputs=None)])
    found = logged_columns(version, [(now - DAY, now)])
    assert found["age"][0] == 40.0
    assert np.isnan(found["age"][1])
    assert found["plan"] == [None, None]

    actions.set_sensitive(model="churn", add=["plan"], actor="cli:ana")
    version.model.refresh_from_db()
    assert set(logged_columns(version, [(now - DAY, now)])) == {"age"}
    Prediction.objects.update(inputs=None)
    assert not len(logged_columns(version, [(now - DAY, now)])["age"])


def test_of_many_rows_about_as_many_are_taken_from_all_of_them():
    version = champion()
    for _ in range(100):
        log(version, timezone.now() - HOUR, [float(place) for place in range(10)])
    found = logged_columns(version, [(timezone.now() - DAY, timezone.now())], most=200)["age"]
    assert 150 <= len(found) <= 250
    assert set(found) == set(map(float, range(10))), "whatever place a row has in its request"
