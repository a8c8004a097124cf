"""The drift report: what a version sees in a window beside a reference, feature by feature, and what was concluded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.distances import Distances, scale_of
from trivet.control.monitoring.evidence import MIN_EFFECTIVE_ROWS, benjamini_hochberg
from trivet.control.monitoring.models import Alert, AlertState, Cause, Grain, Monitor
from trivet.control.monitoring.reconstruction import Reconstruction, reconstruction
from trivet.control.monitoring.references import watched
from trivet.control.monitoring.series import DRIFT, EVENTS, Baseline, Change, series_name
from trivet.control.monitoring.watching import GRAIN_OF, WINDOWS_A_DAY
from trivet.control.monitoring.windows import Span, counts_over
from trivet.control.registry.declarations import false_alarm_days
from trivet.control.registry.models import CHAMPION, ModelVersion
from trivet.core.errors import NotFound
from trivet.core.profile.bins import Bins, CategoryBins, FeatureCounts, NumericBins
from trivet.core.profile.profile import Profile
from trivet.core.profile.reference import Reference
from trivet.core.signature import Signature

DEFAULT_WINDOW = timedelta(days=7)
WEEK = timedelta(days=7)
SENSITIVE = "it is sensitive"
ONE_SENSITIVE = "one of its numbers is sensitive"
KINDS = (DRIFT, *EVENTS)  # of a feature's series: its distance, then shares of its rows


class Against(StrEnum):
    """What a window is compared with."""

    TRAINING = "training"  # the rows that were given at the push
    PREVIOUS = "previous"  # the window before, as long
    SAME_HOUR = "same-hour"  # the same hours of the four weeks before


@dataclass(frozen=True)
class FeatureDrift:
    """One feature: how far it is from the reference, in numbers and in a word, and both histograms as shares.

    `distance` is KS for a number and the total variation for anything else, None with a reason in `distances`. Shares of
    missing, unseen and out of range are of the rows that were counted; None where none were, or where the feature has none.
    """

    name: str
    is_number: bool
    is_category: bool  # its last two bins are the other values that were seen, and those that never were
    distance: float | None
    word: str  # empty where there is no distance
    distances: Distances
    titles: tuple[str, ...]  # of the bins
    bounds: tuple[float, ...]  # (bins + 1,) of a number: where its bins end; empty for anything else, and where hidden
    reference: tuple[float, ...]  # shares of the bins, in the order of the titles
    current: tuple[float, ...]
    rows: int
    missing: float | None
    missing_before: float | None
    unseen: float | None
    unseen_before: float | None
    out_of_range: float | None
    out_of_range_before: float | None
    values_unseen: tuple[tuple[str, int], ...]
    evidence: float | None  # M of its distance; None before the first window
    importance: float | None = None  # its share of how much answers depend on all features; None where nobody found out
    changed: tuple[str, ...] = ()  # what of it changed beyond tolerance and chance: drift, missing, unseen, range
    is_sensitive: bool = False  # nothing of it is counted any more, nor told


@dataclass(frozen=True)
class DriftReport:
    """What one version sees from `start` to `end`. `features` are in the order of their distance, the largest first."""

    model: str
    version: int
    start: datetime
    end: datetime
    against: str
    reference_source: str  # what the version's reference was made from
    rows: int
    reference_rows: int
    verdict: str  # a sentence
    mean_evidence: float
    budget: float
    window_hours: int  # of one judged window
    judged_until: datetime | None
    has_open_alert: bool
    features: tuple[FeatureDrift, ...]
    reconstruction: Reconstruction | None  # None where there are no two numbers, or its reference has no moments
    latency_ms: tuple[float | None, float | None]  # p50, p99


def drift_report(
    model: str,
    *,
    now: datetime,
    number: int | None = None,
    window: timedelta = DEFAULT_WINDOW,
    against: str = Against.TRAINING,
) -> DriftReport:
    """Return what the champion of `model`, or version `number`, sees in the last `window`.

    Raises `NotFound` where there is no such version, and where nothing of it is counted because it has no reference.
    """
    version = ModelVersion.objects.resolve(model, number if number is not None else CHAMPION)
    found = watched(model, version.digest)
    if found is None:
        raise NotFound(
            f"{model} {version.number} has no reference to compare with: push it with a sample (--sample), and its labels"
            " (--labels) where you have them."
        )
    reference = found.reference
    end = begin_of(now, Grain.HOUR) + timedelta(hours=1)
    start = end - window
    current, before = _counts(version.pk, reference, Span(start, end), against)
    sensitive = set(version.model.sensitive or ())
    watch = _watch(version, now)
    return DriftReport(
        model=model,
        version=version.number,
        start=start,
        end=end,
        against=against,
        reference_source=reference.source,
        rows=current.rows,
        reference_rows=before.rows,
        verdict=watch.verdict,
        mean_evidence=watch.mean,
        budget=watch.budget,
        window_hours=watch.hours,
        judged_until=watch.until,
        has_open_alert=watch.alert is not None,
        features=tuple(feature_drifts(reference, current, before, watch.evidence, sensitive)),
        reconstruction=_reconstruction(reference, current, before, sensitive),
        latency_ms=(_milliseconds(reference, current, 0.5), _milliseconds(reference, current, 0.99)),
    )


def without_inputs(report: DriftReport, signature: Signature | None) -> DriftReport:
    """Return `report` as it may be read by who may see the model and not its inputs: no value of the reference, nor one sent.

    Categories that `signature` does not list are "other seen". Numbers keep the bounds of their quantile bins, without the
    smallest and the largest value; where each bin is of one value, or so many rows had the smallest that it is a bound, bins
    have a place alone. Distances, shares, evidence and the verdict are those of all values.
    """
    listed = {
        name: frozenset(map(str, spec.categories or ()))
        for spec in (signature.inputs if signature else ())
        for name in spec.field_names
    }
    features = (_without_values(feature, listed.get(feature.name, frozenset())) for feature in report.features)
    return replace(report, features=tuple(features))


def _without_values(feature: FeatureDrift, listed: frozenset[str]) -> FeatureDrift:
    if feature.is_sensitive:
        return feature
    if feature.is_number:
        return _without_bounds(feature)
    return replace(_with_listed(feature, listed), values_unseen=()) if feature.is_category else feature


def _without_bounds(feature: FeatureDrift) -> FeatureDrift:
    smallest, *edges, _largest = feature.bounds
    if edges and edges[0] > smallest:
        return replace(feature, bounds=(edges[0], *edges, edges[-1]))
    places = (f"bin {place} of {len(feature.titles)}" for place in range(1, len(feature.titles) + 1))
    return replace(feature, bounds=(), titles=tuple(places))


def _with_listed(feature: FeatureDrift, listed: frozenset[str]) -> FeatureDrift:
    *common, others, never = feature.titles
    kept = [place for place, title in enumerate(common) if title in listed]
    rest = [place for place in range(len(common) + 1) if place not in kept]

    def shares(of: tuple[float, ...]) -> tuple[float, ...]:
        return (*(of[place] for place in kept), sum(of[place] for place in rest), of[-1])

    titles = (*(common[place] for place in kept), others, never)
    return replace(feature, titles=titles, reference=shares(feature.reference), current=shares(feature.current))


def earlier(start: datetime, end: datetime, against: str) -> list[Span]:
    """Return the times that the window from `start` to `end` is compared with; none where that is the training."""
    if against == Against.PREVIOUS:
        return [Span(start - (end - start), start)]
    if against == Against.SAME_HOUR:
        return [Span(start - weeks * WEEK, end - weeks * WEEK) for weeks in range(1, 5)]
    return []


def _counts(version_id: int, reference: Reference, window: Span, against: str) -> tuple[Profile, Profile]:
    """Return what was counted in a window, and what that is compared with."""
    spans = earlier(window.start, window.end, against)
    current, before = counts_over(version_id, [[window], spans], reference.empty)
    return current, before if spans else reference.whole


class _Watch(NamedTuple):
    """What watching a version has come to."""

    evidence: dict[str, float | None]  # ln M by series
    mean: float
    budget: float
    hours: int  # of one window
    until: datetime | None
    going_on: datetime  # when the window is over that goes on
    alert: Alert | None

    @property
    def verdict(self) -> str:
        if self.until is None:
            window = "hour" if self.hours == 1 else "day"
            soon = f"judged soon after {self.going_on:%Y-%m-%d %H:%M} UTC, if {MIN_EFFECTIVE_ROWS} rows have been asked by then"
            return f"Not judged yet: the {window} that goes on is {soon}."
        spent = f"{self.mean:,.1f} of {self.budget:,.0f}"
        if self.alert is not None:
            state = self.alert.get_state_display()
            if self.mean < self.budget:  # it began anew with an answer to the alert, or has fallen
                return f"Drift: the alert is {state}. The evidence had reached its budget, and is {spent} windows now."
            return f"Drift: the evidence reached its budget ({spent} windows), and the alert is {state}."
        if self.mean < 2.0:
            return f"Quiet: the evidence is {spent} windows, and rests at 1 where nothing has changed."
        return f"Something moves: the evidence is {spent} windows; an alarm comes when it reaches the budget."


def _watch(version: ModelVersion, now: datetime) -> _Watch:
    monitor = Monitor.objects.filter(version=version).first() or Monitor(version=version)
    hours = monitor.options.get("hours", 24)
    length = timedelta(hours=hours)
    unresolved = Alert.objects.filter(model=version.model, cause=Cause.DRIFT).exclude(state=AlertState.RESOLVED)
    return _Watch(
        evidence=dict(monitor.series.values_list("name", "log_m")) if monitor.pk else {},
        mean=monitor.mean_evidence,
        budget=float(false_alarm_days(version.model.name) * WINDOWS_A_DAY[length]),
        hours=hours,
        until=monitor.until,
        going_on=begin_of(now, GRAIN_OF[length]) + length,
        alert=unresolved.first(),
    )


def _reconstruction(
    reference: Reference, current: Profile, before: Profile, sensitive: Collection[str]
) -> Reconstruction | None:
    found = reconstruction(reference, current, before)
    if found is None or not set(reference.layout.moments.names).intersection(sensitive):
        return found
    return replace(found, rows=0, error=None, error_before=None, low=None, high=None, reason=ONE_SENSITIVE)


def feature_drifts(
    reference: Reference,
    current: Profile,
    before: Profile,
    evidence: dict[str, float | None],
    sensitive: Collection[str],
) -> list[FeatureDrift]:
    """Return the features by their distance, the largest first; nothing is told of `sensitive` ones."""
    baseline = Baseline(reference)
    changes = baseline.changes(current, before)
    named = _named(baseline, [change.name for change in changes if change.name not in sensitive], current, before)
    importance = reference.importance_of if reference.importance else {}
    told = [_feature(change, evidence, current, named, importance.get(change.name)) for change in changes]
    features = [_untold(feature) if feature.name in sensitive else feature for feature in told]
    return sorted(features, key=lambda feature: -(feature.distance or 0.0))


def _named(baseline: Baseline, features: Sequence[str], current: Profile, before: Profile) -> frozenset[str]:
    """Return the series of `features` that changed further than is tolerated, as far as chance does not explain it.

    Of all that many reports name, at most one in twenty is named falsely (`benjamini_hochberg`), however many there are.
    """
    asked = {series_name(kind, feature) for feature in features for kind in KINDS}
    found = [one for one in baseline.found(current, before) if one.name in asked]
    known = {one.name: one.log_p for one in found if one.log_p is not None}
    says = benjamini_hochberg(list(known.values()))
    return frozenset(name for name, is_named in zip(known, says, strict=True) if is_named)


def _feature(
    change: Change,
    evidence: dict[str, float | None],
    current: Profile,
    named: Collection[str],
    importance: float | None,
) -> FeatureDrift:
    distance, log_m = change.distance, evidence.get(series_name(DRIFT, change.name))
    is_number = isinstance(change.bins, NumericBins)
    now, before = change.current, change.reference
    return FeatureDrift(
        name=change.name,
        is_number=is_number,
        is_category=isinstance(change.bins, CategoryBins),
        distance=distance,
        word=scale_of(distance).word if distance is not None else "",
        distances=change.distances,
        titles=tuple(change.bins.titles()),
        bounds=_bounds(change.bins),
        reference=_shares(before.bins),
        current=_shares(now.bins),
        rows=now.rows,
        missing=_share(now.missing + now.non_finite, now),
        missing_before=_share(before.missing + before.non_finite, before),
        unseen=None if is_number else _share(now.unseen, now),
        unseen_before=None if is_number else _share(before.unseen, before),
        out_of_range=_share(now.under + now.over, now) if is_number else None,
        out_of_range_before=_share(before.under + before.over, before) if is_number else None,
        values_unseen=tuple(sorted(current.unseen.get(change.name, {}).items(), key=lambda pair: -pair[1])),
        evidence=float(np.exp(min(log_m, 700.0))) if log_m is not None else None,
        importance=importance,
        changed=tuple(kind for kind in KINDS if series_name(kind, change.name) in named),
    )


def _untold(feature: FeatureDrift) -> FeatureDrift:
    """Return a feature that was made sensitive, of which neither what was counted before is told nor what the reference has."""
    return replace(
        feature,
        distance=None,
        word="",
        distances=Distances(SENSITIVE, *[None] * (len(fields(Distances)) - 1)),
        titles=(),
        bounds=(),
        reference=(),
        current=(),
        missing=None,
        missing_before=None,
        unseen=None,
        unseen_before=None,
        out_of_range=None,
        out_of_range_before=None,
        values_unseen=(),
        evidence=None,
        importance=None,
        changed=(),
        is_sensitive=True,
    )


def _bounds(bins: Bins) -> tuple[float, ...]:
    return (bins.low, *bins.edges, bins.high) if isinstance(bins, NumericBins) else ()


def _shares(bins: np.ndarray) -> tuple[float, ...]:
    total = int(bins.sum())
    return tuple((bins / total).tolist()) if total else (0.0,) * len(bins)


def _share(number: int, of: FeatureCounts) -> float | None:
    return number / of.rows if of.rows else None


def _milliseconds(reference: Reference, counts: Profile, quantile: float) -> float | None:
    microseconds = reference.layout.latency_us(counts, quantile)
    return microseconds / 1000 if microseconds is not None else None
