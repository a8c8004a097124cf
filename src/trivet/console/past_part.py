"""The part of the drift page that tells what was: the evidence of each window, with what happened drawn in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from trivet.console.charts.evidence import EvidenceChart, Point, evidence_chart
from trivet.console.charts.meter import meter
from trivet.console.figures import Moment, count, moment
from trivet.console.words import actor, event
from trivet.control.monitoring.past import Left, past_of
from trivet.control.registry.models import ModelVersion

SHOWN = timedelta(days=30)
DATES = 5


@dataclass(frozen=True)
class Happening:
    """A line of the list: an Event, or an alert that was opened."""

    number: int
    at: Moment
    words: str
    is_alert: bool


@dataclass(frozen=True)
class PastDay:
    """A line of the table: the most evidence of a day's windows."""

    day: str
    evidence: str
    windows: str


@dataclass(frozen=True)
class PastPart:
    """The part; `chart` is absent before two windows were judged."""

    sentence: str
    chart: EvidenceChart | None
    happenings: tuple[Happening, ...]
    days: tuple[PastDay, ...]


def past_part(version: ModelVersion, now: datetime, *, is_anew: bool) -> PastPart | None:
    """Return what was of a version in the last 30 days; None where nothing was judged.

    `is_anew` says that no window was judged since somebody answered an alert, with which evidence begins anew.
    """
    past = past_of(version, now - SHOWN)
    if not past.windows:
        return None
    happened = sorted(
        [
            *(
                (found.at, f"{actor(found.actor)} {event(found.action, found.version, found.after)}", False)
                for found in past.events
            ),
            *(
                (alert.opened_at, _alert(str(alert.get_cause_display()), str(alert.get_severity_display())), True)
                for alert in past.alerts
            ),
        ]
    )
    by_day = _by_day(past.windows)
    return PastPart(
        sentence=_sentence(past.windows, is_anew=is_anew),
        chart=evidence_chart(
            [Point(*left) for left in past.windows],
            [(at, is_alert) for at, _words, is_alert in happened],
            [(day, date_format(day, "M j")) for day in list(by_day)[:: max(1, -(-len(by_day) // DATES))]],
        ),
        happenings=tuple(
            Happening(place, moment(at, now), words, is_alert)
            for place, (at, words, is_alert) in enumerate(happened, 1)
        ),
        days=tuple(_day(day, windows) for day, windows in reversed(by_day.items())),
    )


def _alert(cause: str, severity: str) -> str:
    return _("Alert: %(cause)s (%(severity)s)") % {"cause": cause, "severity": severity}


def _sentence(windows: tuple[Left, ...], *, is_anew: bool) -> str:
    most = max(windows, key=lambda left: left.mean_evidence)
    if is_anew:
        told = _(
            "At most the evidence was %(evidence)s in 30 days, on %(day)s; it has begun anew since the last window."
        )
    else:
        told = _("At most the evidence was %(evidence)s in 30 days, on %(day)s; after the last window it is %(now)s.")
    values = {
        "evidence": _of(most),
        "day": date_format(timezone.localtime(most.at), "DATE_FORMAT"),
        "now": _of(windows[-1]),
    }
    return told % values


def _of(left: Left) -> str:
    """Return evidence as it reads beside its budget: 3.1 of 2,160."""
    return _("%(evidence)s of %(budget)s") % {
        "evidence": meter(left.mean_evidence, left.budget).figure,
        "budget": count(round(left.budget)),
    }


def _by_day(windows: tuple[Left, ...]) -> dict[datetime, list[Left]]:
    by_day: dict[datetime, list[Left]] = {}
    for left in windows:
        day = timezone.localtime(left.at).replace(hour=0, minute=0, second=0, microsecond=0)
        by_day.setdefault(day, []).append(left)
    return by_day


def _day(day: datetime, windows: list[Left]) -> PastDay:
    most = max(windows, key=lambda left: left.mean_evidence)
    return PastDay(date_format(day, "DATE_FORMAT"), _of(most), count(len(windows)))
