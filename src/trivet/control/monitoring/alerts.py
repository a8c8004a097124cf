"""Alerts: one for a version and a cause, from when it is raised until it is quiet again; what people do with them, with an Event.

Whoever may promote a model or have it trained again may acknowledge and snooze its alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import router, transaction
from django.utils import timezone

from trivet import signals
from trivet.control.monitoring.models import (
    OF_ESTIMATE,
    Alert,
    AlertState,
    Cause,
    HeldAgainst,
    LossEvidence,
    Monitor,
    MonitorSeries,
    Severity,
)
from trivet.control.monitoring.trust import Trust
from trivet.control.registry.actions.change import Change, changing
from trivet.control.registry.actions.permission import permitted
from trivet.core.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from trivet.control.registry.models import ModelVersion
    from trivet.control.registry.permissions import Actor

LONGEST_SNOOZE = timedelta(days=30)
RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


def raise_alert(
    version: ModelVersion, cause: str, severity: str, *, features: Sequence[str], evidence: Mapping[str, Any]
) -> Alert:
    """Open an alert, or bring the one that is open up to date; people are told of one that is new or has become worse.

    Sends `alert_raised` on commit when it is new or worse. Called inside the transaction that concluded it.
    """
    open_one = Alert.objects.filter(version=version, cause=cause).exclude(state=AlertState.RESOLVED)
    found = open_one.select_for_update().first()
    is_new = found is None
    if found is None:
        found = Alert(model=version.model, version=version, cause=cause, severity=severity)
    is_news = is_new or RANK[Severity(severity)] > RANK[Severity(found.severity)]
    found.features, found.evidence = list(features), dict(evidence)
    changed = ["features", "evidence"]
    if is_news:
        found.severity, found.told_at, found.news_at = severity, None, timezone.now()
        changed += ["severity", "told_at", "news_at"]
        if found.state == AlertState.ACKNOWLEDGED:
            found.state = AlertState.OPEN
            changed.append("state")
    found.save(update_fields=None if is_new else changed)  # what somebody answers meanwhile stays
    if is_news:
        _announce(signals.alert_raised, found)
    return found


def resolve_alerts(version: ModelVersion, causes: Iterable[str]) -> int:
    """Resolve the alerts of a version that are about `causes`; return how many. Sends `alert_resolved` for each."""
    open_ones = Alert.objects.filter(version=version, cause__in=list(causes)).exclude(state=AlertState.RESOLVED)
    resolved = 0
    for alert in open_ones.select_related("model", "version"):
        alert.state, alert.resolved_at = AlertState.RESOLVED, timezone.now()
        alert.save(update_fields=["state", "resolved_at"])
        _announce(signals.alert_resolved, alert)
        resolved += 1
    return resolved


def acknowledge_alert(*, alert: int, actor: Actor, reason: str = "") -> Alert:
    """Say that somebody looks after an alert: its evidence begins anew, and it is over once its windows are quiet."""
    return _answered(alert, "acknowledge_alert", actor, reason, state=AlertState.ACKNOWLEDGED)


def snooze_alert(*, alert: int, until: datetime, actor: Actor, reason: str = "") -> Alert:
    """Have nobody told of an alert until a time. Raises `InvalidRequest` for one that is past, or over `LONGEST_SNOOZE` away."""
    now = timezone.now()
    if until <= now:
        raise InvalidRequest(f"an alert is snoozed until a time to come, not {until:%Y-%m-%d %H:%M}.")
    if until > now + LONGEST_SNOOZE:
        raise InvalidRequest(
            f"an alert is snoozed for {LONGEST_SNOOZE.days} days at most, not until {until:%Y-%m-%d}; what it is about may be"
            " accepted as normal instead."
        )
    return _answered(alert, "snooze_alert", actor, reason, state=AlertState.SNOOZED, until=until)


def forget_evidence(version: ModelVersion) -> None:
    """Begin the evidence that what a version is asked has changed anew."""
    Monitor.objects.filter(version=version).update(
        windows=0, quiet_windows=0, mean_evidence=0.0
    )  # first, as who judges does
    MonitorSeries.objects.filter(monitor__version=version).update(log_m=None)


def forget_estimates(version: ModelVersion) -> None:
    """Begin to count anew how many windows in a row a version's estimate was low."""
    Monitor.objects.filter(version=version).update(low_windows=0, odd_windows=0, fine_windows=0)


def forget_loss_evidence(version: ModelVersion, loss: str) -> None:
    """Begin the evidence of what a version's realised loss is held against anew; days that were judged stay judged."""
    nothing = Trust()
    LossEvidence.objects.filter(version=version, loss=loss).update(
        log_e=nothing.log_e,
        log_cusum=None,
        count=nothing.count,
        sum_x=nothing.sum_x,
        sum_sq=nothing.sum_sq,
        labels=nothing.labels,
        quiet_days=0,
    )


def forget_trust(version: ModelVersion) -> None:
    """Begin both bets against a version's estimate anew."""
    for loss in OF_ESTIMATE:  # one by one: who judges locks them in the same order
        forget_loss_evidence(version, loss)


FORGET: Mapping[Cause, Callable[[ModelVersion], None]] = {
    Cause.DRIFT: forget_evidence,
    Cause.TRUST: forget_trust,
    Cause.PERFORMANCE: partial(forget_loss_evidence, loss=HeldAgainst.REFERENCE),
}


def wake_alerts(now: datetime) -> int:
    """Open the alerts again that were snoozed until before `now`; return how many."""
    over = Alert.objects.filter(state=AlertState.SNOOZED, snoozed_until__lte=now)
    return over.update(state=AlertState.OPEN, told_at=None, news_at=now)


def _answered(
    pk: int, action: str, actor: Actor, reason: str, *, state: AlertState, until: datetime | None = None
) -> Alert:
    _, name = answerable(pk, action, actor)
    with changing() as change:
        alert = open_in(change, pk)
        before = {"alert": pk, "state": alert.state}
        alert.state, alert.snoozed_until = state, until
        if state == AlertState.ACKNOWLEDGED:
            alert.acknowledged_at, alert.acknowledged_by = timezone.now(), name
            FORGET[Cause(alert.cause)](alert.version)
        alert.save()
        after = {"alert": pk, "state": str(state), **({"until": until.isoformat()} if until else {})}
        change.record(
            action,
            actor=name,
            model=alert.model.name,
            version=alert.version.number,
            before=before,
            after=after,
            reason=reason,
        )
    return alert


def answerable(pk: int, action: str, actor: Actor) -> tuple[Alert, str]:
    """Return an alert, and who acts as Events name them, where they may answer it; raises `NotFound` and `PermissionDenied`."""
    found = Alert.objects.filter(pk=pk).select_related("model", "version__model").first()
    if found is None:
        raise NotFound(f"there is no alert {pk}.")
    try:
        return found, permitted(actor, "retrain", "promote", to=action, model=found.model.name)
    except NotFound:  # whoever may not know of the model knows of no alert of it either
        raise NotFound(f"there is no alert {pk}.") from None


def open_in(change: Change, pk: int) -> Alert:
    """Return an alert that is not over, as it is inside a change; raises `InvalidRequest` for one that is."""
    alert = change.rows(Alert).select_related("model", "version__model").get(pk=pk)
    if alert.state == AlertState.RESOLVED:
        raise InvalidRequest(f"alert {pk} is over since {alert.resolved_at:%Y-%m-%d %H:%M}.")
    return alert


def _announce(signal: Any, alert: Alert) -> None:
    transaction.on_commit(partial(signal.send_robust, sender=Alert, alert=alert), using=router.db_for_write(Alert))
