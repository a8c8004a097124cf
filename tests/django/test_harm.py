"""A version that answers worse than on its reference: estimated, realised, below its floor; and when that is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.core import mail

from tests.django import test_class_performance as several_classes
from tests.django.command_line import trivet
from tests.django.test_performance_report import START as FIRST_NOON, champion, day
from tests.django.watched import count, keep, keep_labels, watched_version
from trivet.control.monitoring import watching
from trivet.control.monitoring.alerts import acknowledge_alert
from trivet.control.monitoring.judging import judge
from trivet.control.monitoring.models import (
    OF_ESTIMATE,
    Alert,
    AlertState,
    Cause,
    HeldAgainst,
    LossEvidence,
    Monitor,
    Severity,
)
from trivet.control.monitoring.references import watched
from trivet.control.monitoring.sentences import sentence_of
from trivet.control.monitoring.telling import Telling
from trivet.control.monitoring.watching import watch
from trivet.control.registry import declarations
from trivet.control.registry.declarations import Declaration
from trivet.control.registry.models import ModelVersion
from trivet.core.profile.labels import fold_labels
from trivet.core.profile.layout import Answers
from trivet.core.signature import Input, Output, Signature

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HARD = np.arange(45.0, 55.0)  # ages of whom nobody knows whether they stay


def asked(version: ModelVersion, hours: range, *, rows: int = 500, hard: bool = False) -> None:
    for hour in hours:
        ages = np.resize(HARD, rows) if hard else None
        count(version, START + hour * HOUR, rows, seed=hour, ages=ages)


def watched_until(hour: int) -> None:
    list(watch(START + hour * HOUR + timedelta(minutes=5)))


def harm() -> Alert | None:
    return Alert.objects.filter(cause=Cause.PERFORMANCE).exclude(state=AlertState.RESOLVED).first()


def declared(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> None:
    monkeypatch.setitem(declarations._declared, "churn", declaration)


def test_two_days_in_a_row_whose_estimate_is_below_its_band_are_a_warning():
    version = champion()
    asked(version, range(48), rows=100)
    asked(version, range(48, 72), rows=100, hard=True)
    watched_until(72)
    assert Monitor.objects.get().options["hours"] == 24
    assert harm() is None, "one day is chance"

    asked(version, range(72, 96), rows=100, hard=True)
    watched_until(96)
    alert = harm()
    assert alert is not None
    assert (alert.severity, alert.version, alert.features) == (Severity.WARNING, version, [])
    facts = alert.evidence["below_band"]
    assert (facts["metric"], facts["hours"], facts["rows"]) == ("auc", 48, 2400)
    assert facts["value"] < facts["low"] < facts["high"]
    said = sentence_of(alert)
    assert said.startswith("churn 1 answers worse than it should. Without labels, its AUC is estimated at 0.5")
    assert "and was low for 2 days: on its reference it was 0." in said


def test_a_quiet_version_is_told_nothing_of():
    version = champion()
    asked(version, range(24 * 12), rows=100)
    watched_until(24 * 12)
    assert harm() is None
    monitor = Monitor.objects.get()
    assert (monitor.low_windows, monitor.odd_windows, monitor.fine_windows) == (0, 0, 12)


def test_before_an_hour_has_weeks_to_compare_with_low_ones_fill_a_day():
    version = champion()
    asked(version, range(10))
    asked(version, range(10, 34), hard=True)
    watched_until(33)
    assert harm() is None, "it may be a night"
    watched_until(34)
    alert = harm()
    assert alert is not None
    assert alert.evidence["below_band"]["hours"] == 24


def weeks(version: ModelVersion, first: int, last: int, *, hard_nights: bool = False, hard_days: bool = False) -> None:
    """Let a version be asked at two and three by night and by day, from the day `first` to before `last`."""
    for number in range(first, last):
        for hour in (2, 3, 14, 15):
            is_hard = hard_nights if hour < 12 else hard_days
            asked(version, range(number * 24 + hour, number * 24 + hour + 1), rows=400, hard=is_hard)


def test_a_night_that_is_always_harder_is_no_harm_and_two_hours_that_never_were_are(monkeypatch):
    monkeypatch.setattr(watching, "window_length", lambda *_: HOUR)
    version = champion()
    weeks(version, 0, 29, hard_nights=True)
    watched_until(29 * 24)
    assert Monitor.objects.get().fine_windows == 2
    assert harm() is None

    weeks(version, 29, 30, hard_nights=True, hard_days=True)
    watched_until(29 * 24 + 15)
    assert harm() is None, "the night and one hour of the day"
    watched_until(29 * 24 + 16)
    alert = harm()
    assert alert is not None
    assert alert.severity == Severity.WARNING


def test_harm_is_over_after_twenty_four_fine_windows():
    version = champion()
    asked(version, range(24), hard=True)
    watched_until(24)
    assert harm() is not None
    asked(version, range(24, 48))
    watched_until(47)
    assert harm() is not None
    watched_until(48)
    assert harm() is None
    assert Alert.objects.get(cause=Cause.PERFORMANCE).state == AlertState.RESOLVED


def trusted(version: ModelVersion, labels: int) -> None:
    LossEvidence.objects.create(version=version, loss=HeldAgainst.ESTIMATE, tolerance=0.01, labels=labels)


def test_a_trusted_estimate_below_its_floor_is_critical_at_once(monkeypatch, settings, capsys):
    settings.TRIVET_ALERT_EMAILS = ["ana@example.com"]
    declared(monkeypatch, Declaration(metric="accuracy", floor=0.62))
    version = champion()
    trusted(version, 400)
    asked(version, range(2))
    watched_until(2)
    assert harm() is None

    asked(version, range(2, 3), hard=True)
    watched_until(3)
    alert = harm()
    assert alert is not None
    assert (alert.severity, set(alert.evidence)) == (Severity.CRITICAL, {"below_floor"})
    said = "Its accuracy is estimated at 0.5"
    assert said in sentence_of(alert)
    assert "below the floor of 0.62 that was declared" in sentence_of(alert)
    list(Telling()(alert.news_at))
    told = {message.subject: message.body for message in mail.outbox}
    assert said in told["[critical] churn: performance"]
    assert trivet("alerts", "churn") == 1
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "below", "floor", "why"),
    [
        (150, None, 0.62, "too few labels have agreed"),
        (400, None, 0.56, "chance may do that"),
        (400, None, None, "none was declared"),
        (400, 9.0, 0.62, "labels say that it is better than estimated"),
    ],
)
def test_below_a_floor_is_nothing_where_nobody_can_know(monkeypatch, labels, below, floor, why):
    declared(monkeypatch, Declaration(metric="accuracy", floor=floor))
    version = champion()
    trusted(version, labels)
    LossEvidence.objects.create(
        version=version, loss=HeldAgainst.ESTIMATE_FROM_BELOW, tolerance=0.01, log_cusum=below, labels=labels
    )
    asked(version, range(1), hard=True)
    watched_until(1)
    assert harm() is None, why


def test_a_floor_of_a_measure_that_a_version_has_not_is_none_of_another(monkeypatch):
    declared(monkeypatch, Declaration(metric="r2", floor=0.9))
    version = champion()
    trusted(version, 400)
    asked(version, range(1), hard=True)
    watched_until(1)
    assert harm() is None


def judged_until(number: int) -> None:
    list(judge(FIRST_NOON + (number + 8) * DAY))


def test_labels_that_turn_out_wrong_more_often_than_on_the_reference_are_critical():
    version = champion()
    for number in range(3):
        day(version, number)
    judged_until(2)
    assert harm() is None

    for number in range(3, 8):
        day(version, number, flipped=0.6)
    judged_until(7)
    alert = harm()
    assert alert is not None
    assert alert.severity == Severity.CRITICAL
    facts = alert.evidence["realised"]
    assert facts["wrong"] / facts["labels"] > 0.45 > facts["usual"] > 0.3
    assert facts["evidence"] >= facts["limit"] == 100
    said = sentence_of(alert)
    assert "% of 400 answers of 2026-03-09 were wrong, where at most 3" in said
    assert "and 100 is enough" in said

    day(version, 8)
    judged_until(8)
    alert = harm()
    assert alert is not None
    assert alert.evidence["realised"] == facts, "what a good day was like is no reason"


def test_evidence_beyond_all_doubt_is_told_in_words():
    version = champion()
    for number in range(9):
        day(version, number, flipped=0.9)
    judged_until(8)
    alert = harm()
    assert alert is not None
    assert alert.evidence["realised"]["evidence"] > 1e6
    assert "The evidence is over a million, and 100 is enough." in sentence_of(alert)


def test_what_is_found_is_added_to_one_alert_and_what_is_over_is_taken_away():
    version = champion()
    asked(version, range(24), hard=True)
    watched_until(24)
    first = harm()
    for number in range(5):
        day(version, number, flipped=0.6)
    judged_until(4)
    alert = harm()
    assert first is not None
    assert alert is not None
    assert alert.pk == first.pk
    assert (first.severity, alert.severity) == ("warning", "critical")
    assert set(alert.evidence) == {"below_band", "realised"}
    assert alert.told_at is None, "worse is told again"
    said = sentence_of(alert)
    assert said.index("By its labels") < said.index("Without labels")

    LossEvidence.objects.filter(loss=HeldAgainst.REFERENCE).update(log_cusum=None, quiet_days=23)
    day(version, 5)
    judged_until(5)
    alert.refresh_from_db()
    assert set(alert.evidence) == {"below_band"}
    assert alert.state == AlertState.OPEN


def test_who_acknowledges_begins_the_evidence_of_labels_anew_and_is_told_no_more():
    version = champion()
    for number in range(5):
        day(version, number, flipped=0.6)
    judged_until(4)
    alert = harm()
    assert alert is not None
    acknowledge_alert(alert=alert.pk, actor="cli:ana")
    against = {row.loss: row for row in LossEvidence.objects.all()}
    assert against[HeldAgainst.REFERENCE].labels == 0
    assert against[HeldAgainst.ESTIMATE].labels == 2000

    for number in range(5, 9):
        day(version, number, flipped=0.6)
    judged_until(8)
    alert.refresh_from_db()
    assert alert.state == AlertState.ACKNOWLEDGED


def test_an_alert_of_trust_is_one_through_days_that_come_and_go():
    version = champion()
    for number in range(4):
        day(version, number, flipped=0.6)
    judged_until(3)
    alert = Alert.objects.get(cause=Cause.TRUST)
    more, fewer = (LossEvidence.objects.filter(loss=against) for against in OF_ESTIMATE)

    def after(number: int, *quiet_days: int) -> tuple[int, int, str]:
        """Return how many days were quiet on each side, and the alert's state, after a day that follows so many quiet ones."""
        for evidence, days in zip((more, fewer), quiet_days, strict=True):
            evidence.update(log_cusum=None, sum_x=0.0, quiet_days=days)
        day(version, number)
        judged_until(number)
        alert.refresh_from_db()
        return more.get().quiet_days, fewer.get().quiet_days, alert.state

    assert after(4, 0, 23) == (1, 24, AlertState.OPEN)
    assert after(5, 22, 23) == (23, 24, AlertState.OPEN)
    more.update(log_cusum=3.0, quiet_days=23)
    day(version, 6)
    judged_until(6)
    assert more.get().quiet_days == 0, "M is not below 2 yet"
    assert after(7, 23, 22) == (24, 23, AlertState.OPEN), "of both sides"
    assert after(8, 23, 23) == (24, 24, AlertState.RESOLVED)
    assert Alert.objects.filter(cause=Cause.TRUST).count() == 1


