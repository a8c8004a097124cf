"""How right a version was by the log and what was said of it, as scikit-learn says of the same rows; and whom not to trust."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from tests.django.watched import ROWS as REFERENCE_ROWS, rows_of_churn, watched_version
from tests.django.worlds import ready, record, turned_out
from trivet.control.monitoring.alerts import raise_alert
from trivet.control.monitoring.classes import CLASS_MEASURES
from trivet.control.monitoring.estimates import Band, Estimate
from trivet.control.monitoring.folding import Folding
from trivet.control.monitoring.judging import judge
from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.monitoring.measures import METRICS, OF_A_NUMBER, OF_CLASSES, TO_BE_ASKED, without_effect
from trivet.control.monitoring.misfit import Misfit
from trivet.control.monitoring.models import Alert, AlertState, Cause, HeldAgainst, LossEvidence
from trivet.control.monitoring.performance import MEASURES, Figure, NoFigure
from trivet.control.monitoring.performance_report import performance_report
from trivet.control.monitoring.sentences import sentence_of
from trivet.control.monitoring.standing import side_of
from trivet.control.monitoring.tasks import Classes, Regression, Task
from trivet.control.monitoring.trust import Side, Verdict
from trivet.control.predictions.labelling import say
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions, declarations
from trivet.control.registry.declarations import Declaration
from trivet.control.registry.models import ModelVersion
from trivet.core.errors import NotFound
from trivet.core.records import SaidLabel

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ROWS = 400


def truths_of(chances: np.ndarray, seed: int, *, flipped: float = 0.0, settled: float = 0.0) -> np.ndarray:
    """Return what turned out true where chances are what they say, but for a share that is the other way round, and for a
    share that is as was decided."""
    rng = np.random.default_rng(seed)
    truths = rng.random(len(chances)) < chances
    truths = np.where(rng.random(len(chances)) < flipped, ~truths, truths)
    return np.where(rng.random(len(chances)) < settled, chances >= 0.5, truths)


def champion(rows: int = REFERENCE_ROWS) -> ModelVersion:
    given = rows_of_churn(rows)
    chances = np.array(given[1]["probabilities"]).reshape(-1, 2)[:, 1]
    version = watched_version(rows=given, labels=truths_of(chances, 99).tolist())
    actions.promote(model="churn", version=1, actor="cli:ana")
    return version


def day(
    version: ModelVersion, number: int, *, labelled: float = 1.0, flipped: float = 0.0, settled: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Have a day's rows answered, and what turned out true said of a share of them; return their chances and truths."""
    inputs, outputs = rows_of_churn(ROWS)
    chances = np.array(outputs["probabilities"]).reshape(-1, 2)[:, 1]
    truths = truths_of(chances, number, flipped=flipped, settled=settled)
    made = int((START + number * DAY).timestamp() * 1e9)
    given, said = [inputs["age"], inputs["plan"]], [outputs["label"], outputs["probabilities"]]
    answer = record(version, ROWS, made_at=made, inputs=given, outputs=said)
    ship([answer], beside=Folding("here"))
    known = int(ROWS * labelled)
    late = made + 3600 * 10**9
    labels = [SaidLabel(turned_out(truths[row]), answer.id, row, observed_at=late) for row in range(known)]
    say(labels, actor="cli:ana", beside=LabelFolding("here"))
    return chances[:known], truths[:known]


def test_A18_it_says_what_scikit_learn_says_of_the_same_rows():
    version = champion()
    days = [day(version, number) for number in range(3)]
    report = performance_report("churn", now=START + 3 * DAY)

    chances, truths = (np.concatenate(parts) for parts in zip(*days, strict=True))
    auc, accuracy = report.realised["auc"], report.realised["accuracy"]
    assert isinstance(auc, Figure)
    assert isinstance(accuracy, Figure)
    assert auc.value == pytest.approx(roc_auc_score(truths, chances), abs=(auc.binning or 0.0) + 1e-9)
    assert accuracy.value == pytest.approx(accuracy_score(truths, chances >= 0.5), abs=1e-12)
    assert (report.task, report.rows, report.labels, len(report.cohorts)) == ("binary", 1200, 1200, 3)
    assert [cohort.coverage for cohort in report.cohorts] == [1.0] * 3
    assert all(cohort.is_maturing for cohort in report.cohorts)
    assert isinstance(report.band, Band)
    estimate = report.estimated["auc"]
    assert isinstance(estimate, Estimate)
    assert estimate.value == pytest.approx(auc.value, abs=0.05)
    assert report.trust == Verdict.UNKNOWN


def test_too_few_labels_are_no_figure():
    version = champion()
    day(version, 0, labelled=0.25)
    report = performance_report("churn", now=START + 20 * DAY)

    figure = report.realised["auc"]
    assert isinstance(figure, NoFigure)
    assert str(figure) == "not yet: 100 of 200 labels"
    assert report.cohorts[0].coverage == 0.25
    assert not report.cohorts[0].is_maturing


