"""Versions of several classes: as right as scikit-learn says of the same rows, estimated before, and held to that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn import metrics

from tests.django.watched import watched_version
from tests.django.worlds import record
from trivet.control.monitoring.estimates import Band, Estimate
from trivet.control.monitoring.folding import Folding
from trivet.control.monitoring.judging import judge
from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.monitoring.models import Alert, Cause
from trivet.control.monitoring.performance import Figure, NoFigure
from trivet.control.monitoring.performance_report import PerformanceReport, performance_report
from trivet.control.monitoring.references import watched
from trivet.control.monitoring.sentences import sentence_of
from trivet.control.monitoring.trust import Side, Verdict
from trivet.control.predictions.labelling import say
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions, declarations
from trivet.control.registry.declarations import Declaration
from trivet.control.registry.models import ModelVersion
from trivet.core.records import SaidLabel
from trivet.core.signature import Input, Output, Signature

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ROWS = 500
NAMES = np.array(["setosa", "virginica", "versicolor"])
FLOWERS = Signature(
    inputs=(Input(name="width", datatype="FP64", shape=(-1, 1)),),
    outputs=(
        Output(name="label", datatype="BYTES", shape=(-1,), classes=tuple(NAMES.tolist())),
        Output(name="probabilities", datatype="FP64", shape=(-1, 3), classes=tuple(NAMES.tolist())),
    ),
    task="classification",
)


def flowers(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores (rows, 3) of a model that is twice as sure as it should be, and what turned out true."""
    random = np.random.default_rng(seed)
    log_odds = random.normal([0.5, 0.0, -0.5], 1.5, (rows, 3))
    chances = np.exp(log_odds) / np.exp(log_odds).sum(1, keepdims=True)
    sure = np.exp(2 * log_odds) / np.exp(2 * log_odds).sum(1, keepdims=True)
    return sure, (chances.cumsum(1) > random.random((rows, 1))).argmax(1)


def outputs_of(scores: np.ndarray) -> dict[str, list]:
    return {"label": NAMES[scores.argmax(1)].tolist(), "probabilities": scores.ravel().tolist()}


def champion() -> ModelVersion:
    scores, truths = flowers(6_000, 1)
    version = watched_version(
        "flowers",
        signature=FLOWERS,
        rows=({"width": scores[:, 0].tolist()}, outputs_of(scores)),
        labels=NAMES[truths].tolist(),
    )
    actions.promote(model="flowers", version=1, actor="cli:ana")
    return version


def day(
    version: ModelVersion,
    number: int,
    *,
    labelled: int = ROWS,
    wrong: float = 0.0,
    settled: bool = False,
    start: datetime = START,
) -> tuple[np.ndarray, np.ndarray]:
    """Have a day's rows answered, and of `labelled` of them said what turned out true; return scores and truths of these.

    Where all is `settled`, every row is what was decided.
    """
    scores, truths = flowers(ROWS, 100 + number)
    random = np.random.default_rng(number)
    truths = np.where(random.random(ROWS) < wrong, (truths + 1) % 3, scores.argmax(1) if settled else truths)
    said, made = outputs_of(scores), int((start + number * DAY).timestamp() * 1e9)
    answer = record(
        version,
        ROWS,
        made_at=made,
        inputs=[scores[:, 0].tolist()],
        outputs=[said["label"], said["probabilities"]],
    )
    ship([answer], beside=Folding("here"))
    labels = [
        SaidLabel(str(NAMES[truths[row]]), answer.id, row, observed_at=made + 3600 * 10**9) for row in range(labelled)
    ]
    say(labels, actor="cli:ana", beside=LabelFolding("here"))
    return scores[:labelled], truths[:labelled]


def report(days: int) -> PerformanceReport:
    return performance_report("flowers", now=START + days * DAY)


def value(found: Figure | Estimate | NoFigure | Band) -> float:
    assert isinstance(found, Figure | Estimate)
    return found.value


def test_it_says_what_scikit_learn_says_of_the_same_rows():
    version = champion()
    days = [day(version, number) for number in range(3)]
    scores, truths = (np.concatenate(parts) for parts in zip(*days, strict=True))
    predictions = scores.argmax(1)
    found = report(3)
    assert (found.task, found.metric, found.rows, found.labels) == ("classes", "accuracy", 1500, 1500)
    assert value(found.realised["accuracy"]) == pytest.approx(metrics.accuracy_score(truths, predictions))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truths, predictions, average="macro")
    for name, expected in {"macro_precision": precision, "macro_recall": recall, "macro_f1": f1}.items():
        assert value(found.realised[name]) == pytest.approx(expected), name
    area = found.realised["macro_auc"]
    assert isinstance(area, Figure)
    assert value(area) == pytest.approx(metrics.roc_auc_score(truths, scores, multi_class="ovr"), abs=area.binning)
    assert area.binning is not None
    assert area.binning < 0.005
    for place, name in enumerate(NAMES):
        of = found.by_class[name]
        assert value(of.realised["f1"]) == pytest.approx(metrics.f1_score(truths, predictions, average=None)[place])
        assert value(of.realised["auc"]) == pytest.approx(
            metrics.roc_auc_score(truths == place, scores[:, place]), abs=0.005
        )
    assert [value(cohort.realised["accuracy"]) for cohort in found.cohorts] == pytest.approx(
        [metrics.accuracy_score(t, s.argmax(1)) for s, t in days]
    )


