"""The alerts: what somebody was told, what is done about it, and a form for who may answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import Count, QuerySet
from django.utils.translation import gettext as _, gettext_lazy

from trivet.console.figures import Moment, moment
from trivet.console.words import Text, actor
from trivet.control.monitoring.accepting import may_be_accepted
from trivet.control.monitoring.models import Alert, AlertState, Cause
from trivet.control.monitoring.sentences import sentence_of
from trivet.control.registry.permissions import models_open_to

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

RESOLVED_SHOWN = 50
ANSWERING = ("retrain", "promote")  # who may do either with a model answers its alerts
HOURS: Mapping[int, Text] = {
    4: gettext_lazy("4 hours"),
    24: gettext_lazy("1 day"),
    168: gettext_lazy("1 week"),
}


@dataclass(frozen=True)
class AlertCard:
    """One alert."""

    number: int
    model: str
    version: int
    sentence: str
    cause: str
    severity: str
    severity_words: str
    state: str
    state_words: str
    opened: Moment
    answered: str
    resolved: Moment | None
    has_drift: bool
    may_answer: bool
    may_accept: bool


@dataclass(frozen=True)
class AlertsPage:
    """The page: `alerts` are those that are not over, the newest first. Of one alone, `is_single`."""

    alerts: tuple[AlertCard, ...]
    resolved: tuple[AlertCard, ...]
    hours: tuple[tuple[int, str], ...]
    is_single: bool = False
    problem: str = ""
    reason: str = ""


def alerts_page(viewer: AbstractBaseUser, now: datetime) -> AlertsPage:
    """Return the alerts of the models that `viewer` may know of, in a constant number of queries."""
    known = models_open_to(viewer)
    found = _alerts() if known is None else _alerts().filter(model__name__in=known)
    answerable = _answerable(viewer)
    unresolved = found.exclude(state=AlertState.RESOLVED)
    resolved = found.filter(state=AlertState.RESOLVED).order_by("-resolved_at", "-pk")[:RESOLVED_SHOWN]
    return AlertsPage(
        alerts=tuple(_card(alert, answerable, now) for alert in unresolved.order_by("-opened_at", "-pk")),
        resolved=tuple(_card(alert, answerable, now) for alert in resolved),
        hours=_hours(),
    )


def alert_page(alert: Alert, viewer: AbstractBaseUser, now: datetime, *, problem: str, reason: str) -> AlertsPage:
    """Return the page of one alert."""
    card = _card(alert, _answerable(viewer), now)
    return AlertsPage((card,), (), _hours(), is_single=True, problem=problem, reason=reason)


def open_alerts(models: Collection[str]) -> dict[str, int]:
    """Return how many alerts of each of `models` nobody has answered, with one query; models without one are left out."""
    found = Alert.objects.filter(state=AlertState.OPEN, model__name__in=list(models)).order_by()
    return dict(found.values_list("model__name").annotate(alerts=Count("pk")))


def cards_of(model: str, now: datetime) -> tuple[AlertCard, ...]:
    """Return the alerts of one model that are not over, to be read and not answered."""
    found = _alerts().filter(model__name=model).exclude(state=AlertState.RESOLVED).order_by("-opened_at", "-pk")
    return tuple(_card(alert, frozenset(), now) for alert in found)


def _alerts() -> QuerySet[Alert]:
    return Alert.objects.select_related("model", "version").defer("version__manifest", "version__signature")


def _answerable(viewer: AbstractBaseUser) -> frozenset[str] | None:
    """Return the models whose alerts `viewer` may answer; None for all."""
    names: set[str] = set()
    for verb in ANSWERING:
        found = models_open_to(viewer, verb)
        if found is None:
            return None
        names |= found
    return frozenset(names)


def _card(alert: Alert, answerable: frozenset[str] | None, now: datetime) -> AlertCard:
    may_answer = alert.state != AlertState.RESOLVED and (answerable is None or alert.model.name in answerable)
    return AlertCard(
        number=alert.pk,
        model=alert.model.name,
        version=alert.version.number,
        sentence=sentence_of(alert),
        cause=str(alert.get_cause_display()),
        severity=alert.severity,
        severity_words=str(alert.get_severity_display()),
        state=alert.state,
        state_words=str(alert.get_state_display()),
        opened=moment(alert.opened_at, now),
        answered=_answered(alert, now),
        resolved=moment(alert.resolved_at, now) if alert.resolved_at else None,
        has_drift=alert.cause == Cause.DRIFT,
        may_answer=may_answer,
        may_accept=may_answer and may_be_accepted(alert),
    )


def _answered(alert: Alert, now: datetime) -> str:
    """Return who looks after it, or until when nobody is told; nothing while nobody said."""
    if alert.state == AlertState.SNOOZED and alert.snoozed_until is not None:
        return _("Nobody is told until %(moment)s.") % {"moment": moment(alert.snoozed_until, now).exact}
    if alert.acknowledged_by:
        return _("%(who)s looks after it.") % {"who": actor(alert.acknowledged_by)}
    return ""


def _hours() -> tuple[tuple[int, str], ...]:
    return tuple((hours, str(words)) for hours, words in HOURS.items())
