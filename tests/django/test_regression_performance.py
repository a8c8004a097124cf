"""A regression by the log and what was said of it: as wrong as scikit-learn says, with intervals and the reference's band."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn import metrics

from tests.django.watched import watched_version
from tests.django.worlds import record
from trivet.control.monitoring.estimates import Band
from trivet.control.monitoring.folding import Folding
from trivet.control.monitoring.judging import judge
from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.monitoring.performance import Figure
from trivet.control.monitoring.performance_report import performance_report
from trivet.control.predictions.labelling import say
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions, declarations
from trivet.control.registry.declarations import Declaration
from trivet.core.records import SaidLabel
from trivet.core.signature import Input, Output, Signature

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
RENT = Signature(
    inputs=(Input(name="area", datatype="FP64", shape=(-1, 1)),),
    outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),),
    task="regression",
)


def rents(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    said = random.normal(900, 200, rows)
    return said, said + random.normal(10, 50, rows)


def test_errors_are_those_of_scikit_learn_and_have_intervals_and_bands(monkeypatch):
    said, was = rents(4_000, 1)
    rows = ({"area": (said / 15).tolist()}, {"prediction": said.tolist()})
    version = watched_version("rent", signature=RENT, rows=rows, labels=was.tolist())
    actions.promote(model="rent", version=1, actor="cli:ana")
    said, was = rents(480, 2)
    for hour in range(24):
        made, here = int((START + hour * HOUR).timestamp() * 1e9), slice(hour * 20, hour * 20 + 20)
        given = {"inputs": [(said[here] / 15).tolist()], "outputs": [said[here].tolist()]}
        answer = record(version, 20, made_at=made, output_names=["prediction"], **given)
        ship([answer], beside=Folding("here"))
        truths = enumerate(was[here].tolist())
        labels = [SaidLabel(truth, answer.id, row, observed_at=made + 10**9) for row, truth in truths]
        say(labels, actor="cli:ana", beside=LabelFolding("here"))
    monkeypatch.setitem(declarations._declared, "rent", Declaration(metric="rmse"))
    assert performance_report("rent", now=START + 20 * HOUR).metric == "rmse"
    monkeypatch.delitem(declarations._declared, "rent")
    report = performance_report("rent", now=START + 20 * HOUR)
    expected = {
        "mae": metrics.mean_absolute_error(was, said),
        "rmse": metrics.root_mean_squared_error(was, said),
        "me": float((said - was).mean()),
        "r2": metrics.r2_score(was, said),
    }
    assert (report.task, report.metric, report.labels) == ("regression", "mae", 480)
    for name, value in expected.items():
        figure, band = report.realised[name], report.bands[name]
        assert isinstance(figure, Figure)
        assert figure.value == pytest.approx(value, abs=1e-4), name
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low < value < figure.high
        assert isinstance(band, Band)
        assert band.holds(value)
    assert not report.is_estimated
    assert list(judge(START + timedelta(days=20))) == []
