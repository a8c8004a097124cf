"""Layout: where in a profile each thing is counted, and how rows come to be counted there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trivet.core.profile.bins import Bins, CategoryBins, FeatureCounts
from trivet.core.profile.moments import Moments, Sums
from trivet.core.profile.profile import Profile
from trivet.core.profile.scores import ScoreBins

COUNTERS = ("cached", "fallback", "flagged")
LATENCY_BINS = 1024  # of a logarithm to base 1.02 of microseconds: at most 1 % wrong, up to ten minutes
LATENCY_STEP = float(np.log(1.02))
_TRAVELLING = {"False": "0", "True": "1"}  # classes that were booleans are answered as whole numbers

Columns = Mapping[str, Any]  # feature -> its values, one a row: float64 with NaN for missing, or texts with None
Counters = tuple[int, int, int]


class Answers(NamedTuple):
    """What was answered to some rows: `scores` (rows,) float64 in the order of the reference's score bins, and the decisions."""

    scores: Sequence[np.ndarray]
    decisions: Sequence[str]


class Layout:
    """The places of all bins of a reference, one after the other."""

    def __init__(
        self,
        features: tuple[Bins, ...],
        decisions: CategoryBins | None,
        scores: tuple[ScoreBins, ...],
        *,
        has_moments: bool = True,
    ) -> None:
        """Lay out `features`, then `decisions`, `scores`, counters and latencies; beside them the moments, where it has any."""
        self._features, self._decisions, self._scores = features, decisions, scores
        self.moments = Moments(features if has_moments else ())
        widths = [*(b.width for b in features), decisions.width if decisions else 0, *(s.width for s in scores)]
        ends = np.cumsum([*widths, len(COUNTERS), LATENCY_BINS]).tolist()
        starts = [0, *ends[:-1]]
        slices = [slice(*pair) for pair in zip(starts, ends, strict=True)]
        self._of_feature = dict(zip((b.name for b in features), slices, strict=False))
        self._of_decisions = slices[len(features)]
        self._of_scores = slices[len(features) + 1 : -2]
        self._of_counters, self._of_latency = slices[-2:]
        self.width = ends[-1]
        score_ends = np.cumsum([s.width for s in scores]).tolist()
        self._sums = [slice(end - s.width, end) for end, s in zip(score_ends, scores, strict=True)]
        self.sums_width = score_ends[-1] if scores else 0

    @property
    def empty(self) -> Profile:
        """The profile of no rows."""
        cells, sums, moments = (
            np.zeros(width, np.int64) for width in (self.width, self.sums_width, self.moments.width)
        )
        return Profile(0, cells, sums, moments=moments)

    def fits(self, profile: Profile) -> bool:
        """Tell whether `profile` was counted by this layout; it may have no moments, as those of an earlier release."""
        moments = len(profile.moments)
        places = (len(profile.cells), len(profile.sums))
        return places == (self.width, self.sums_width) and moments in (0, self.moments.width)

    def fold(self, columns: Columns, answers: Answers, latency_us: np.ndarray | None, counters: Counters) -> Profile:
        """Return the profile of some rows, as `Reference.fold` says."""
        rows = len(answers.decisions)
        cells, sums = np.zeros(self.width, np.int64), np.zeros(self.sums_width, np.int64)
        unseen: dict[str, dict[str, int]] = {}
        for bins in self._features:
            values = columns.get(bins.name)
            if values is None:
                continue
            cells[self._of_feature[bins.name]] = bins.count(values)
            if isinstance(bins, CategoryBins) and (new := bins.unseen_of(values)):
                unseen[bins.name] = new
        if self._decisions is not None:
            cells[self._of_decisions] = self._decisions.count(answers.decisions)
        for score, place, place_of_sums, numbers in zip(
            self._scores, self._of_scores, self._sums, answers.scores, strict=True
        ):
            places = score.places(numbers, predicted_of(score, answers.decisions))
            cells[place] = np.bincount(places, minlength=score.width)
            sums[place_of_sums] = score.sums(numbers, places)
        cells[self._of_counters] = counters
        if latency_us is not None:
            cells[self._of_latency] = np.bincount(latency_places(latency_us), minlength=LATENCY_BINS)
        return Profile(rows, cells, sums, unseen, self.moments.fold(columns))

    def feature(self, profile: Profile, bins: Bins) -> FeatureCounts:
        """Return what `profile` counted of a feature."""
        return bins.read(profile.cells[self._of_feature[bins.name]])

    def features(self, profile: Profile) -> Iterator[tuple[Bins, FeatureCounts]]:
        """Yield each feature's bins and what `profile` counted of it."""
        for bins in self._features:
            yield bins, self.feature(profile, bins)

    def decisions(self, profile: Profile) -> FeatureCounts | None:
        """Return how often each class was decided on; None where nothing is decided."""
        return self._decisions.read(profile.cells[self._of_decisions]) if self._decisions is not None else None

    def score(self, profile: Profile, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the counts and the sums (width,) of the score with `number` among the reference's."""
        return profile.cells[self._of_scores[number]], profile.sums[self._sums[number]]

    def sums_of_numbers(self, profile: Profile) -> Sums:
        """Return what `profile` summed of the numbers that `moments` names, and of how many rows."""
        return self.moments.read(profile.moments)

    def counters(self, profile: Profile) -> dict[str, int]:
        """Return how many rows were cached, answered by a fallback, flagged."""
        return dict(zip(COUNTERS, profile.cells[self._of_counters].tolist(), strict=True))

    def latency_us(self, profile: Profile, quantile: float) -> float | None:
        """Return a quantile of the latency in microseconds, at most 1 % wrong; None without rows."""
        counts = profile.cells[self._of_latency]
        if not (total := int(counts.sum())):
            return None
        place = int(np.searchsorted(np.cumsum(counts), quantile * total, side="left"))
        return float(np.exp((min(place, LATENCY_BINS - 1) + 0.5) * LATENCY_STEP))


def predicted_of(bins: ScoreBins, decisions: Sequence[str]) -> np.ndarray:
    """Return for each of `decisions` whether it is the class that `bins` are of: (rows,) int64."""
    if not bins.is_of_class:
        return np.zeros(len(decisions), dtype=np.int64)
    words = (bins.name, word_of(bins.name))
    return np.fromiter((decision in words for decision in decisions), np.int64, len(decisions))


def word_of(name: str) -> str:
    """Return how a decision for the class called `name` is written."""
    return _TRAVELLING.get(name, name)


def latency_places(latency_us: np.ndarray) -> np.ndarray:
    """Return the place of each latency."""
    logarithms = np.log(np.maximum(np.asarray(latency_us, dtype=np.float64), 1.0)) / LATENCY_STEP
    return np.minimum(logarithms.astype(np.int64), LATENCY_BINS - 1)