def test_before_any_label_each_class_is_estimated_by_its_own_calibration():
    version = champion()
    days = [day(version, number, labelled=0) for number in range(4)]
    assert not any(len(truths) for _, truths in days)
    again = [flowers(ROWS, 100 + number) for number in range(4)]
    scores, truths = (np.concatenate(parts) for parts in zip(*again, strict=True))
    found = report(4)
    watching = watched("flowers", version.digest)
    assert watching is not None
    assert all(watching.reference.calibrations), "twice as sure as it should be: each class has to be calibrated"
    assert {str(figure) for figure in found.realised.values()} == {"not yet: 0 of 200 labels"}
    assert value(found.estimated["accuracy"]) == pytest.approx(
        metrics.accuracy_score(truths, scores.argmax(1)), abs=0.03
    )
    assert scores.max(1).mean() > value(found.estimated["accuracy"]) + 0.1, "as the scores say it"
    assert value(found.estimated["macro_f1"]) == pytest.approx(
        metrics.f1_score(truths, scores.argmax(1), average="macro"), abs=0.03
    )
    assert value(found.estimated["macro_auc"]) == pytest.approx(
        metrics.roc_auc_score(truths, scores, multi_class="ovr"), abs=0.03
    )
    for name in ("accuracy", "macro_f1", "macro_auc"):
        band = found.bands[name]
        assert isinstance(band, Band)
        assert band.low < value(found.estimated[name]) < band.high
    assert value(found.by_class["setosa"].estimated["recall"]) > 0.5


def test_an_estimate_that_fits_is_trusted_and_one_that_does_not_is_told_of():
    version = champion()
    for number in range(4):
        day(version, number)
    assert list(judge(START + 12 * DAY))[-1] == Verdict.TRUSTED
    assert report(12).trust == Verdict.TRUSTED
    for number in range(5, 11):
        day(version, number, wrong=0.25)
    assert list(judge(START + 25 * DAY))[-1] == Verdict.NOT_TRUSTED
    assert Alert.objects.get(cause=Cause.TRUST).version == version


@pytest.mark.parametrize("side", Side)
def test_in_which_direction_an_estimate_is_wrong_is_told_of_several_classes_too(side):
    version = champion()
    for number in range(6):
        scores, truths = day(version, number, wrong=0.25 if side == Side.MORE else 0.0, settled=side == Side.FEWER)
    assert list(judge(START + 14 * DAY))[-1] == Verdict.NOT_TRUSTED
    misfit = report(14).misfit
    assert misfit is not None
    assert (misfit.side, misfit.labels, misfit.positive) == (side, ROWS, "")
    assert misfit.wrong == (scores.argmax(1) != truths).sum()
    estimate = value(report(14).estimated["accuracy"])
    assert misfit.expected / ROWS == pytest.approx(1 - estimate, abs=0.05)
    assert f"{side} answers turn out wrong than estimated" in sentence_of(Alert.objects.get(cause=Cause.TRUST)).lower()


def test_a_class_that_was_never_decided_has_a_place_and_what_turned_out_so_was_wrong():
    scores, truths = flowers(3_000, 1)
    scores[:, 2] = scores[:, :2].max(1) / 2  # nothing is ever decided to be the third
    scores /= scores.sum(1, keepdims=True)
    version = watched_version(
        "flowers",
        signature=FLOWERS,
        rows=({"width": scores[:, 0].tolist()}, outputs_of(scores)),
        labels=NAMES[truths].tolist(),
    )
    watching = watched("flowers", version.digest)
    assert watching is not None
    assert [bins.name for bins in watching.reference.scores] == NAMES.tolist()
    actions.promote(model="flowers", version=1, actor="cli:ana")
    made = int(START.timestamp() * 1e9)
    some, said = scores[:ROWS], outputs_of(scores[:ROWS])
    answer = record(
        version, ROWS, made_at=made, inputs=[some[:, 0].tolist()], outputs=[said["label"], said["probabilities"]]
    )
    ship([answer], beside=Folding("here"))
    labels = [SaidLabel(str(NAMES[truths[row]]), answer.id, row, observed_at=made + 10**9) for row in range(ROWS)]
    say(labels, actor="cli:ana", beside=LabelFolding("here"))
    found, predictions = report(1), some.argmax(1)
    assert value(found.realised["accuracy"]) == pytest.approx(metrics.accuracy_score(truths[:ROWS], predictions))
    assert value(found.realised["macro_f1"]) == pytest.approx(
        metrics.f1_score(truths[:ROWS], predictions, average="macro")
    )
    assert found.by_class["versicolor"].realised["precision"] == NoFigure(
        "none of 500 rows was predicted to be of this class"
    )


def test_a_correction_leaves_no_trace_in_any_class():
    version = champion()
    _, truths = day(version, 0)
    before = report(1)
    prediction = Prediction.objects.values_list("prediction_id", flat=True).first()
    observed = int(START.timestamp() * 1e9) + 3600 * 10**9
    for name in ("setosa", "virginica", "versicolor", str(NAMES[truths[0]])):
        said = SaidLabel(name, str(prediction), 0, observed_at=observed)
        say([said], actor="cli:ana", beside=LabelFolding("here"))
    after = report(1)
    assert (after.realised, after.by_class) == (before.realised, before.by_class)


def test_a_metric_that_is_declared_is_its_mean_over_classes_and_is_drawn(monkeypatch):
    monkeypatch.setitem(declarations._declared, "flowers", Declaration(metric="auc", floor=0.9))
    day(champion(), 0)
    report = performance_report("flowers", now=START + DAY)
    assert (report.metric, report.segment_metric) == ("macro_auc", "accuracy")
    assert isinstance(report.cohorts[0].realised["macro_auc"], Figure)
    assert isinstance(report.cohorts[0].estimated["macro_auc"], Estimate)
    assert isinstance(report.band, Band)
