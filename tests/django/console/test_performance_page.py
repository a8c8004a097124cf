"""The performance page: realised and estimated quality, and what is said while labels are too few."""

import time
from dataclasses import replace
from datetime import timedelta
from html import unescape

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.django import test_class_performance as several_classes, test_expected_errors as regressions
from tests.django.console.test_pages import text
from tests.django.segmented import ask as asked, customers, declared_segments, segmented_version, tell
from tests.django.watched import rows_of_churn, watched_version
from tests.django.worlds import ready, record, turned_out
from trivet.console.figures import measure
from trivet.control.monitoring.alerts import raise_alert
from trivet.control.monitoring.estimates import Band
from trivet.control.monitoring.folding import Folding
from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.monitoring.models import Cause, LossEvidence
from trivet.control.monitoring.performance_report import performance_report
from trivet.control.monitoring.trust import Verdict
from trivet.control.predictions.labelling import say
from trivet.control.predictions.shipping import ship
from trivet.control.registry import declarations
from trivet.control.registry.declarations import Declaration
from trivet.control.registry.models import RegisteredModel
from trivet.core.records import SaidLabel

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]
SEE = "view_registeredmodel"
PAGE = "/models/churn/performance/"
ROWS = 400


def truths(chances, seed):
    return np.random.default_rng(seed).random(len(chances)) < chances


def version_with_labels():
    _, outputs = rows_of_churn()
    chances = np.array(outputs["probabilities"]).reshape(-1, 2)[:, 1]
    return watched_version(labels=truths(chances, 99).tolist())


def day(version, days_ago, *, labelled=1.0):
    """Have 400 rows answered some days ago, and say what turned out true of a share of them."""
    inputs, outputs = rows_of_churn(ROWS)
    chances = np.array(outputs["probabilities"]).reshape(-1, 2)[:, 1]
    made = int((timezone.now() - timedelta(days=days_ago)).timestamp() * 1e9)
    given, said = [inputs["age"], inputs["plan"]], [outputs["label"], outputs["probabilities"]]
    answer = record(version, ROWS, made_at=made, inputs=given, outputs=said)
    ship([answer], beside=Folding("here"))
    was = truths(chances, days_ago)
    labels = [
        SaidLabel(turned_out(was[row]), answer.id, row, observed_at=made + 10**9) for row in range(int(ROWS * labelled))
    ]
    say(labels, actor="cli:ana", beside=LabelFolding("here"))


def test_realised_estimated_band_and_trust_are_told_together(signed_in):
    version = version_with_labels()
    for days_ago in (1, 2, 12):
        day(version, days_ago)
    response = signed_in(SEE).get(PAGE)
    page, markup = text(response), response.content.decode()
    assert 'style="' not in markup
    assert "How right is churn?" in page
    assert "Of 1,200 predictions 1,200 have a label (100.0 %)." in page
    assert "Not known yet: too few labels have been held against the estimate" in page
    assert "AUC by the day of the predictions" in page
    assert markup.count('class="dot open" cx="') - markup.count('cx="7"') // 2 >= 1
    assert markup.count("maturing</span>") == 2, "labels of a week ago and more are all there"
    assert "95 % interval" in page
    assert "Accuracy 0." in page
    assert "Precision for churned 0." in page
    assert "Recall for churned 0." in page
    assert "Average precision for churned 0." in page
    assert "ROC: found of those that were churned" in page
    assert "A row that turned out churned scored higher" in page
    assert "the share that was churned" in page
    assert "exact" in page


def test_what_is_declared_and_has_no_effect_is_told(signed_in, monkeypatch):
    version = version_with_labels()
    day(version, 1)
    client = signed_in(SEE)
    assert "Monitoring." not in text(client.get(PAGE))
    monkeypatch.setitem(declarations._declared, "churn", Declaration(metric="mae"))
    assert "is no measure of a version of two classes: use one of auc" in text(client.get(PAGE))