def test_what_is_open_of_a_version_that_is_asked_no_more_is_over_once_its_labels_are_judged(settings):
    settings.TRIVET_LABELS_MATURE_HOURS = 48
    version = champion()
    for number in range(4):
        day(version, number, flipped=0.6)
    judged_until(3)
    left = {alert.cause for alert in Alert.objects.exclude(state=AlertState.RESOLVED)}
    assert left == {Cause.TRUST, Cause.PERFORMANCE}
    list(watch(FIRST_NOON + 28 * DAY))
    assert harm() is not None
    list(watch(FIRST_NOON + 30 * DAY))
    assert not Alert.objects.exclude(state=AlertState.RESOLVED).exists()


THREE = Signature(
    inputs=(Input(name="x", datatype="FP64", shape=(-1, 1)),),
    outputs=(
        Output(name="label", datatype="BYTES", shape=(-1,), classes=("a", "b", "c")),
        Output(name="probabilities", datatype="FP64", shape=(-1, 3), classes=("a", "b", "c")),
    ),
    task="classification",
)


def guesses(random: np.random.Generator, rows: int, wrong: float) -> tuple[list[str], list[str]]:
    """Return what a model of three classes decided and what turned out true, `wrong` of them otherwise."""
    said = random.integers(0, 3, rows)
    was = np.where(random.random(rows) < wrong, (said + 1) % 3, said)
    return ["abc"[place] for place in said], ["abc"[place] for place in was]


