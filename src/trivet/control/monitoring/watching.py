"""Watching: each hour or day that is over is judged once against the reference, and evidence is added up until it is too much.

One version at a time and one window at a time, each in a transaction of its own: after a kill the window was judged or was not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import router, transaction

from trivet.control.monitoring.alerts import forget_estimates, forget_evidence, raise_alert, resolve_alerts
from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.detector import QUIET_WINDOWS, Evidence, Verdict, tick
from trivet.control.monitoring.evidence import MIN_EFFECTIVE_ROWS
from trivet.control.monitoring.harm import EstimateWatch
from trivet.control.monitoring.models import (
    Alert,
    AlertState,
    Arm,
    Cause,
    Grain,
    Monitor,
    MonitorSeries,
    Profile,
    Severity,
)
from trivet.control.monitoring.past import Left, remember
from trivet.control.monitoring.references import Watched, current_reference, watched
from trivet.control.monitoring.seasons import SEASON, in_season, season_of, traffic
from trivet.control.monitoring.series import DECISIONS, SCORE, Baseline, Found
from trivet.control.monitoring.windows import (
    DAY,
    HOUR,
    Window,
    counts_between,
    first_moment,
    window_length,
)
from trivet.control.registry.declarations import declared, false_alarm_days, labels_mature
from trivet.control.registry.models import ModelVersion
from trivet.core.errors import TrivetError
from trivet.core.profile.reference import Reference

logger = logging.getLogger(__name__)

LAG = timedelta(minutes=2)  # after a window's end, until what was answered in it is shipped
RECENT = timedelta(days=2)  # without a row for so long, a version is not watched
HARM_SHARE = 0.1  # of what answers depend on: where more than that drifts, somebody should know now
WINDOWS_A_DAY = {HOUR: 24, DAY: 1}
GRAIN_OF = {HOUR: Grain.HOUR, DAY: Grain.DAY}


class _Held(NamedTuple):
    """A version, and what its windows are held against."""

    found: Watched
    baseline: Baseline
    estimates: EstimateWatch


def watch(now: datetime) -> Iterator[Verdict | datetime]:
    """Judge every window that is over and was not judged, of each version with traffic.

    Yields what each says, and until when windows without rows were passed over. A version that is asked no more has its
    alert resolved.
    """
    versions = _versions(now)
    for version in versions:
        try:
            found = watched(version.model.name, version.digest)
            if found is not None:
                said = declared(version.model.name)
                baseline = Baseline(found.reference, tolerance=said.tolerance, rate_tolerance=said.rate_tolerance)
                yield from _watch(_Held(found, baseline, EstimateWatch(found)), now - LAG)
        except TrivetError as error:  # what is kept of it cannot be read: the others are watched
            logger.warning("event=not_watched model=%s version=%d error=%s", version.model.name, version.number, error)
    _let_go(versions, now)


def _let_go(versions: Sequence[ModelVersion], now: datetime) -> None:
    """Resolve what is open of versions that are asked no more: drift at once, the rest once all of their labels are judged."""
    left = Alert.objects.exclude(state=AlertState.RESOLVED).exclude(version__in=versions)
    for alert in left.select_related("version__model"):
        labelled = now - QUIET_WINDOWS * DAY - labels_mature(alert.version.model.name)
        since = now - RECENT if alert.cause == Cause.DRIFT else labelled
        asked = Profile.objects.filter(version=alert.version, arm=Arm.CHAMPION, segment="", start__gte=since)
        if not asked.exists():
            resolve_alerts(alert.version, [alert.cause])


def _versions(now: datetime) -> list[ModelVersion]:
    recent = Profile.objects.filter(start__gte=now - RECENT, arm=Arm.CHAMPION, segment="")
    ids = list(recent.values_list("version_id", flat=True).distinct())
    return list(ModelVersion.objects.filter(pk__in=ids).select_related("model").order_by("pk"))


def _watch(held: _Held, now: datetime) -> Iterator[Verdict | datetime]:
    version, empty = held.found.version, held.found.reference.empty
    monitor = _monitor(held.found, now)
    first = first_moment(version.pk)
    if not monitor.is_enabled or first is None:
        return
    length = timedelta(hours=monitor.options["hours"])
    start = begin = begin_of(max(monitor.until or first, now - SEASON), GRAIN_OF[length])
    while start + length <= now:
        end = start + length
        window = Window(begin, end, counts_between(version.pk, begin, end, empty))
        has_traffic = begin - max(first, _moved_at(monitor, first)) >= SEASON
        if not window.counts.rows and not has_traffic:
            start = begin = _next_window(version.pk, end, length, now)
            if not _claim(monitor, start):
                return
            yield start
        elif 0 < window.counts.rows < MIN_EFFECTIVE_ROWS:
            start = end  # too few to say anything: they are judged with the next
        else:
            has_season = begin - first >= SEASON
            verdict = _judge(monitor, held, window, has_season=has_season, has_traffic=has_traffic)
            if verdict is None:
                return
            yield verdict
            start = begin = end


def _next_window(version_id: int, end: datetime, length: timedelta, now: datetime) -> datetime:
    """Return when the next window begins that has rows; where none has, the one that is not over."""
    rows = Profile.objects.filter(version_id=version_id, arm=Arm.CHAMPION, segment="", start__gte=end, start__lt=now)
    found = rows.order_by("start").values_list("start", flat=True).first()
    return begin_of(found, GRAIN_OF[length]) if found is not None else end + (now - end) // length * length


def _moved_at(monitor: Monitor, first: datetime) -> datetime:
    """Return when the model's traffic was moved last, as far as this monitor knows."""
    moved = monitor.options.get("moved_at")
    return datetime.fromisoformat(moved) if moved else first