def test_too_few_labels_read_as_not_yet_and_never_as_nothing(signed_in):
    version = version_with_labels()
    day(version, 1, labelled=0.33)
    page = text(signed_in(SEE).get(PAGE))
    assert "Realised: not yet: 132 of 200 labels" in page
    assert "AUC is probably 0." in page
    assert "What would have been decided" not in page


def test_an_estimate_that_is_unusual_is_said_beside_labels_that_are_as_usual(signed_in, monkeypatch):
    version = version_with_labels()
    day(version, 1)
    client, band = signed_in(SEE), Band(0.1, 0.9, mean=0.5, deviation=0.1, chunks=20)

    def told(estimated, trust=Verdict.UNKNOWN, realised=0.7):
        def report(*given, **how):
            found = performance_report(*given, **how)
            figure = found.realised["auc"]._replace(value=realised)
            estimate = found.estimated["auc"]._replace(value=estimated)
            return replace(
                found,
                realised={**found.realised, "auc": figure},
                estimated={**found.estimated, "auc": estimate},
                bands={**found.bands, "auc": band},
                trust=trust,
            )

        monkeypatch.setattr("trivet.console.performance_page.performance_report", report)
        return text(client.get(PAGE))

    beside = "it is estimated to be 0.950, which is not usual."
    assert f"AUC was 0.700, as usual. Of all predictions, labelled or not, {beside}" in told(0.95)
    assert beside not in told(0.95, Verdict.NOT_TRUSTED)
    assert beside not in told(0.95, realised=0.05), "what labels say is enough"
    assert "is estimated to be" not in told(0.8)


def test_the_confusion_moves_with_the_threshold(signed_in):
    version = version_with_labels()
    day(version, 1)
    client = signed_in(SEE)
    at_half = text(client.get(PAGE))
    assert "What would have been decided at 0.5" in at_half
    assert "was churned was stays" in at_half
    at_all = text(client.get(f"{PAGE}?threshold=0"))
    assert "What would have been decided at 0 " in at_all
    assert "decided stays 0 0" in at_all
    for junk in ("junk", "nan", "inf", "-1", "2", "%00"):
        assert "What would have been decided at 0.5" in text(client.get(f"{PAGE}?threshold={junk}&period={junk}"))


def test_a_distrusted_estimate_is_said_so(signed_in):
    version = version_with_labels()
    day(version, 1)
    LossEvidence.objects.create(
        version=version,
        loss="error",
        tolerance=0.01,
        log_e=50.0,
        log_cusum=50.0,
        count=500,
        sum_x=1,
        sum_sq=1,
        labels=500,
    )
    client = signed_in(SEE)
    response = client.get(PAGE)
    assert "Not trusted: the labels that came do not fit the estimate." in text(response)
    assert "turn out wrong" not in text(response), "an alert of an earlier release did not say in which direction"
    assert "card distrusted" in response.content.decode()

    for side, words in (("more", "More answers"), ("fewer", "Fewer answers")):
        facts = {"wrong": 52, "expected": 88.0, "labels": 400, "evidence": 312.0, "limit": 180.0}
        shares = {"positive": "<b>churned</b>", "positives": 53, "likely": 89.2}
        evidence = {"side": side, **facts, **shares, "until": "2026-03-10T00:00:00Z"}
        raise_alert(version, Cause.TRUST, "warning", features=[], evidence=evidence)
        said = text(client.get(PAGE))
        assert (
            f"{words} turn out wrong than estimated: 13.0 % of 400 of March 9, 2026, where 22.0 % were to be" in said
        ), said
        assert "<b>churned</b>: 13.2 %, where its scores let 22.3 % be expected." in unescape(said)


