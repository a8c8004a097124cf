"""The verb `alerts`: which are open, and what somebody does about one."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from django.utils import timezone

from trivet.cli.person import actor_of, person_of
from trivet.cli.values import duration_of
from trivet.cli.verb import DONE, USAGE, WRONG, Out
from trivet.control.monitoring.accepting import DEFAULT_DAYS, accept_as_normal
from trivet.control.monitoring.alerts import acknowledge_alert, snooze_alert
from trivet.control.monitoring.models import Alert, AlertState
from trivet.control.monitoring.sentences import sentence_of
from trivet.control.registry.models import RegisteredModel
from trivet.control.registry.permissions import can, models_open_to
from trivet.core.errors import NotFound

ACKNOWLEDGE, SNOOZE, ACCEPT = "acknowledge", "snooze", "accept"
HEADER = ("ID", "MODEL", "SEVERITY", "SINCE", "STATE", "WHAT")


def alerts(options: argparse.Namespace, out: Out) -> int:
    """List alerts, acknowledge one, snooze it, or accept what it is about as the new normal."""
    if options.about == ACKNOWLEDGE and options.alert is not None and options.period is None:
        return _answered(acknowledge_alert(alert=_known(options), actor=actor_of(options), reason=options.reason), out)
    if options.about == SNOOZE and options.period is not None:
        until = timezone.now() + duration_of("snooze", options.period)
        alert = snooze_alert(alert=_known(options), until=until, actor=actor_of(options), reason=options.reason)
        return _answered(alert, out)
    if options.about == ACCEPT and options.alert is not None:
        return _accepted(options, out)
    if options.alert is not None or options.about in (ACKNOWLEDGE, SNOOZE, ACCEPT):
        out.problem("trivet alerts: give MODEL or nothing, `acknowledge ID`, `snooze ID 24h`, or `accept ID 7d`.")
        return USAGE
    return _list(options, out)


def _list(options: argparse.Namespace, out: Out) -> int:
    found = Alert.objects.select_related("model", "version").order_by("-opened_at", "-pk")
    if options.about:
        found = found.filter(model=RegisteredModel.objects.named(options.about))
    person = person_of(options)
    if person is not None and (known := models_open_to(person)) is not None:
        found = found.filter(model__name__in=known)
    is_over = AlertState.RESOLVED
    told = list(found if options.all else found.exclude(state=is_over))
    code = WRONG if any(alert.state != is_over for alert in told) else DONE
    if not told and not options.as_json:
        out.say(f"no alert{' was ever raised' if options.all else ' is open'}.")
        return code
    rows = [
        (
            str(alert.pk),
            f"{alert.model.name} {alert.version.number}",
            alert.severity,
            f"{alert.opened_at:%Y-%m-%d %H:%M}",
            _state(alert),
            sentence_of(alert),
        )
        for alert in told
    ]
    out.table([_facts(alert) for alert in told], HEADER, rows)
    return code


def _accepted(options: argparse.Namespace, out: Out) -> int:
    period = duration_of("accept", options.period) if options.period is not None else timedelta(days=DEFAULT_DAYS)
    days = -(-period // timedelta(days=1))
    alert = accept_as_normal(alert=_known(options), days=days, actor=actor_of(options), reason=options.reason)
    told = f"alert {alert.pk} is over: what {alert.model.name} {alert.version.number} was asked in {days} d is its reference now"
    out.document(_facts(alert), told)
    return DONE


def _known(options: argparse.Namespace) -> int:
    """Return the alert's id, where whoever acts may know of its model; raises `NotFound`."""
    person, pk = person_of(options), int(options.alert)
    alert = Alert.objects.filter(pk=pk).select_related("model").first()
    if alert is None or (person is not None and not can(person, "view", alert.model.name)):
        raise NotFound(f"there is no alert {pk}.")
    return pk


def _answered(alert: Alert, out: Out) -> int:
    out.document(_facts(alert), f"alert {alert.pk} of {alert.model.name} is {_state(alert)}")
    return DONE


def _state(alert: Alert) -> str:
    if alert.state == AlertState.SNOOZED and alert.snoozed_until is not None:
        return f"snoozed until {alert.snoozed_until:%Y-%m-%d %H:%M}"
    if alert.state == AlertState.ACKNOWLEDGED:
        return f"acknowledged by {alert.acknowledged_by}"
    return str(alert.state)


def _facts(alert: Alert) -> dict[str, Any]:
    moments = ("opened_at", "acknowledged_at", "snoozed_until", "resolved_at")
    told = {name: getattr(alert, name) for name in moments}
    return {
        "id": alert.pk,
        "model": alert.model.name,
        "version": alert.version.number,
        "cause": str(alert.cause),
        "severity": str(alert.severity),
        "state": str(alert.state),
        "features": alert.features,
        "text": sentence_of(alert),
        "acknowledged_by": alert.acknowledged_by,
        **{name: moment and moment.isoformat(timespec="seconds") for name, moment in told.items()},
    }
