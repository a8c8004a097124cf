"""What is watched: quiet traffic alarms nobody, a shift alarms once and by name, and people answer with an Event."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from django.core import mail
from django.utils import timezone

from tests.django.people import person
from tests.django.watched import count, keep, rows_of_churn, watched_version
from tests.django.worlds import CHURN
from trivet import signals
from trivet.control.monitoring import telling, watching
from trivet.control.monitoring.alerts import (
    acknowledge_alert,
    forget_evidence,
    raise_alert,
    snooze_alert,
    wake_alerts,
)
from trivet.control.monitoring.models import (
    Alert,
    AlertState,
    Cause,
    HeldAgainst,
    LossEvidence,
    Monitor,
    Profile,
    Severity,
)
from trivet.control.monitoring.references import watched
from trivet.control.monitoring.sentences import sentence_of
from trivet.control.monitoring.telling import Telling
from trivet.control.monitoring.watching import watch
from trivet.control.registry import actions
from trivet.control.registry.models import Event, ModelVersion, RegisteredModel
from trivet.core.errors import InvalidRequest, NotFound, PermissionDenied, Unavailable
from trivet.core.profile.layout import Answers

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def hours(
    version: ModelVersion, first: int, last: int, *, rows: int = 500, older: float = 0.0, unseen: float = 0.0
) -> None:
    for hour in range(first, last):
        count(version, START + hour * HOUR, rows, seed=hour, older=older, unseen=unseen)


def judged(until: int) -> list[float]:
    """Return the mean evidence after each window that is over `until` hours after the start."""
    found = watch(START + until * HOUR + timedelta(minutes=5))
    return [verdict.mean_evidence for verdict in found if not isinstance(verdict, datetime)]


def test_quiet_traffic_raises_nothing():
    version = watched_version()
    hours(version, 0, 48)

    means = judged(48)
    assert len(means) == 48
    assert max(means) < 2
    assert not Alert.objects.exists()
    monitor = Monitor.objects.get()
    assert (monitor.windows, monitor.options["hours"]) == (48, 1)
    assert monitor.until == START + 48 * HOUR
    assert {series.name for series in monitor.series.all()} == {
        "drift:age",
        "range:age",
        "missing:age",
        "drift:plan",
        "unseen:plan",
        "missing:plan",
        "decisions",
        "score",
    }


def test_each_window_is_judged_once():
    version = watched_version()
    hours(version, 0, 6)
    assert len(judged(4)) == 4
    assert judged(4) == []
    assert len(judged(6)) == 2


def test_a_shift_is_found_and_named():
    version = watched_version()
    hours(version, 0, 24)
    hours(version, 24, 36, older=12.0)
    heard: list[Alert] = []
    signals.alert_raised.connect(receiver := lambda alert, **_: heard.append(alert))
    judged(36)
    signals.alert_raised.disconnect(receiver)

    alert = Alert.objects.get()
    assert (alert.cause, alert.state) == (Cause.DRIFT, AlertState.OPEN)
    assert set(alert.features) <= {"age", "score", "decisions"}
    assert "age" in alert.features
    assert alert.evidence["budget"] == 90 * 24
    assert "What churn 1 is asked has changed: age" in sentence_of(alert)
    assert alert.severity == Severity.INFO  # an hour may differ as it does each week, until there is a month of them


def test_a_value_that_nobody_had_is_found():
    version = watched_version()
    hours(version, 0, 12)
    hours(version, 12, 20, unseen=0.15)
    judged(20)

    assert "plan" in Alert.objects.get().features


def test_hours_of_few_rows_are_judged_by_the_day_and_may_warn():
    version = watched_version()
    hours(version, 0, 96, rows=100)
    hours(version, 96, 240, rows=100, older=12.0)
    judged(240)

    alert = Alert.objects.get()
    assert Monitor.objects.get().options["hours"] == 24
    assert (alert.evidence["budget"], alert.severity) == (90.0, Severity.WARNING)


@pytest.mark.parametrize(("of_plan", "severity"), [(0.09, Severity.INFO), (0.11, Severity.WARNING)])
def test_who_is_warned_goes_by_how_much_answers_depend_on_what_drifts(of_plan: float, severity: Severity):
    version = watched_version(importance=(1 - of_plan, of_plan))
    hours(version, 0, 96, rows=100)
    hours(version, 96, 240, rows=100, unseen=0.3)
    judged(240)

    alert = Alert.objects.get()
    assert (alert.features, alert.severity) == (["plan"], severity)


def test_windows_of_too_few_rows_are_judged_together():
    version = watched_version()
    for day in range(8):
        count(version, START + day * 24 * HOUR, 20, seed=day)

    assert len(judged(8 * 24)) == 2  # 60 rows each; the last 40 wait
    assert Monitor.objects.get().until == START + 6 * 24 * HOUR


def test_hours_without_a_row_say_nothing():
    version = watched_version()
    hours(version, 0, 20)
    hours(version, 24, 26)

    assert len(judged(26)) == 22
    assert Monitor.objects.get().until == START + 26 * HOUR


def test_an_alert_is_over_after_a_quiet_day():
    version = watched_version()
    hours(version, 0, 24)
    hours(version, 24, 30, older=12.0)
    judged(30)
    alert = Alert.objects.get()
    acknowledge_alert(alert=alert.pk, actor="cli:ana", reason="a new campaign")
    hours(version, 30, 55)
    heard: list[Alert] = []
    signals.alert_resolved.connect(receiver := lambda alert, **_: heard.append(alert))
    judged(55)
    signals.alert_resolved.disconnect(receiver)

    alert.refresh_from_db()
    assert (alert.state, alert.acknowledged_by) == (AlertState.RESOLVED, "cli:ana")
    assert Alert.objects.count() == 1


def test_one_alert_of_a_cause_however_long_it_lasts():
    version = watched_version()
    hours(version, 0, 24)
    hours(version, 24, 72, older=12.0)
    judged(72)

    assert Alert.objects.count() == 1


def test_moved_traffic_begins_anew():
    version = watched_version()
    hours(version, 0, 24)
    hours(version, 24, 26, older=12.0)
    judged(26)
    assert Monitor.objects.get().mean_evidence > 10

    actions.promote(model="churn", version=1, actor="cli:ana", reason="again")
    judged(26)
    monitor = Monitor.objects.get()
    assert (monitor.mean_evidence, monitor.windows) == (0.0, 0)


def raised(severity: Severity = Severity.WARNING) -> Alert:
    return raise_alert(
        watched_version(), Cause.DRIFT, severity, features=["age"], evidence={"mean": 3000.0, "budget": 2160.0}
    )


def test_who_may_not_answer_an_alert_is_refused_with_an_event():
    alert = raised()
    stranger = person("view_registeredmodel", name="eve")
    with pytest.raises(PermissionDenied):
        acknowledge_alert(alert=alert.pk, actor=stranger)
    assert Event.objects.filter(action="refuse").count() == 1
    alert.refresh_from_db()
    assert alert.state == AlertState.OPEN

    acknowledge_alert(alert=alert.pk, actor=person("view_registeredmodel", "retrain", name="ana"), reason="seen")
    event = Event.objects.first()
    assert (event.action, event.actor, event.reason) == ("acknowledge_alert", "user:ana", "seen")


def test_who_may_not_know_of_a_model_knows_of_no_alert_of_it():
    alert = raised()
    with pytest.raises(NotFound, match=rf"^there is no alert {alert.pk}\.$"):
        acknowledge_alert(alert=alert.pk, actor=person(name="eve"))


def test_an_alert_sleeps_until_its_time():
    alert = raised()
    until = timezone.now() + timedelta(hours=3)
    snooze_alert(alert=alert.pk, until=until, actor="cli:ana")
    assert list(Telling()(timezone.now())) == []

    assert wake_alerts(until - timedelta(minutes=1)) == 0
    assert wake_alerts(until + timedelta(minutes=1)) == 1
    alert.refresh_from_db()
    assert alert.state == AlertState.OPEN


def test_what_makes_no_sense_is_refused():
    alert = raised()
    with pytest.raises(NotFound, match="no alert 999"):
        acknowledge_alert(alert=999, actor="cli:ana")
    with pytest.raises(InvalidRequest, match="a time to come"):
        snooze_alert(alert=alert.pk, until=timezone.now() - HOUR, actor="cli:ana")
    with pytest.raises(InvalidRequest, match=r"for 30 days at most, not until .*accepted as normal instead"):
        snooze_alert(alert=alert.pk, until=timezone.now() + 999 * 24 * HOUR, actor="cli:ana")
    Alert.objects.update(state=AlertState.RESOLVED, resolved_at=timezone.now())
    with pytest.raises(InvalidRequest, match="is over since"):
        acknowledge_alert(alert=alert.pk, actor="cli:ana")


def test_people_are_told_once(settings):
    settings.TRIVET_ALERT_EMAILS = ["ana@example.com"]
    settings.TRIVET_PUBLIC_URL, settings.ROOT_URLCONF = "https://ml.example.com", "trivet.server.urls"
    alert = raised()
    telling_now = Telling()

    assert list(telling_now(timezone.now())) == [True]
    assert list(telling_now(timezone.now())) == []
    (sent,) = mail.outbox
    assert sent.subject == "[warning] churn: drift"
    assert sentence_of(alert) in sent.body
    assert "https://ml.example.com/" in sent.body

    raise_alert(alert.version, Cause.DRIFT, Severity.CRITICAL, features=["age"], evidence={})
    assert list(telling_now(timezone.now())) == [True]
    assert mail.outbox[-1].subject == "[critical] churn: drift"


def test_nobody_is_told_of_what_is_only_shown(settings):
    settings.TRIVET_ALERT_EMAILS = ["ana@example.com"]
    raised(Severity.INFO)

    assert list(Telling()(timezone.now())) == []
    assert mail.outbox == []


def test_who_did_not_take_it_is_tried_again_and_nobody_else(settings, monkeypatch):
    settings.TRIVET_ALERT_EMAILS = ["ana@example.com"]
    settings.TRIVET_ALERT_WEBHOOKS = ["https://hooks.example.com/a"]
    alert, posted, telling_now = raised(), [], Telling()

    def send(url, message, **_more):
        posted.append((url, message))
        if len(posted) == 1:
            raise Unavailable("nobody took it")

    monkeypatch.setattr(telling, "send", send)
    assert list(telling_now(timezone.now())) == [True, False]
    assert list(telling_now(timezone.now())) == [True, True]
    assert len(mail.outbox) == 1
    assert posted[0] == posted[1]
    url, message = posted[0]
    assert url == "https://hooks.example.com/a"
    assert (message["event"], message["model"], message["severity"]) == ("alert", "churn", "warning")
    assert message["text"] == sentence_of(alert)


def weeks_of(version: ModelVersion, weeks: int, *, night_older: float) -> None:
    """Count one row of hours each week: by night others ask than by day."""
    for day in range(weeks * 7):
        for hour in (2, 14):
            start = START + (day * 24 + hour) * HOUR
            count(version, start, 400, seed=day * 24 + hour, older=night_older if hour == 2 else 0.0)


def test_an_hour_that_differs_as_it_does_each_week_alarms_nobody_after_a_month(monkeypatch):
    monkeypatch.setattr(watching, "window_length", lambda *_: HOUR)
    version = watched_version()
    weeks_of(version, 6, night_older=10.0)
    judged(28 * 24)
    Alert.objects.all().delete()
    forget_evidence(version)

    assert max(judged(6 * 7 * 24)) < 2
    assert not Alert.objects.exists()
    assert Monitor.objects.get().series.filter(name="traffic").exists()


def test_traffic_that_stops_is_found_after_a_month(monkeypatch):
    monkeypatch.setattr(watching, "window_length", lambda *_: HOUR)
    version = watched_version()
    weeks_of(version, 5, night_older=0.0)
    count(version, START + (36 * 24 + 3) * HOUR, 60)  # a day later somebody asks again

    judged(36 * 24 + 4)
    assert "traffic" in Alert.objects.get().features


def odd_hour(version: ModelVersion, hour: int, ages: np.ndarray) -> None:
    """Count an hour in which these ages were asked about."""
    count(version, START + hour * HOUR, len(ages), seed=hour, ages=ages)


def test_M02_one_client_in_a_hundred_that_sends_nonsense_alarms_nobody():
    version = watched_version()
    rng = np.random.default_rng(5)
    for hour in range(200):
        ages = rng.integers(18, 78, 500).astype(float)
        ages[:5] = rng.choice([1e300, -1e300, 18.0, 77.0, np.inf, np.nan], 5)
        odd_hour(version, hour, ages)

    assert max(judged(200)) < 2
    assert not Alert.objects.exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, 40.0])
def test_M02_a_storm_of_one_value_is_named_and_breaks_nothing(value):
    version = watched_version()
    hours(version, 0, 12)
    for hour in range(12, 16):
        odd_hour(version, hour, np.full(500, value))

    judged(16)
    assert "age" in Alert.objects.get().features


def test_a_profile_that_was_damaged_keeps_no_other_version_from_being_watched(caplog):
    broken, sound = watched_version("broken"), watched_version("sound")
    hours(broken, 0, 3)
    Profile.objects.update(payload=b"damaged")
    hours(sound, 0, 3)

    assert len(judged(3)) == 3
    assert Monitor.objects.get(version=sound).windows == 3
    assert "event=not_watched model=broken" in caplog.text


def test_what_one_version_is_asked_resolves_no_alert_of_another():
    drifting, quiet = watched_version(), watched_version(rows=rows_of_churn(1000))
    assert (drifting.model, drifting.number, quiet.number) == (quiet.model, 1, 2)
    hours(drifting, 0, 12)
    hours(drifting, 12, 60, older=12.0)
    hours(quiet, 0, 60)
    judged(60)

    alert = Alert.objects.get()  # and not one an hour
    assert (alert.version, alert.state) == (drifting, AlertState.OPEN)


def test_traffic_that_was_moved_away_alarms_nobody(monkeypatch):
    monkeypatch.setattr(watching, "window_length", lambda *_: HOUR)
    version = watched_version()
    weeks_of(version, 5, night_older=0.0)
    judged(35 * 24)
    RegisteredModel.objects.update(generation=99)  # another version was promoted
    judged(36 * 24)
    judged(37 * 24)

    assert not Alert.objects.exists()


def test_a_version_that_is_asked_no_more_has_no_open_alert():
    version = watched_version()
    hours(version, 0, 12)
    hours(version, 12, 16, older=12.0)
    judged(16)
    assert Alert.objects.get().state == AlertState.OPEN

    judged(16 + 72)
    assert Alert.objects.get().state == AlertState.RESOLVED


def test_two_who_watch_judge_each_window_once():
    version = watched_version()
    hours(version, 0, 2)
    hours(version, 2, 4, older=12.0)
    now = START + 4 * HOUR + timedelta(minutes=5)
    one, other = watch(now), watch(now)
    seen = [next(one), next(other, None), *one, *other]

    assert len([verdict for verdict in seen if verdict is not None]) == 4
    assert Monitor.objects.get().windows == 4


def test_a_name_however_long_is_watched():
    long = "x" * 300
    signature = msgspec.structs.replace(
        CHURN, inputs=(msgspec.structs.replace(CHURN.inputs[0], name=long), CHURN.inputs[1])
    )
    inputs, outputs = rows_of_churn()
    version = watched_version(signature=signature, rows=({long: inputs["age"], "plan": inputs["plan"]}, outputs))
    found = watched(version.model.name, version.digest)
    assert found is not None
    for hour in range(3):
        counts = found.reference.fold(
            {long: np.full(500, 70.0), "plan": ["pro"] * 500}, Answers([np.zeros(500)], ["stays"] * 500)
        )
        keep(version, START + hour * HOUR, counts)

    assert len(judged(3)) == 3
    assert max(len(name) for name in Monitor.objects.get().series.values_list("name", flat=True)) == 200


def test_a_long_silence_is_passed_over_in_few_steps():
    version = watched_version()
    hours(version, 0, 2)
    hours(version, 9000, 9002)

    assert len(list(watch(START + 9002 * HOUR + timedelta(minutes=5)))) < 40  # days of four weeks at most


def test_each_evidence_is_forgotten_with_its_own_alert():
    version = watched_version()
    hours(version, 0, 3, older=12.0)
    judged(3)
    for loss in HeldAgainst:
        LossEvidence.objects.create(version=version, loss=loss, tolerance=0.01, log_e=9.0, labels=400)
    trust = raise_alert(version, Cause.TRUST, Severity.WARNING, features=[], evidence={})
    acknowledge_alert(alert=trust.pk, actor="cli:ana")

    kept = {row.loss: row.log_e for row in LossEvidence.objects.all()}
    assert kept == {HeldAgainst.ESTIMATE: 0.0, HeldAgainst.ESTIMATE_FROM_BELOW: 0.0, HeldAgainst.REFERENCE: 9.0}
    assert Monitor.objects.get().mean_evidence > 2


def test_an_alert_that_becomes_worse_later_is_tried_for_an_hour_again(settings, monkeypatch):
    settings.TRIVET_ALERT_EMAILS = ["ana@example.com"]
    alert = raised()
    Alert.objects.update(opened_at=timezone.now() - timedelta(days=2), told_at=timezone.now())
    raise_alert(alert.version, Cause.DRIFT, Severity.CRITICAL, features=["age"], evidence={})
    tries = []

    def refused(*_arguments, **_more):
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("of a mail backend of somebody's own")

    monkeypatch.setattr(telling, "send_mail", refused)
    telling_now = Telling()
    assert [list(telling_now(timezone.now())) for _ in range(4)] == [[False], [False], [True], []]


def test_a_mail_server_that_says_nothing_holds_up_nobody_for_long(settings, monkeypatch):
    settings.TRIVET_ALERT_EMAILS = ["ana@example.com"]
    raised()
    over = threading.Event()
    monkeypatch.setattr(telling, "SECONDS", 0.05)
    monkeypatch.setattr(telling, "send_mail", lambda *_arguments, **_more: over.wait(30))

    assert list(Telling()(timezone.now())) == [False]
    over.set()