def test_of_several_classes_each_is_told_beside_what_was_expected_of_it(signed_in):
    version = several_classes.champion()
    for number, labelled in ((0, 500), (1, 500), (11, 0)):
        several_classes.day(version, number, labelled=labelled, start=timezone.now() - timedelta(days=12))
    page = text(signed_in(SEE).get("/models/flowers/performance/"))
    assert "Accuracy by the day of the predictions" in page
    assert "Accuracy was 0." in page
    assert "as usual" in page
    assert "Of 1,500 predictions 1,000 have a label (66.7 %)." in page
    assert "The estimate: Not known yet" in page
    for figure in ("F1, mean over classes 0.", "AUC, mean over classes 0.", "Recall, mean over classes 0."):
        assert figure in page
    assert "Class by class each against all others Class Precision Recall F1 AUC setosa 0." in page
    of_setosa = page.partition("AUC setosa ")[2].partition(" versicolor ")[0].partition(" virginica ")[0]
    assert of_setosa.count("estimated 0.") == 4
    assert "What would have been decided" not in page


def test_a_regression_shows_what_is_expected_of_its_errors(signed_in):
    version = regressions.champion()
    flats, _ = regressions.rents(400, 3)
    ship([regressions.asked(version, flats, timezone.now())], beside=Folding())
    expected = performance_report("rent", now=timezone.now()).estimated
    page = text(signed_in(SEE).get("/models/rent/performance/"))
    assert page.count(measure(expected["mae"].value)) >= 2, "among the figures, and of the day"
    assert measure(expected["rmse"].value) in page
    assert f"± {measure(2 * expected['rmse'].sampling_error)}" in page
    assert "is probably" in page


def test_without_rows_reference_or_version_it_says_what_to_do(signed_in):
    client = signed_in(SEE)
    RegisteredModel.objects.create(name="draft")
    assert "No version was registered yet." in text(client.get("/models/draft/performance/"))
    ready(model="fraud")
    assert "push it with a sample (--sample) and labels (--labels)" in text(client.get("/models/fraud/performance/"))
    version_with_labels()
    assert "not yet: 0 of 200 labels" in text(client.get(PAGE))


def a_day_of_segments(version, rows=1500):
    given = customers(rows)
    answer = asked(version, given, timezone.now() - timedelta(days=1))
    tell(answer, {row: bool(given["truth"][row]) for row in range(rows)})


def test_segments_have_a_table_and_a_sentence(signed_in):
    version = segmented_version()
    with declared_segments("plan", "age", "country"):
        a_day_of_segments(version)
        page = text(signed_in(SEE, "view_inputs").get(PAGE))
    assert "By plan Treated otherwise than the others, beyond a limit and not by chance: pro, free." in page
    assert "Selected ÷ others" in page
    assert page.count("beyond the limit") >= 3
    assert "By age" in page
    assert "By country unknown input &#x27;country&#x27;. Expected: age, plan." in page
    assert "Counted since" not in page


def test_values_of_segments_are_inputs(signed_in):
    version = segmented_version()
    with declared_segments("plan"):
        a_day_of_segments(version, 500)
        page = text(signed_in(SEE).get(PAGE))
    assert "By plan Its values are inputs" in page
    assert "free" not in page


def test_few_rows_of_a_segment_read_as_not_yet(signed_in):
    version = segmented_version()
    with declared_segments("plan", rows=400):
        a_day_of_segments(version, 500)
        page = text(signed_in(SEE, "view_inputs").get(PAGE))
    assert "of 400 labels" in page
    assert "There are too few rows to hold one segment against the others." in page


@pytest.fixture
def segments():
    with declared_segments("plan", "age"):
        yield


@pytest.mark.usefixtures("segments")
def test_thirty_days_take_under_a_tenth_of_a_second_and_as_many_queries_as_one(signed_in):
    version = version_with_labels()
    client = signed_in(SEE, "view_inputs")
    counts, times = [], []
    for days in (range(1, 2), range(2, 8)):
        for days_ago in days:
            day(version, days_ago, labelled=0.6)
        client.get(PAGE)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert client.get(PAGE).status_code == 200
        counts.append(len(captured))
    for _ in range(5):
        began = time.process_time()
        client.get(PAGE)
        times.append(time.process_time() - began)
    assert counts[0] == counts[1] <= 20
    assert min(times) < 0.1, times