def test_a_version_without_a_reference_says_what_to_do():
    ready()
    actions.promote(model="churn", version=1, actor="cli:ana")
    with pytest.raises(NotFound, match="--sample"):
        performance_report("churn", now=START)


def test_an_estimate_that_fits_is_trusted_and_one_that_does_not_is_told_of():
    version = champion()
    for number in range(5):
        day(version, number)
    assert list(judge(START + 9 * DAY)) == [Verdict.TRUSTED] * 2
    assert list(judge(START + 13 * DAY))[-1] == Verdict.TRUSTED
    assert performance_report("churn", now=START + 13 * DAY).trust == Verdict.TRUSTED

    for number in range(6, 13):  # the sixth day was judged meanwhile, and had no row
        day(version, number, flipped=0.3)
    verdicts = list(judge(START + 25 * DAY))
    assert verdicts[-1] == Verdict.NOT_TRUSTED
    assert LossEvidence.objects.get(loss=HeldAgainst.ESTIMATE).labels == 12 * ROWS
    alert = Alert.objects.get(cause=Cause.TRUST)
    assert (alert.severity, alert.version) == ("warning", version)
    report = performance_report("churn", now=START + 25 * DAY)
    assert report.misfit is not None
    assert (report.misfit.side, report.misfit.labels) == (Side.MORE, ROWS)


def judged(first: int, last: int) -> Verdict | None:
    """Judge the days until `last`; return the last verdict. Days before `first` were judged."""
    verdicts = list(judge(START + (last + 8) * DAY))
    assert len(verdicts) == last - first + 1
    return verdicts[-1]


def test_an_estimate_that_reality_is_better_than_is_not_trusted_either_and_its_numbers_say_in_which_direction():
    version = champion()
    for number in range(3):
        day(version, number)
    assert judged(0, 2) == Verdict.TRUSTED
    for number in range(3, 8):
        chances, truths = day(version, number, settled=0.6)
    assert judged(3, 7) == Verdict.NOT_TRUSTED
    assert side_of(version) == Side.FEWER

    alert = Alert.objects.get(cause=Cause.TRUST)
    assert (alert.severity, alert.version) == ("warning", version)
    misfit = performance_report("churn", now=START + 15 * DAY).misfit
    assert misfit == Misfit.told(alert.evidence)
    assert misfit is not None
    wrong = int(((chances >= 0.5) != truths).sum())
    assert (misfit.side, misfit.labels, misfit.wrong) == (Side.FEWER, ROWS, wrong)
    assert misfit.expected == pytest.approx(np.minimum(chances, 1 - chances).sum(), rel=0.1)
    assert (misfit.positive, misfit.positives) == ("churned", truths.sum())
    assert misfit.likely == pytest.approx(chances.sum(), rel=0.05)
    assert misfit.evidence >= misfit.limit == 180
    assert misfit.until == (START + 8 * DAY).replace(hour=0)

    said = sentence_of(alert)
    assert (
        f"Fewer answers turn out wrong than estimated: {wrong / ROWS:.1%} of 400 answers of 2026-03-09, where " in said
    )
    assert (
        f"{misfit.expected / ROWS:.1%} were to be expected. churned: {truths.mean():.1%}, where its scores let " in said
    )
    assert "180 is enough." in said


def test_a_good_day_is_no_reason_and_leaves_the_alert_as_it_was():
    version = champion()
    for number in range(5):
        day(version, number, settled=0.8)
    day(version, 5, flipped=0.1)  # M has not come down yet
    assert judged(0, 4) == Verdict.NOT_TRUSTED
    before = Alert.objects.get(cause=Cause.TRUST).evidence
    assert judged(5, 5) == Verdict.NOT_TRUSTED
    assert Alert.objects.get(cause=Cause.TRUST).evidence == before


def test_an_alert_follows_reality_from_one_side_to_the_other():
    version = champion()
    for number in range(4):
        day(version, number, flipped=0.5)
    assert judged(0, 3) == Verdict.NOT_TRUSTED
    alert = Alert.objects.get(cause=Cause.TRUST)
    assert "More answers turn out wrong" in sentence_of(alert)
    number = 4
    while side_of(version) != Side.FEWER:
        day(version, number, settled=0.8)
        judged(number, number)
        number += 1
        assert number < 16
    alert = Alert.objects.get(cause=Cause.TRUST)
    assert alert.state == AlertState.OPEN
    assert "Fewer answers turn out wrong" in sentence_of(alert)