def _monitor(found: Watched, now: datetime) -> Monitor:
    """Return the monitor of a version; its evidence begins anew with other windows or another reference, and when its model's
    traffic was moved.
    """
    version = found.version
    monitor, _ = Monitor.objects.get_or_create(version=version)
    hours = int(window_length(version.pk, now, monitor.options.get("hours")) / HOUR)
    wanted: dict[str, int | str] = {
        "hours": hours,
        "generation": version.model.generation,
        "reference": found.sha256,
    }
    changed = {name for name, value in wanted.items() if monitor.options.get(name, value) != value}
    if changed or not wanted.items() <= monitor.options.items():
        if "generation" in changed:
            wanted["moved_at"] = now.isoformat()
        with transaction.atomic(using=router.db_for_write(Monitor)):
            monitor.options |= wanted
            monitor.save(update_fields=["options"])
            if changed:
                forget_evidence(version)
                forget_estimates(version)
        monitor.refresh_from_db()
    return monitor


def _claim(monitor: Monitor, until: datetime) -> bool:
    """Move a monitor on to `until`, where nobody else has moved it meanwhile; tell whether it was so.

    The first statement of a transaction that judges: whoever judges the same windows elsewhere waits, and finds them judged.
    """
    moved = Monitor.objects.filter(pk=monitor.pk, until=monitor.until).update(until=until)
    monitor.until = until
    return bool(moved)


def _judge(monitor: Monitor, held: _Held, window: Window, *, has_season: bool, has_traffic: bool) -> Verdict | None:
    """Judge a window; None where it was judged elsewhere meanwhile, or is to be held against another reference now."""
    baseline, length, model = held.baseline, timedelta(hours=monitor.options["hours"]), held.found.version.model.name
    is_seasonal = has_season and declared(model).season
    season = season_of(monitor.version_id, window, baseline.reference.empty) if is_seasonal else None
    found = list(baseline.found(window.counts))
    if season is not None:
        found = in_season(baseline, found, window, season)
    if has_traffic:
        found.append(traffic(monitor.version_id, window))
    seen = held.estimates.see(window, season, length)
    budget = float(false_alarm_days(model) * WINDOWS_A_DAY[length])
    with transaction.atomic(using=router.db_for_write(Monitor)):
        if not _claim(monitor, window.end):
            return None
        monitor.refresh_from_db()
        reference = current_reference(monitor.version)
        if reference is None or reference.sha256 != held.found.sha256:  # another was accepted meanwhile
            transaction.set_rollback(True, using=router.db_for_write(Monitor))
            return None
        kept = {series.name: series.log_m for series in monitor.series.all()}
        evidence, verdict = tick(
            Evidence(kept, monitor.windows, monitor.quiet_windows),
            {one.name: one.log_p for one in found},
            budget,
            {one.name: _importance(baseline.reference, one.name) for one in found},
        )
        _keep(monitor, evidence, verdict, found)
        remember(monitor.pk, GRAIN_OF[length], Left(window.begin, monitor.mean_evidence, budget))
        if seen is not None:
            held.estimates.conclude(monitor, seen, window, length)
        version = monitor.version
        if verdict.is_alarm:
            features = [_feature(name) for name in verdict.named]
            severity = _severity(verdict.named, baseline.reference, is_certain=has_season or length == DAY)
            raise_alert(
                version,
                Cause.DRIFT,
                severity,
                features=list(dict.fromkeys(features)),
                evidence={
                    "mean": round(min(verdict.mean_evidence, 1e12), 3),
                    "budget": verdict.budget,
                    "until": window.end.isoformat(),
                    "rows": window.counts.rows,
                    "series": [_said(one) for one in found if one.name in verdict.named],
                },
            )
        elif verdict.is_over:
            resolve_alerts(version, [Cause.DRIFT])
    return verdict


def _keep(monitor: Monitor, evidence: Evidence, verdict: Verdict, found: Sequence[Found]) -> None:
    monitor.windows, monitor.quiet_windows = evidence.windows, evidence.quiet_windows
    monitor.mean_evidence = min(verdict.mean_evidence, 1e300)
    monitor.save(update_fields=["windows", "quiet_windows", "mean_evidence"])
    said = {one.name: _said(one) for one in found}
    monitor.series.all().delete()
    MonitorSeries.objects.bulk_create(
        MonitorSeries(monitor=monitor, name=name, log_m=log_m, last=said.get(name, {}))
        for name, log_m in evidence.log_m.items()
    )


def _said(one: Found) -> dict[str, object]:
    return {
        "name": one.name,
        "value": one.value,
        "log_p": one.log_p,
        "rows": one.rows,
        "effective_rows": one.effective_rows,
    }


def _feature(series: str) -> str:
    """Return the feature that a series is of; the predictions' own where it is of none."""
    return series.partition(":")[2] or series


def _importance(reference: Reference, series: str) -> float:
    """Return the share of the feature that a series is of; what is of none, as the answers, has as much as one on average."""
    known = {} if _is_of_answers(series) else reference.importance_of
    return known.get(_feature(series), 1 / max(len(reference.features), 1))


def _is_of_answers(series: str) -> bool:
    return series.partition(":")[0] in (SCORE, DECISIONS)


def _severity(named: Sequence[str], reference: Reference, *, is_certain: bool) -> str:
    """Return how bad it is that `named` drift; all that is of the answers counts once, for their scores move together."""
    if not is_certain:
        return Severity.INFO
    shares = {DECISIONS if _is_of_answers(one) else _feature(one): _importance(reference, one) for one in named}
    return Severity.WARNING if sum(shares.values()) > HARM_SHARE else Severity.INFO
