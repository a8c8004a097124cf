"""The past of the evidence: what each judged window left, by the hour for 90 days, then by the day, and what happened then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from django.db import router, transaction
from django.db.models import F

from trivet.control.monitoring.compacting import KEPT, begin_of
from trivet.control.monitoring.models import Alert, Grain, JudgedWindow
from trivet.control.monitoring.windows import DAY
from trivet.control.registry.models import Event, ModelVersion

MARKING = ("promote", "roll_back", "set_routes", "accept_as_normal")
"""Actions of Events after which a version is asked otherwise, or held against something else."""
MARKS_SHOWN = 20


class Left(NamedTuple):
    """What a window that began `at` left: the mean of M, of a budget."""

    at: datetime
    mean_evidence: float
    budget: float


class Past(NamedTuple):
    """What is known of a time, the oldest first: what windows left, what people did with the model, which alerts were opened."""

    windows: tuple[Left, ...]
    events: tuple[Event, ...]
    alerts: tuple[Alert, ...]


def past_of(version: ModelVersion, since: datetime) -> Past:
    """Return the past of a version, and what happened to its model, in three queries; of Events and alerts the latest twenty."""
    windows = JudgedWindow.objects.filter(monitor__version=version, start__gte=since).order_by("start")
    events = Event.objects.filter(model=version.model.name, action__in=MARKING, at__gte=since)
    alerts = Alert.objects.filter(version=version, opened_at__gte=since).order_by("-opened_at")
    return Past(
        tuple(Left(*found) for found in windows.values_list("start", "mean_evidence", "budget")),
        tuple(events.order_by("-at")[:MARKS_SHOWN])[::-1],
        tuple(alerts[:MARKS_SHOWN])[::-1],
    )


def remember(monitor_id: int, grain: Grain, left: Left) -> None:
    """Keep what a window left; one that is judged again takes the place of what it left before."""
    JudgedWindow.objects.update_or_create(
        monitor_id=monitor_id,
        grain=grain,
        start=left.at,
        defaults={"mean_evidence": left.mean_evidence, "budget": left.budget},
    )


def thin(now: datetime) -> Iterator[int]:
    """Keep of the hours that have become old by `now` the one of each day with the most evidence; yield how many each had.

    Each step is a transaction that holds the rows of one day of one version, which nobody else writes any more.
    """
    before = begin_of(now - KEPT[Grain.HOUR], Grain.DAY)
    while True:
        old = JudgedWindow.objects.filter(grain=Grain.HOUR, start__lt=before)
        first = old.order_by("start").values_list("monitor_id", "start").first()
        if first is None:
            return
        yield _thin(first[0], begin_of(first[1], Grain.DAY))


def _thin(monitor_id: int, day: datetime) -> int:
    with transaction.atomic(using=router.db_for_write(JudgedWindow)):
        hours = JudgedWindow.objects.filter(monitor=monitor_id, grain=Grain.HOUR, start__gte=day, start__lt=day + DAY)
        hours.update(grain=F("grain"))  # a write first: SQLite cannot make a writer of a transaction that has read
        there = JudgedWindow.objects.filter(monitor=monitor_id, grain=Grain.DAY, start=day)
        found = list((hours | there).values_list("start", "mean_evidence", "budget"))
        if not found:
            return 0
        most = max((Left(*one) for one in found), key=lambda left: left.mean_evidence)
        remember(monitor_id, Grain.DAY, most._replace(at=day))
        return hours.delete()[0]