def test_errors_of_several_classes_are_held_against_the_reference_as_well():
    random = np.random.default_rng(7)
    said, was = guesses(random, 2000, 0.2)
    chances = np.eye(3)[["abc".index(word) for word in said]].ravel()
    rows = {"x": np.arange(2000.0)}, {"label": said, "probabilities": chances}
    version = watched_version("kinds", signature=THREE, rows=rows, labels=was)
    found = watched("kinds", version.digest)
    assert found is not None
    for number in range(6):
        said, was = guesses(random, 300, 0.2 if number < 3 else 0.5)
        numbers = [np.full(300, 0.9) for _ in found.reference.scores]
        keep(version, START + number * DAY, found.reference.fold({"x": np.arange(300.0)}, Answers(numbers, said)))
        keep_labels(version, START + number * DAY, fold_labels(found.reference, Answers(numbers, said), was))
    list(judge(START + 10 * DAY))
    assert harm() is None
    list(judge(START + 20 * DAY))
    alert = harm()
    assert alert is not None
    assert alert.evidence["realised"]["labels"] == 300


def asked_several(version: ModelVersion, hours: range, *, confused: bool = False) -> None:
    """Have a version of several classes asked 100 times an hour; `confused`, about what might be any of them."""
    found = watched("flowers", version.digest)
    assert found is not None
    place_of = {name: place for place, name in enumerate(several_classes.NAMES.tolist())}
    for hour in hours:
        scores, _ = several_classes.flowers(100, 1000 + hour)
        if confused:
            scores = (scores + 1) / (scores + 1).sum(1, keepdims=True)
        numbers = [scores[:, place_of[bins.name]] for bins in found.reference.scores]
        answers = Answers(numbers, several_classes.NAMES[scores.argmax(1)].tolist())
        keep(version, START + hour * HOUR, found.reference.fold({"width": scores[:, 0]}, answers))


