"""How far two histograms over the same bins are apart, in the measures people ask for. They are shown; `evidence` decides.

Counts are integer arrays of shape (bins,): `reference` of m rows, `current` of n rows. Where a side has no rows there is no
distance: each function returns `None`, and `why_unknown` says why. In the formulas p and q are the shares of `reference` and
`current`. Every distance is 0 for equal counts; all but chi-square, PSI and Wasserstein lie between 0 and 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from trivet.control.monitoring.tails import log_chi_square_upper

EMPTY_BIN = 0.5  # rows that each bin counts more in PSI, our choice: the logarithm of an empty one is no number
SHIFT_OF_WORD = {
    "hardly any": 0.1,
    "small": 0.32,
    "moderate": 0.45,
}  # below it, in σ; 0.32 and 0.45 are PSI 0.1 and 0.2
CERTAIN = 1.0 - 2.0**-53  # the largest probability below one

Counts = np.ndarray


@dataclass(frozen=True)
class Distances:
    """All distances of one feature in one window: `None` where `reason` says why, or where the feature has no such distance."""

    reason: str | None
    ks: float | None
    total_variation: float | None
    l_infinity: float | None
    psi: float | None
    psi_adjusted: float | None
    jensen_shannon: float | None
    hellinger: float | None
    wasserstein: float | None
    chi_square: ChiSquare | None


@dataclass(frozen=True)
class ChiSquare:
    """A two-sample chi-square: the statistic, its degrees of freedom, and ln p."""

    statistic: float
    degrees: int
    log_p: float


@dataclass(frozen=True)
class Scale:
    """What a distance would mean if a normal distribution had moved: by `shift` of its deviations, which is PSI `psi`."""

    shift: float
    psi: float
    word: str


def measure(
    reference: Counts,
    current: Counts,
    *,
    is_ordered: bool,
    places: np.ndarray | None = None,
    deviation: float | None = None,
) -> Distances:
    """Return every distance at once. Bins that are no `is_ordered` values but categories have no KS and no Wasserstein distance.

    Wasserstein's needs `places` and `deviation` as well, as `wasserstein` does.
    """
    return Distances(
        reason=why_unknown(reference, current),
        ks=kolmogorov_smirnov(reference, current) if is_ordered else None,
        total_variation=total_variation(reference, current),
        l_infinity=l_infinity(reference, current),
        psi=population_stability(reference, current),
        psi_adjusted=adjusted_population_stability(reference, current),
        jensen_shannon=jensen_shannon(reference, current),
        hellinger=hellinger(reference, current),
        wasserstein=wasserstein(reference, current, places, deviation)
        if is_ordered and places is not None and deviation is not None
        else None,
        chi_square=chi_square(reference, current),
    )


def why_unknown(reference: Counts, current: Counts) -> str | None:
    """Return why there is no distance between the two, in words; `None` where there is one."""
    if not reference.sum():
        return "no rows in the reference"
    return None if current.sum() else "no rows in this window"


def kolmogorov_smirnov(reference: Counts, current: Counts) -> float | None:
    """Return the largest absolute difference of the cumulated shares. Bins are in the order of their values.

    Of rows in bins it is at most that of the rows themselves, and less by no more than the largest share of one bin.
    """
    gaps = _cumulated_gaps(reference, current)
    return None if gaps is None else float(np.abs(gaps).max())


def total_variation(reference: Counts, current: Counts) -> float | None:
    """Return ½·Σ|p − q|: the share of rows that would have to change bins."""
    shares = _shares(reference, current)
    return None if shares is None else min(1.0, float(np.abs(shares[0] - shares[1]).sum()) / 2.0)


def l_infinity(reference: Counts, current: Counts) -> float | None:
    """Return max|p − q|: what the bin that moved most gained or lost."""
    shares = _shares(reference, current)
    return None if shares is None else float(np.abs(shares[0] - shares[1]).max())


def population_stability(reference: Counts, current: Counts) -> float | None:
    """Return the population stability index Σ(p − q)·ln(p / q), in nats, every bin counting half a row more.

    With no drift its mean is near (bins − 1)·(1/n + 1/m) for n and m rows, so that a fixed threshold such as 0.1 finds drift
    in a third of quiet windows of 200 rows and 20 bins (Yurdakul and Naranjo, Journal of Risk Model Validation 14, 2020).
    """
    if why_unknown(reference, current):
        return None
    p, q = ((counts + EMPTY_BIN) / (counts.sum() + EMPTY_BIN * counts.size) for counts in (reference, current))
    return float(np.sum((p - q) * np.log(p / q)))


def adjusted_population_stability(reference: Counts, current: Counts) -> float | None:
    """Return the population stability index less what it would be on average without drift, at least 0."""
    psi = population_stability(reference, current)
    if psi is None:
        return None
    return max(0.0, psi - (reference.size - 1) * (1.0 / int(current.sum()) + 1.0 / int(reference.sum())))


def jensen_shannon(reference: Counts, current: Counts) -> float | None:
    """Return the Jensen–Shannon distance, base 2: √(½·KL(p‖w) + ½·KL(q‖w)) with w = (p + q) / 2.

    It is a metric (Endres and Schindelin, IEEE Transactions on Information Theory 49, 2003). Summed bin by bin as
    w·[(1 + d)·ln(1 + d) + (1 − d)·ln(1 − d)] with d = (p − q) / (p + q), where no term is negative and none cancels another.
    """
    shares = _shares(reference, current)
    if shares is None:
        return None
    p, q = (share[shares[0] + shares[1] > 0.0] for share in shares)
    tilt = (p - q) / (p + q)
    inside = np.clip(tilt, -CERTAIN, CERTAIN)  # 0·ln 0 is 0
    both = (1.0 + tilt) * np.log1p(inside) + (1.0 - tilt) * np.log1p(-inside)
    return math.sqrt(min(1.0, max(0.0, float(np.sum((p + q) / 2.0 * both)) / (2.0 * math.log(2.0)))))


def hellinger(reference: Counts, current: Counts) -> float | None:
    """Return the Hellinger distance √(1 − Σ√(p·q)), as √(½·Σ(√p − √q)²), which does not cancel."""
    shares = _shares(reference, current)
    if shares is None:
        return None
    return min(1.0, math.sqrt(float(np.sum((np.sqrt(shares[0]) - np.sqrt(shares[1])) ** 2)) / 2.0))


def wasserstein(reference: Counts, current: Counts, places: np.ndarray, deviation: float) -> float | None:
    """Return the Wasserstein-1 distance in deviations of the reference: how far the average row moved.

    `places`, increasing, are either the value of each bin, shape (bins,), where each bin is one value, and the distance is
    exact; or the bounds of the bins, shape (bins + 1,), and rows count as evenly spread within their bin. `None` also where
    `deviation` is 0: the reference was constant.
    """
    gaps = _cumulated_gaps(reference, current)
    if gaps is None or not deviation > 0.0:
        return None
    if places.size == gaps.size:
        return float(np.sum(np.abs(gaps[:-1]) * np.diff(places))) / deviation
    left, right = np.concatenate([[0.0], gaps[:-1]]), gaps
    return float(np.sum(_mean_absolute(left, right) * np.diff(places))) / deviation


def chi_square(reference: Counts, current: Counts) -> ChiSquare | None:
    """Return the chi-square of the 2 × bins table, in which both rows are samples; bins empty in both are left out.

    Its p assumes independent rows and some five expected rows a bin. One that takes the reference for exact finds drift in 31
    to 81 % of quiet windows.
    """
    if why_unknown(reference, current):
        return None
    m, n = float(reference.sum()), float(current.sum())
    together = (reference + current).astype(np.float64)
    excess = current * math.sqrt(m / n) - reference * math.sqrt(n / m)
    statistic = float(np.sum(excess[together > 0] ** 2 / together[together > 0]))
    degrees = int(np.count_nonzero(together)) - 1
    return ChiSquare(statistic, degrees, log_chi_square_upper(statistic, degrees) if degrees else 0.0)


def scale_of(distance: float) -> Scale:
    """Return what a KS distance or a total variation means: that of a normal distribution whose mean moved by s deviations.

    Both are 2·Φ(s/2) − 1 then, and PSI is s². So categories and numbers are read on one scale.
    """
    shift = 2.0 * NormalDist().inv_cdf(min(CERTAIN, (1.0 + distance) / 2.0))
    return Scale(shift, shift**2, next((word for word, below in SHIFT_OF_WORD.items() if shift < below), "large"))


def _shares(reference: Counts, current: Counts) -> tuple[np.ndarray, np.ndarray] | None:
    if why_unknown(reference, current):
        return None
    return reference / reference.sum(), current / current.sum()


def _cumulated_gaps(reference: Counts, current: Counts) -> np.ndarray | None:
    """Return the difference of the cumulated shares at the upper end of each bin; the last is 0."""
    if why_unknown(reference, current):
        return None
    gaps: np.ndarray = np.cumsum(reference) / reference.sum() - np.cumsum(current) / current.sum()
    return gaps


def _mean_absolute(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the mean of |f| over an interval on which f is a straight line from `left` to `right`."""
    low, high = np.abs(left), np.abs(right)
    crossing = left * right < 0.0
    total = np.where(crossing, low + high, 1.0)
    return np.where(crossing, (low**2 + high**2) / (2.0 * total), (low + high) / 2.0)
