"""What a version was asked in its last days becomes what is normal, with an Event, and nothing is lost by it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from tests.django.command_line import trivet
from tests.django.people import person
from tests.django.test_performance_report import champion, truths_of
from tests.django.watched import count, keep_labels
from trivet import signals
from trivet.control.monitoring import accepting
from trivet.control.monitoring.accepting import accept_as_normal
from trivet.control.monitoring.alerts import raise_alert
from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.models import (
    Alert,
    AlertState,
    Cause,
    Grain,
    HeldAgainst,
    LossEvidence,
    Monitor,
    Profile,
    ReferenceProfile,
    Severity,
)
from trivet.control.monitoring.packing import unpack
from trivet.control.monitoring.references import labelled_reference, watched
from trivet.control.monitoring.watching import watch
from trivet.control.registry.models import Event, ModelVersion
from trivet.control.registry.snapshots import build_snapshot
from trivet.core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from trivet.core.profile.labels import fold_labels
from trivet.core.profile.layout import Answers

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


NOW = timezone.now()
THIS_HOUR = begin_of(NOW, Grain.HOUR)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(timezone, "now", lambda: NOW)  # no hour begins meanwhile


def asked(version: ModelVersion, hours: int, *, first: int = 1) -> None:
    """Let a version be asked by older people in each of the last `hours` that are over."""
    for ago in range(first, hours + 1):
        count(version, THIS_HOUR - ago * HOUR, 500, seed=ago, older=12.0)


def raised(version: ModelVersion, cause: Cause = Cause.DRIFT) -> Alert:
    return raise_alert(version, cause, Severity.WARNING, features=[], evidence={})


def test_the_last_days_become_the_reference_and_the_one_before_is_kept():
    version = champion()
    before = watched("churn", version.digest)
    assert before is not None
    asked(version, 40)
    heard: list[Alert] = []
    signals.alert_resolved.connect(receiver := lambda alert, **_: heard.append(alert))
    opened, before_it = raised(version), build_snapshot()
    alert = accept_as_normal(alert=opened.pk, days=1, actor="cli:ana", reason="a campaign that stays")
    signals.alert_resolved.disconnect(receiver)

    assert alert.state == AlertState.RESOLVED
    after_it = build_snapshot(before_it)
    assert after_it.generation == before_it.generation + 1
    assert all(after_it.models[name] is entry for name, entry in before_it.models.items()), (
        "nothing that answers has changed"
    )
    found = watched("churn", version.digest)
    assert found is not None
    reference = found.reference
    assert (reference.source, reference.whole.rows, len(reference.chunks)) == ("accepted", 23 * 500, 23)
    assert reference.features == before.reference.features
    assert reference.whole == sum(reference.chunks[1:], start=reference.chunks[0])
    rows = ReferenceProfile.objects.order_by("pk").values_list("sha256", "is_current")
    assert list(rows) == [(before.sha256, False), (found.sha256, True)]
    event = Event.objects.first()
    assert (event.action, event.actor, event.version, event.reason) == (
        "accept_as_normal",
        "cli:ana",
        1,
        "a campaign that stays",
    )
    assert (event.before["reference"], event.after["reference"]) == (before.sha256, found.sha256)
    assert (event.after["rows"], event.after["days"]) == (23 * 500, 1)


def test_afterwards_what_moved_is_quiet_and_what_moves_back_is_found():
    version = champion()
    asked(version, 30)
    list(watch(THIS_HOUR + timedelta(minutes=5)))
    alert = Alert.objects.get(cause=Cause.DRIFT)
    accept_as_normal(alert=alert.pk, days=1, actor="cli:ana")
    assert Monitor.objects.get().mean_evidence == 0.0

    for hour in range(12):
        count(version, THIS_HOUR + hour * HOUR, 500, seed=100 + hour, older=12.0)
    list(watch(THIS_HOUR + 12 * HOUR + timedelta(minutes=5)))
    assert Monitor.objects.get().mean_evidence < 2
    for hour in range(12, 20):
        count(version, THIS_HOUR + hour * HOUR, 500, seed=100 + hour)
    list(watch(THIS_HOUR + 20 * HOUR + timedelta(minutes=5)))
    (again,) = Alert.objects.filter(cause=Cause.DRIFT).exclude(state=AlertState.RESOLVED)
    assert "age" in again.features


def test_whoever_watches_meanwhile_holds_no_window_against_the_reference_before():
    version = champion()
    asked(version, 30)
    judging = watch(THIS_HOUR + timedelta(minutes=5))
    for _ in range(8):
        next(judging)
    accept_as_normal(alert=raised(version).pk, days=1, actor="cli:ana")
    until = Monitor.objects.get().until
    assert list(judging) == []
    monitor = Monitor.objects.get()
    assert (monitor.until, monitor.mean_evidence) == (until, 0.0)
    list(watch(THIS_HOUR + timedelta(minutes=5)))
    assert Monitor.objects.get().until == THIS_HOUR


def labelled(version: ModelVersion, *, flipped: float) -> None:
    """Say what turned out true of half of what a version was asked, wrong more often than on its reference."""
    found = watched(version.model.name, version.digest)
    assert found is not None
    for profile in Profile.objects.filter(version=version):
        rows = unpack(profile.payload).rows // 2
        chances = np.random.default_rng(profile.pk).uniform(0.2, 0.8, rows)
        truths = truths_of(chances, profile.pk, flipped=flipped)
        words = ["churned" if chance >= 0.5 else "stays" for chance in chances]
        table = fold_labels(found.reference, Answers([chances], words), truths.tolist())
        keep_labels(version, profile.start, table)


def test_a_movement_that_is_accepted_is_no_harm_that_is():
    version = champion()
    asked(version, 30)
    labelled(version, flipped=0.5)
    before = watched("churn", version.digest)
    accept_as_normal(alert=raised(version).pk, days=1, actor="cli:ana")
    found = watched("churn", version.digest)
    assert before is not None
    assert found is not None
    assert found.reference.labels is None
    assert labelled_reference(found).labels == before.reference.labels
    assert found.reference.calibrations == before.reference.calibrations


def test_harm_that_is_accepted_is_what_is_usual():
    version = champion()
    asked(version, 30)
    labelled(version, flipped=0.5)
    LossEvidence.objects.create(version=version, loss=HeldAgainst.REFERENCE, tolerance=0.01, log_cusum=7.0, labels=400)
    accept_as_normal(alert=raised(version, Cause.PERFORMANCE).pk, days=1, actor="cli:ana")
    found = watched("churn", version.digest)
    assert found is not None
    reference = labelled_reference(found)
    assert reference is found.reference
    assert reference.labels is not None
    assert reference.labels.labels == sum(table.labels for table in reference.chunk_labels) == 23 * 250
    row = LossEvidence.objects.get()
    assert (row.labels, row.log_cusum) == (0, None)


def test_what_cannot_be_normal_is_refused():
    version = champion()
    asked(version, 1)
    drift = raised(version)
    with pytest.raises(
        InvalidRequest, match=r"churn 1 was asked 500 times from .*, and what is normal takes 1,000 rows"
    ):
        accept_as_normal(alert=drift.pk, actor="cli:ana")
    for days in (0, 91):
        with pytest.raises(InvalidRequest, match=f"1 to 90 days are accepted as normal, not {days}"):
            accept_as_normal(alert=drift.pk, days=days, actor="cli:ana")
    with pytest.raises(InvalidRequest, match="no days make that normal"):
        accept_as_normal(alert=raised(version, Cause.TRUST).pk, actor="cli:ana")
    asked(version, 4, first=2)
    with pytest.raises(InvalidRequest, match=r"0 predictions of churn 1 from .* have a label"):
        accept_as_normal(alert=raised(version, Cause.PERFORMANCE).pk, actor="cli:ana")
    with pytest.raises(NotFound):
        accept_as_normal(alert=999, actor="cli:ana")
    accept_as_normal(alert=drift.pk, actor="cli:ana")
    with pytest.raises(InvalidRequest, match="is over since"):
        accept_as_normal(alert=drift.pk, actor="cli:ana")
    assert ReferenceProfile.objects.count() == 2


def test_who_may_only_look_accepts_nothing_and_the_attempt_is_on_record():
    version = champion()
    asked(version, 5)
    alert = raised(version)
    with pytest.raises(PermissionDenied):
        accept_as_normal(alert=alert.pk, actor=person("view_registeredmodel", name="eve"))
    event = Event.objects.first()
    assert (event.action, event.after["action"]) == ("refuse", "accept_as_normal")
    accept_as_normal(alert=alert.pk, actor=person("view_registeredmodel", "retrain", name="ana"))
    assert Event.objects.first().actor == "user:ana"


def test_of_two_who_accept_at_once_one_is_told_so(monkeypatch):
    version = champion()
    asked(version, 5)
    first, second = raised(version), raised(version, Cause.PERFORMANCE)
    labelled(version, flipped=0.0)
    made = accepting._made

    def made_late(*arguments, **how):
        found = made(*arguments, **how)
        monkeypatch.setattr(accepting, "_made", made)
        accept_as_normal(alert=first.pk, actor="cli:ben")
        return found

    monkeypatch.setattr(accepting, "_made", made_late)
    with pytest.raises(Conflict, match="accepted meanwhile"):
        accept_as_normal(alert=second.pk, actor="cli:ana")
    second.refresh_from_db()
    assert second.state == AlertState.OPEN
    assert ReferenceProfile.objects.filter(is_current=True).count() == 1


def test_it_is_a_verb(capsys):
    version = champion()
    asked(version, 30)
    alert = raised(version)
    assert trivet("alerts", "accept", alert.pk, "36h", "-m", "a campaign") == 0
    told = f"alert {alert.pk} is over: what churn 1 was asked in 2 d is its reference now"
    assert told in capsys.readouterr().out
    assert Event.objects.first().after["days"] == 2
    assert trivet("alerts", "accept") == 2
    assert "`accept ID 7d`" in capsys.readouterr().err
