"""Series: the things that are watched of a version, and what one window says of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trivet.control.monitoring.distances import Distances, kolmogorov_smirnov, measure, total_variation
from trivet.control.monitoring.evidence import (
    RATE_TOLERANCE,
    TOLERANCE,
    design_effect,
    design_effect_of_categories,
    design_effect_of_rate,
    log_p_of_categories,
    log_p_of_distribution,
    log_p_of_rate,
)
from trivet.core.profile.bins import Bins, CategoryBins, FeatureCounts, NumericBins
from trivet.core.profile.profile import Profile
from trivet.core.profile.reference import Reference

NAME_LENGTH = 200  # of a series' name in its column
DRIFT, MISSING, UNSEEN, RANGE = "drift", "missing", "unseen", "range"
SCORE, DECISIONS = "score", "decisions"
EVENTS: dict[str, Callable[[FeatureCounts], int]] = {
    MISSING: lambda counts: counts.missing + counts.non_finite,
    UNSEEN: lambda counts: counts.unseen,
    RANGE: lambda counts: counts.under + counts.over,
}


@dataclass(frozen=True)
class Found:
    """What a window says of one series: ln p, None where it had no rows, and the distance or the share it rests on."""

    name: str
    log_p: float | None
    value: float | None  # KS, total variation, or the share of rows
    rows: int
    effective_rows: float


@dataclass(frozen=True)
class Change:
    """One feature in a window beside its reference, for people to read."""

    name: str
    bins: Bins
    reference: FeatureCounts
    current: FeatureCounts
    distances: Distances

    @property
    def distance(self) -> float | None:
        """What decides: KS of a number, the total variation of anything else."""
        return self.distances.ks if isinstance(self.bins, NumericBins) else self.distances.total_variation


class Baseline:
    """A reference with what its pieces say of how rows depend on each other; made once, used for every window."""

    def __init__(
        self, reference: Reference, *, tolerance: float | None = None, rate_tolerance: float | None = None
    ) -> None:
        """Take the reference as it is; changes of a distance or of a rate up to the tolerances are worth nobody's time."""
        self.reference = reference
        self._layout = reference.layout
        self._tolerance = TOLERANCE if tolerance is None else tolerance
        self._rate_tolerance = RATE_TOLERANCE if rate_tolerance is None else rate_tolerance

    def found(self, window: Profile, before: Profile | None = None) -> Iterator[Found]:
        """Yield what `window` says of each series beside `before`, by default the reference's own rows.

        Always the same series in the same order.
        """
        beside = before if before is not None else self.reference.whole
        for bins, counts in self._layout.features(window):
            yield from self._of_feature(bins, self._layout.feature(beside, bins), counts)
        decisions, decided = (self._layout.decisions(profile) for profile in (beside, window))
        if decisions is not None and decided is not None:
            yield self._of_categories(DECISIONS, decisions, decided)
        for number, scores in enumerate(self.reference.scores):
            name = SCORE if len(self.reference.scores) == 1 else series_name(SCORE, scores.name)
            reference, current = (self._score(profile, number) for profile in (beside, window))
            yield self._of_numbers(name, reference, current, self._effects[name])

    def changes(self, window: Profile, before: Profile | None = None) -> list[Change]:
        """Return each feature of `window` beside `before`, by default the reference's own rows."""
        beside = before if before is not None else self.reference.whole
        return [
            Change(bins.name, bins, reference, current, self._distances(bins, reference, current))
            for (bins, current), (_, reference) in zip(
                self._layout.features(window), self._layout.features(beside), strict=True
            )
        ]

    def _score(self, profile: Profile, number: int) -> np.ndarray:
        counts, _ = self._layout.score(profile, number)
        by_bin: np.ndarray = self.reference.scores[number].table(counts).sum(axis=1)
        return by_bin

    def _of_feature(self, bins: Bins, reference: FeatureCounts, counts: FeatureCounts) -> Iterator[Found]:
        name = series_name(DRIFT, bins.name)
        if isinstance(bins, NumericBins):
            yield self._of_numbers(name, reference.bins, counts.bins, self._effects[name])
        else:
            yield self._of_categories(name, reference, counts)
        for kind in _rates(bins):
            yield self._of_rate(
                series_name(kind, bins.name), EVENTS[kind](reference), EVENTS[kind](counts), reference.rows, counts.rows
            )

    def _of_numbers(self, name: str, reference: np.ndarray, current: np.ndarray, effect: float) -> Found:
        rows = int(current.sum())
        ks = kolmogorov_smirnov(reference, current)
        effective = rows / effect
        log_p = log_p_of_distribution(ks, effective, int(reference.sum()), tolerance=self._tolerance)
        return Found(name, log_p, ks, rows, effective)

    def _of_categories(self, name: str, reference: FeatureCounts, current: FeatureCounts) -> Found:
        rows, effective = current.values, current.values / self._effects[name]
        distance = total_variation(reference.bins, current.bins)
        met = int(np.count_nonzero(reference.bins + current.bins))
        log_p = log_p_of_categories(distance, effective, reference.values, max(met, 1), tolerance=self._tolerance)
        return Found(name, log_p, distance, rows, effective)

    def _of_rate(self, name: str, were: int, are: int, of: int, rows: int) -> Found:
        effect = self._effects[name]
        log_p = log_p_of_rate(are, rows, were, of, effect=effect, tolerance=self._rate_tolerance)
        return Found(name, log_p, are / rows if rows else None, rows, rows / effect)

    @staticmethod
    def _distances(bins: Bins, reference: FeatureCounts, current: FeatureCounts) -> Distances:
        if not isinstance(bins, NumericBins) or not bins.edges or bins.deviation <= 0.0:
            return measure(reference.bins, current.bins, is_ordered=isinstance(bins, NumericBins))
        bounds = np.array([min(bins.low, bins.edges[0]), *bins.edges, max(bins.high, bins.edges[-1])])
        return measure(reference.bins, current.bins, is_ordered=True, places=bounds, deviation=bins.deviation)

    @cached_property
    def _effects(self) -> dict[str, float]:
        """The design effect of each series; 1 where the reference's pieces are too few to say."""
        chunks = self.reference.chunks
        effects: dict[str, float | None] = {}
        for bins in self.reference.features:
            whole = self._layout.feature(self.reference.whole, bins)
            parts = [self._layout.feature(chunk, bins) for chunk in chunks]
            tables = np.array([part.bins for part in parts]).reshape(len(parts), len(whole.bins))
            rows = np.array([part.rows for part in parts])
            is_number = isinstance(bins, NumericBins)
            effect = design_effect if is_number else design_effect_of_categories
            effects[series_name(DRIFT, bins.name)] = effect(tables, whole.bins)
            for kind in _rates(bins):
                events = np.array([EVENTS[kind](part) for part in parts])
                effects[series_name(kind, bins.name)] = design_effect_of_rate(
                    events, rows, EVENTS[kind](whole), whole.rows
                )
        if (decided := self._layout.decisions(self.reference.whole)) is not None:
            parts = [found for chunk in chunks if (found := self._layout.decisions(chunk)) is not None]
            tables = np.array([part.bins for part in parts]).reshape(len(parts), len(decided.bins))
            effects[DECISIONS] = design_effect_of_categories(tables, decided.bins)
        for number, scores in enumerate(self.reference.scores):
            name = SCORE if len(self.reference.scores) == 1 else series_name(SCORE, scores.name)
            tables = np.array([self._score(chunk, number) for chunk in chunks]).reshape(len(chunks), scores.bins)
            effects[name] = design_effect(tables, self._score(self.reference.whole, number))
        return {name: effect if effect is not None else 1.0 for name, effect in effects.items()}


def _rates(bins: Bins) -> tuple[str, ...]:
    """Return the shares of rows that are watched of a feature, beside its values."""
    if isinstance(bins, NumericBins):
        return (RANGE, MISSING)
    return (UNSEEN, MISSING) if isinstance(bins, CategoryBins) else (MISSING,)


def series_name(kind: str, feature: str) -> str:
    """Return the name of a series: kind:feature, where that is long its beginning and a digest of it."""
    name = f"{kind}:{feature}"
    if len(name) <= NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{name[: NAME_LENGTH - 17]}~{digest}"
