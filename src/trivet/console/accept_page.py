"""The page that asks before a version's last days become what is normal: what it is compared with now, and what it would be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext_lazy

from trivet.console.choices import Choice, choices
from trivet.console.figures import Moment, count, moment
from trivet.console.words import Text
from trivet.control.monitoring.accepting import DEFAULT_DAYS
from trivet.control.monitoring.models import Alert, Cause
from trivet.control.monitoring.references import current_reference
from trivet.control.monitoring.sentences import sentence_of

DAYS: Mapping[int, Text] = {
    1: gettext_lazy("the last day"),
    7: gettext_lazy("the last 7 days"),
    30: gettext_lazy("the last 30 days"),
}


@dataclass(frozen=True)
class AcceptPage:
    """The page; `made` is when the reference came that is in force, absent where there is none."""

    alert: int
    model: str
    version: int
    sentence: str
    rows: str
    made: Moment | None
    days: tuple[Choice, ...]
    is_about_performance: bool
    reason: str
    problem: str


def accept_page(alert: Alert, now: datetime, *, days: str, reason: str, problem: str) -> AcceptPage:
    """Return the page for one alert, with `days` chosen where they are among the choices."""
    row = current_reference(alert.version)
    return AcceptPage(
        alert=alert.pk,
        model=alert.model.name,
        version=alert.version.number,
        sentence=sentence_of(alert),
        rows=count(row.rows) if row is not None else "",
        made=moment(row.created_at, now) if row is not None else None,
        days=choices(DAYS, next((known for known in DAYS if str(known) == days), DEFAULT_DAYS)),
        is_about_performance=alert.cause == Cause.PERFORMANCE,
        reason=reason,
        problem=problem,
    )