def test_a_version_that_an_earlier_release_judged_is_held_against_from_below_from_the_next_day_on():
    version = champion()
    for number in range(3):
        day(version, number, settled=0.8)
    judged(0, 1)
    below = LossEvidence.objects.filter(loss=HeldAgainst.ESTIMATE_FROM_BELOW)
    below.delete()
    Alert.objects.all().delete()
    assert performance_report("churn", now=START + 9 * DAY).trust == Verdict.TRUSTED
    judged(2, 2)
    row = below.get()
    assert (row.labels, row.until) == (ROWS, LossEvidence.objects.get(loss=HeldAgainst.ESTIMATE).until)
    assert LossEvidence.objects.get(loss=HeldAgainst.ESTIMATE).labels == 3 * ROWS
    for number in range(3, 8):
        day(version, number, settled=0.8)
    assert judged(3, 7) == Verdict.NOT_TRUSTED
    assert below.get().labels == 6 * ROWS


def test_an_alert_that_an_earlier_release_raised_says_what_it_said():
    version = champion()
    evidence = {"log_e": 7.1, "labels": 800, "until": "2026-03-09T00:00:00+00:00"}
    alert = raise_alert(version, Cause.TRUST, "warning", features=[], evidence=evidence)
    assert sentence_of(alert).endswith("do not go by it until it is calibrated anew.")
    LossEvidence.objects.create(version=version, loss=HeldAgainst.ESTIMATE, tolerance=0.01, log_cusum=9.0, labels=800)
    report = performance_report("churn", now=START)
    assert (report.trust, report.misfit) == (Verdict.NOT_TRUSTED, None)


def test_each_day_is_judged_once():
    version = champion()
    day(version, 0)
    assert len(list(judge(START + 8 * DAY))) == 1
    before = LossEvidence.objects.get(loss=HeldAgainst.ESTIMATE).labels
    assert list(judge(START + 8 * DAY)) == []
    assert LossEvidence.objects.get(loss=HeldAgainst.ESTIMATE).labels == before == ROWS


def test_there_is_a_band_also_where_a_window_has_more_rows_than_a_tenth_of_the_reference():
    version = champion(REFERENCE_ROWS + 7)  # no whole number of chunks makes a tenth of it
    for number in range(2):
        day(version, number)
    report = performance_report("churn", now=START + 2 * DAY, by=30 * DAY)
    assert report.cohorts[0].rows == 2 * ROWS
    assert isinstance(report.band, Band)
    assert report.band.chunks == 10


def test_a_reference_with_too_few_labels_for_a_band_says_how_many_it_has_and_how_many_that_takes():
    day(champion(600), 0)
    report = performance_report("churn", now=START + DAY)
    assert str(report.band) == "no band: 600 rows of the reference have labels, and a band takes 1,000"
    assert set(map(str, report.bands.values())) == {str(report.band)}


def test_measures_have_one_list():
    assert set(MEASURES) == set(TO_BE_ASKED)
    assert set(METRICS) == {*TO_BE_ASKED, *OF_A_NUMBER} >= set(OF_CLASSES)
    assert set(Classes.choices) == {Task.metric, *CLASS_MEASURES}
    assert Regression.choices is OF_A_NUMBER


@pytest.mark.parametrize(
    ("said", "task", "told"),
    [
        (
            {"metric": "mae"},
            "binary",
            "Monitoring.metric 'mae' is no measure of a version of two classes: use one of auc,",
        ),
        ({"metric": "brier"}, "classes", "Monitoring.metric 'brier' is no measure of a version of several classes"),
        (
            {"metric": "auc"},
            "regression",
            "is no measure of a version that gives a number: use one of mae, rmse, me, r2.",
        ),
        ({"floor": 0.65}, "regression", "Monitoring.floor 0.65 raises no alert of a version that gives a number"),
        (
            {"metric": "mae", "floor": 3.0},
            "regression",
            "Monitoring.floor 3 raises no alert of a version that gives a number",
        ),
    ],
)
def test_what_is_declared_and_has_no_effect_is_told(said, task, told):
    (problem,) = without_effect(Declaration(**said), task)
    assert told in problem


def test_what_has_an_effect_or_nothing_that_turns_out_right_is_told_of_by_nobody():
    for metric, task in (("specificity", "binary"), ("auc", "classes"), ("r2", "regression"), ("mae", "none")):
        assert list(without_effect(Declaration(metric=metric), task)) == []
    for task in ("binary", "classes"):
        assert list(without_effect(Declaration(floor=0.6), task)) == []


def test_the_metric_that_was_declared_is_drawn_and_segments_keep_the_task_s_own(monkeypatch):
    monkeypatch.setitem(declarations._declared, "churn", Declaration(metric="specificity"))
    day(champion(), 0)
    report = performance_report("churn", now=START + DAY)
    assert (report.metric, report.segment_metric) == ("specificity", "auc")
    assert isinstance(report.cohorts[0].realised["specificity"], Figure)
    assert isinstance(report.cohorts[0].estimated["specificity"], Estimate)
    assert isinstance(report.band, Band)
    assert isinstance(report.bands["auc"], Band)