@pytest.mark.parametrize(
    ("said", "metric", "words"),
    [
        (Declaration(), "accuracy", "its accuracy is estimated at 0."),
        (Declaration(metric="f1"), "macro_f1", "its F1, as a mean over classes, is estimated at 0."),
    ],
)
def test_two_days_in_a_row_in_which_several_classes_are_confused_are_a_warning(monkeypatch, said, metric, words):
    monkeypatch.setitem(declarations._declared, "flowers", said)
    version = several_classes.champion()
    asked_several(version, range(72))
    asked_several(version, range(72, 96), confused=True)
    watched_until(96)
    assert harm() is None, "one day is chance"

    asked_several(version, range(96, 120), confused=True)
    watched_until(120)
    alert = harm()
    assert alert is not None
    assert (alert.severity, set(alert.evidence)) == (Severity.WARNING, {"below_band"})
    facts = alert.evidence["below_band"]
    assert (facts["metric"], facts["hours"], facts["rows"]) == (metric, 48, 2400)
    assert facts["value"] < facts["low"] < facts["high"] <= 1
    assert words in sentence_of(alert)


@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_trusted_estimate_of_several_classes_below_the_floor_is_critical(monkeypatch, is_trusted):
    monkeypatch.setitem(declarations._declared, "flowers", Declaration(metric="f1", floor=0.6))
    version = several_classes.champion()
    if is_trusted:
        trusted(version, 400)
    asked_several(version, range(24))
    watched_until(24)
    assert harm() is None

    asked_several(version, range(24, 48), confused=True)
    watched_until(48)
    alert = harm()
    assert (alert is not None) == is_trusted
    if alert is not None:
        assert (alert.severity, alert.evidence["below_floor"]["floor"]) == (Severity.CRITICAL, 0.6)
        assert "Its F1, as a mean over classes, is estimated at" in sentence_of(alert)
