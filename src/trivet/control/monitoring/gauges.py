"""Gauges: how live models are, as a few numbers each that a keeper tells now and then."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Sum

from trivet.control.monitoring.models import Alert, AlertState, Arm, LabelProfile, Monitor, Profile, Severity
from trivet.control.monitoring.performance_report import DEFAULT_PERIOD, PerformanceReport, performance_report
from trivet.control.monitoring.trust import Verdict
from trivet.control.registry.models import CHAMPION, Alias, RegisteredModel
from trivet.core.errors import TrivetError

COVERED: timedelta = DEFAULT_PERIOD
TRUSTED = {Verdict.TRUSTED: 1.0, Verdict.NOT_TRUSTED: 0.0, Verdict.UNKNOWN: math.nan}


class Gauge(NamedTuple):
    """One number, under a name of `/metrics` with its labels; NaN where there is none any more."""

    name: str
    labels: tuple[str, ...]
    value: float


def states(now: datetime) -> Iterator[list[Gauge]]:
    """Yield what is cheap to say of all models: evidence of drift, open alerts, coverage by labels. Six queries in all."""
    champions = dict(Alias.objects.filter(name=CHAMPION).values_list("version_id", "model__name"))
    yield [
        Gauge("trivet_drift_evidence", (champions[version],), evidence)
        for version, evidence in Monitor.objects.filter(version__in=champions).values_list(
            "version_id", "mean_evidence"
        )
    ]
    alerts = Alert.objects.exclude(state=AlertState.RESOLVED).values_list("model__name", "severity")
    count = Counter(alerts)
    yield [
        Gauge("trivet_alerts_open", (model, str(severity)), float(count[model, severity]))
        for model in RegisteredModel.objects.values_list("name", flat=True)
        for severity in Severity.values
    ]
    yield list(_coverage(champions, now - COVERED))


def performances(now: datetime) -> Iterator[list[Gauge]]:
    """Yield of each champion whether its estimate is trusted, and how right it was and probably is; a month of each is read."""
    for model, number in Alias.objects.filter(name=CHAMPION).values_list("model__name", "version__number"):
        try:
            report = performance_report(model, now=now, number=number, with_segments=False)
        except TrivetError:  # without a reference, or moved meanwhile
            continue
        yield list(_of_report(report))


def _coverage(champions: Mapping[int, str], start: datetime) -> Iterator[Gauge]:
    def sums(table: Any, column: str) -> dict[int, int]:
        found = table.objects.filter(version__in=champions, arm=Arm.CHAMPION, segment="", start__gte=start)
        return dict(found.order_by().values_list("version_id").annotate(total=Sum(column)))

    labels, rows = sums(LabelProfile, "labels"), sums(Profile, "rows")
    for version, total in labels.items():
        if rows.get(version):
            yield Gauge("trivet_label_coverage", (champions[version],), total / rows[version])


def _of_report(report: PerformanceReport) -> Iterator[Gauge]:
    of_version = (report.model, str(report.version))
    yield Gauge("trivet_estimate_trusted", of_version, TRUSTED[report.trust])
    for kind, figures in (("realised", report.realised), ("estimated", report.estimated)):
        for metric, figure in figures.items():
            value = getattr(figure, "value", math.nan)  # of one that there is
            yield Gauge("trivet_performance", (*of_version, metric, kind), float(value))
