"""Coverage: of how many predictions it is known what turned out true, by their day and by decision, and how late it came."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Sum

from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.label_folding import AGES
from trivet.control.monitoring.models import Arm, Grain, LabelProfile, Profile
from trivet.control.monitoring.performance import ENOUGH_LABELS
from trivet.control.monitoring.performance_report import DEFAULT_PERIOD
from trivet.control.monitoring.references import watched
from trivet.control.monitoring.tasks import summed
from trivet.control.monitoring.windows import DAY, counts_between, label_tables
from trivet.control.registry.declarations import labels_mature
from trivet.control.registry.models import ModelVersion
from trivet.core.profile.labels import confusion

SELECTIVE = 0.1  # chosen: of the best covered decision's share, below which another's labels are hardly there


@dataclass(frozen=True)
class Day:
    """The predictions of one day: how many, and how many have a label. `is_maturing` while labels may still come."""

    start: datetime
    rows: int
    labels: int
    is_maturing: bool


@dataclass(frozen=True)
class Coverage:
    """A model's days, the oldest first; and how many labels came how late, by the classes of `AGES` and one beyond."""

    days: tuple[Day, ...]
    delays: tuple[int, ...]

    @property
    def rows(self) -> int:
        """How many predictions there were."""
        return sum(day.rows for day in self.days)

    @property
    def labels(self) -> int:
        """How many have a label."""
        return sum(day.labels for day in self.days)


@dataclass(frozen=True)
class OfDecision:
    """The predictions with one decision: how many, and how many have a label."""

    decision: str
    rows: int
    labels: int


def coverage(model: str, *, now: datetime, period: timedelta = DEFAULT_PERIOD) -> Coverage:
    """Return the coverage of all that `model` answered in the last `period`, from what is counted of versions with a reference.

    Two queries, which read no prediction.
    """
    start = begin_of(now, Grain.DAY) + DAY - period
    rows, labels, delays = Counter[datetime](), Counter[datetime](), Counter[int]()
    predicted = Profile.objects.filter(version__model__name=model, segment="", start__gte=start)
    for at, number in predicted.exclude(arm=Arm.SHADOW).order_by().values_list("start").annotate(Sum("rows")):
        rows[begin_of(at, Grain.DAY)] += number
    said = LabelProfile.objects.filter(version__model__name=model, segment="", start__gte=start)
    found = said.exclude(arm=Arm.SHADOW).order_by().values_list("start", "age_class").annotate(Sum("labels"))
    for at, age_class, number in found:
        labels[begin_of(at, Grain.DAY)] += number
        delays[min(age_class, len(AGES))] += number
    matures = labels_mature(model)
    days = tuple(Day(day, rows[day], labels[day], now - day - DAY < matures) for day in sorted({*rows, *labels}))
    return Coverage(days, tuple(delays[place] for place in range(len(AGES) + 1)))


def coverage_by_decision(
    version: ModelVersion, *, now: datetime, period: timedelta = DEFAULT_PERIOD
) -> tuple[OfDecision, ...]:
    """Return the same of one version by its decisions, in the order of its classes; nothing where none are counted."""
    found = watched(version.model.name, version.digest)
    if found is None or found.reference.decisions is None:
        return ()
    reference, names, end = found.reference, found.reference.decisions.common, begin_of(now, Grain.DAY) + DAY
    decided = reference.layout.decisions(counts_between(version.pk, end - period, end, reference.empty))
    tables = label_tables(version.pk, reference, end - period, end, by=period)
    matrix = confusion(reference, summed(reference, list(tables.values())))
    if decided is None or matrix is None:
        return ()
    labels = matrix.sum(axis=1)
    return tuple(OfDecision(name, int(decided.bins[place]), int(labels[place])) for place, name in enumerate(names))


def hardly_labelled(found: tuple[OfDecision, ...]) -> tuple[OfDecision, ...]:
    """Return the decisions of which labels hardly come where they come of others: what is realised is of those others alone.

    Only those with 200 predictions or more are judged, and only where there are 200 labels.
    """
    often = [one for one in found if one.rows >= ENOUGH_LABELS]
    if sum(one.labels for one in often) < ENOUGH_LABELS:
        return ()
    best = max(one.labels / one.rows for one in often)
    return tuple(one for one in often if one.labels / one.rows < SELECTIVE * best)
