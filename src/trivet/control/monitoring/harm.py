"""Harm: a version that answers worse than on its reference, as estimated or as it turned out, has one alert of performance.

Each reason for it is part of the alert's evidence, from when it is found until it is over; the alert is over with the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from trivet.control.monitoring.alerts import RANK, raise_alert, resolve_alerts
from trivet.control.monitoring.estimates import Estimate
from trivet.control.monitoring.measures import is_of
from trivet.control.monitoring.models import Alert, AlertState, Cause, Monitor, Severity
from trivet.control.monitoring.references import Watched, labelled_reference
from trivet.control.monitoring.shortfall import FLOOR_ERRORS, Shortfall
from trivet.control.monitoring.standing import standing_of
from trivet.control.monitoring.tasks import task_of
from trivet.control.monitoring.trust import Verdict
from trivet.control.monitoring.usual import Limit, Usual
from trivet.control.monitoring.windows import DAY, HOUR, Window
from trivet.control.registry.declarations import declared
from trivet.control.registry.models import ModelVersion
from trivet.core.profile.profile import Profile as Counts

BELOW_BAND, ABOVE_BAND, BELOW_FLOOR, REALISED = "below_band", "above_band", "below_floor", "realised"
SEVERITY = {
    BELOW_BAND: Severity.WARNING,
    ABOVE_BAND: Severity.WARNING,
    BELOW_FLOOR: Severity.CRITICAL,
    REALISED: Severity.CRITICAL,
}
CYCLE = {HOUR: 24, DAY: 7}  # windows after which no time of the day, or of the week, is left out


class Seen(NamedTuple):
    """What a window's estimate says."""

    estimate: Estimate
    limit: Limit | None
    is_low: bool
    is_odd: bool


class EstimateWatch:
    """Holds what is estimated of a version's windows against what is usual, and against its floor."""

    def __init__(self, found: Watched) -> None:
        """Watch a version whose task has an estimate of its metric, of which false alarms were simulated."""
        self._version = found.version
        said = declared(found.version.model.name)
        self._task = task_of(found.reference, said.metric)
        self._metric = self._task.metric
        is_floor_of_it = (said.metric is None or is_of(self._metric, said.metric)) and not self._task.is_error
        self._floor = said.floor if is_floor_of_it else None  # a floor of one measure is none of another
        self._out_of_band = ABOVE_BAND if self._task.is_error else BELOW_BAND
        self._usual = Usual(task_of(labelled_reference(found), said.metric)) if self._task.is_watched else None

    def see(self, window: Window, season: Counts | None, length: timedelta) -> Seen | None:
        """Return what `window` says; `season` is what was counted at the same time of the weeks before, once it is known."""
        if self._usual is None:
            return None
        estimate = self._estimate(window.counts)
        if estimate is None:
            return None
        limit = self._usual.limit(estimate.rows)
        is_low = limit is not None and limit.is_passed(estimate.value)
        is_odd = season is None and length == DAY
        if limit is not None and season is not None:
            before = self._estimate(season)
            is_odd = before is None or limit.is_far(estimate.value, before.value)
        return Seen(estimate, limit, is_low, is_odd)

    def conclude(self, monitor: Monitor, seen: Seen, window: Window, length: timedelta) -> None:
        """Note what was seen, and raise or resolve. Called inside the transaction that judges the window."""
        is_under = self._is_under_floor(seen.estimate)
        before = Shortfall(monitor.low_windows, monitor.odd_windows, monitor.fine_windows)
        now = before.after(is_low=seen.is_low, is_odd=seen.is_odd, is_under=is_under)
        monitor.low_windows, monitor.odd_windows, monitor.fine_windows = now
        monitor.save(update_fields=["low_windows", "odd_windows", "fine_windows"])
        said = {
            "metric": self._metric,
            "value": _short(seen.estimate.value),
            "rows": round(seen.estimate.rows),
            "until": window.end.isoformat(),
        }
        reasons: dict[str, Mapping[str, Any] | None] = {}
        if now.is_told(CYCLE[length]) and seen.limit is not None:
            hours = (now.low * length) // HOUR
            band = {"low": _short(seen.limit.band.low), "high": _short(seen.limit.band.high)}
            reasons[self._out_of_band] = {**said, **band, "hours": hours}
        if is_under:
            reasons[BELOW_FLOOR] = {**said, "floor": self._floor}
        if now.is_over:
            reasons = {self._out_of_band: None, BELOW_FLOOR: None}
        conclude(self._version, reasons)

    def _estimate(self, counts: Counts) -> Estimate | None:
        return found if isinstance(found := self._task.watched(counts), Estimate) else None

    def _is_under_floor(self, estimate: Estimate) -> bool:
        """Return whether an estimate that is trusted is below the floor by more than chance."""
        if self._floor is None or estimate.sampling_error is None:
            return False
        if estimate.value + FLOOR_ERRORS * estimate.sampling_error >= self._floor:
            return False
        return standing_of(self._version) == Verdict.TRUSTED


def _short(value: float) -> float:
    """Return `value` in six digits: errors have the unit of what is predicted, and may be tiny."""
    return float(f"{value:.6g}")


def conclude(version: ModelVersion, found: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Add the reasons that were found to a version's alert of performance, and take away those that are over (None).

    Raises the alert with the first reason, and resolves it with the last. Called inside the transaction that concluded it.
    """
    if not found:
        return
    unresolved = Alert.objects.filter(version=version, cause=Cause.PERFORMANCE).exclude(state=AlertState.RESOLVED)
    alert = unresolved.select_for_update().first()
    kept = alert.evidence if alert is not None else {}
    reasons = {name: facts for name, facts in {**kept, **found}.items() if facts is not None}
    if not reasons and alert is not None:
        resolve_alerts(version, [Cause.PERFORMANCE])
    elif reasons and reasons != kept:
        severity = max((SEVERITY[name] for name in reasons), key=RANK.__getitem__)
        raise_alert(version, Cause.PERFORMANCE, severity, features=[], evidence=reasons)
