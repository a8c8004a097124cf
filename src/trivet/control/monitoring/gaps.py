"""Whether a version treats segments alike: how often it selects, finds and wrongly selects, and what its scores mean there.

Each segment is compared with all other rows. The four-fifths rule compares with the segment that is selected most often;
which one that is is chosen by the same rows, so that the others look worse by chance, the more so the more there are.
Nothing is flagged below 200 rows on either side, while the interval holds the limit, or if it would not be for the number
of segments that were looked at (Holm 1979). All assume independent rows, and segments that share none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from statistics import NormalDist
from typing import NamedTuple, TypeVar

from trivet.control.monitoring.performance import ENOUGH_LABELS, LEVEL, NoFigure, not_yet, wilson
from trivet.control.monitoring.truths import Confusion

RATIO_LIMIT = 0.8  # four fifths (29 CFR 1607.4 D); also its inverse, for who selects may mean well or not
RATE_LIMIT = 0.1  # chosen: a difference of true or false positive rates
CALIBRATION_LIMIT = 0.05  # chosen: what a mean score may be away from the share of positives
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


K = TypeVar("K", bound=Hashable)  # what a segment is called


class Share(NamedTuple):
    """`part` of `whole` rows."""

    part: float
    whole: float


class Scored(NamedTuple):
    """Labelled rows that have a score: how many turned out positive, how many there are, and the sum of their scores."""

    positives: float
    labels: float
    score_sum: float


class Gap(NamedTuple):
    """How far a segment is from the other rows, with its 95 % interval.

    `p` is the chance to see it that far beyond the limit, or further, if it is on the limit; adjusted for how many
    segments were looked at.
    """

    value: float
    low: float
    high: float
    p: float
    is_flagged: bool


Found = Gap | NoFigure


def selection_ratios(selected: Mapping[K, Share], *, need: int = ENOUGH_LABELS) -> dict[K, Found]:
    """Return how often each segment is selected, as a multiple of how often the others are.

    `selected` says how many of a segment's rows were predicted positive; no labels are needed. The interval is normal in the
    logarithm (Katz and others 1978), half a row added to each side that has none. The limit is 0.8, and 1.25.
    """
    return _flagged({name: _ratio(share, rest, need) for name, (share, rest) in _with_rest(selected).items()})


def rate_gaps(confusions: Mapping[K, Confusion], *, need: int = ENOUGH_LABELS) -> dict[str, dict[K, Found]]:
    """Return the `true_positive_rate` and `false_positive_rate` of each segment minus those of the others.

    Only rows whose labels are known count, and of these the positives, or the negatives. Newcombe's interval (1998, method
    10). The limit is 0.1 either way.
    """
    return {
        measure: _flagged(
            {
                name: _difference(share, rest, need)
                for name, (share, rest) in _with_rest({name: of(c) for name, c in confusions.items()}).items()
            }
        )
        for measure, of in RATES.items()
    }


def calibration_gaps(segments: Mapping[K, Scored], *, need: int = ENOUGH_LABELS) -> dict[K, Found]:
    """Return each segment's mean score minus its share of positives, by Wilson's interval of that share; the limit is 0.05."""
    return _flagged({name: _calibration(scored, need) for name, scored in segments.items()})


RATES: Mapping[str, Callable[[Confusion], Share]] = {
    "true_positive_rate": lambda c: Share(c.true_positives, c.true_positives + c.false_negatives),
    "false_positive_rate": lambda c: Share(c.false_positives, c.false_positives + c.true_negatives),
}


def holm(p_values: Mapping[K, float]) -> dict[K, float]:
    """Return p-values adjusted for their number (Holm 1979): below α is what may be believed, all of it at once."""
    adjusted: dict[K, float] = {}
    highest = 0.0
    for place, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p))
        adjusted[name] = highest
    return adjusted


def _with_rest(shares: Mapping[K, Share]) -> dict[K, tuple[Share, Share]]:
    part, whole = (sum(side) for side in zip(*shares.values(), strict=True)) if shares else (0.0, 0.0)
    return {name: (share, Share(part - share.part, whole - share.whole)) for name, share in shares.items()}


def _too_few(share: Share, rest: Share, need: int) -> NoFigure | None:
    fewer = min(share.whole, rest.whole)
    return not_yet(fewer, need, "rows" if fewer == share.whole else "other rows") if fewer < max(need, 1) else None


def _ratio(share: Share, rest: Share, need: int) -> Found:
    if missing := _too_few(share, rest, need):
        return missing
    if share.part + rest.part <= 0:
        return NoFigure("no row was selected")
    half = 0.5 if min(share.part, rest.part) <= 0 else 0.0
    (a, m), (b, n) = ((part + half, whole + half) for part, whole in (share, rest))
    value, reach = math.log(a / m) - math.log(b / n), Z * math.sqrt(max(0.0, 1 / a - 1 / m + 1 / b - 1 / n))
    return Gap(
        math.exp(value),
        math.exp(value - reach),
        math.exp(value + reach),
        _beyond(abs(value) + math.log(RATIO_LIMIT), reach),
        is_flagged=False,
    )


def _difference(share: Share, rest: Share, need: int) -> Found:
    if missing := _too_few(share, rest, need):
        return missing
    ours, others = share.part / share.whole, rest.part / rest.whole
    (low, high), (others_low, others_high) = wilson(*share), wilson(*rest)
    down, up = math.hypot(ours - low, others_high - others), math.hypot(high - ours, others - others_low)
    value = ours - others
    return Gap(
        value,
        value - down,
        value + up,
        _beyond(abs(value) - RATE_LIMIT, down if value > 0 else up),
        is_flagged=False,
    )


def _calibration(scored: Scored, need: int) -> Found:
    positives, labels, score_sum = scored
    if labels < max(need, 1):
        return not_yet(labels, need)
    score = score_sum / labels
    low, high = wilson(positives, labels)
    share = positives / labels
    value = score - share
    reach = high - share if value > 0 else share - low
    return Gap(value, score - high, score - low, _beyond(abs(value) - CALIBRATION_LIMIT, reach), is_flagged=False)


def _beyond(excess: float, reach: float) -> float:
    """Return the two-sided p-value of lying `excess` beyond a limit, where `reach` is 95 % of what chance does."""
    if reach <= 0:
        return 0.0 if excess > 0 else 1.0
    return min(1.0, 2 * (1 - NormalDist().cdf(Z * excess / reach)))


def _flagged(gaps: Mapping[K, Found]) -> dict[K, Found]:
    adjusted = holm({name: gap.p for name, gap in gaps.items() if isinstance(gap, Gap)})
    return {
        name: gap._replace(p=adjusted[name], is_flagged=adjusted[name] < 1 - LEVEL) if isinstance(gap, Gap) else gap
        for name, gap in gaps.items()
    }
