"""From one window's counts to evidence: how many rows they are worth, a p-value that tolerates a little, and an e-value of it.

The null of every test is "at most a tolerance away from where the reference came from", so that a window of a million rows
finds nothing where there is nothing worth a person's time. p-values are returned as ln p, from −∞ to 0, and never
exponentiated before they are e-values: p itself underflows. Each takes the reference as a sample, and is wrong for 1 in 1,000
of those.

Rows that come in bursts are worth fewer: a window of n rows has the effective size n / deff. That the rows of a window are
then like independent ones is an assumption, and the only one: series may depend on each other in any way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trivet.control.monitoring.tails import clopper_pearson_upper, log_binomial_lower, log_binomial_upper

TOLERANCE = 0.05  # smallest KS or total variation worth a person's time, chosen: a mean that moved by 0.13 σ
RATE_TOLERANCE = 0.02  # likewise for the share of missing, unseen, out of range
TRAFFIC_TOLERANCE = 0.2  # likewise for an hour's mean, as a share of it: 5 % a week is 13 % more than four weeks' mean
REFERENCE_ERROR = 0.001  # share of references that are further from their population than is allowed for, chosen
MIN_EFFECTIVE_ROWS = 50  # a window worth fewer is judged together with the next
MIN_CHUNKS = 20  # fewer say too little of how rows depend on each other
COMMONEST = 5  # categories whose own dependence is looked at
SERIES_BELOW = 0.5  # −ln p below which the e-value is summed as a series; above it the closed form keeps 14 digits
SERIES = [1.0 / (math.factorial(j) * (j + 2)) for j in range(14)]  # of (ln p)^j; more is less than a float tells
FARTHEST = 1e300  # −ln p of what cannot have happened

Counts = np.ndarray


# What rows are worth


def design_effect(chunks: Counts, reference: Counts, *, successive: bool = False) -> float | None:
    """Return by how much the mean of a chunk of rows varies more than that of independent ones would; at least 1.

    `chunks` are counts of shape (chunks, bins) in time order, `reference` of shape (bins,). Each bin is worth its mid-rank in
    the reference, u = (C₋ + C) / 2m, so that the values' scale does not matter; V is the variance of u, n the rows of a chunk
    and ū its mean. deff = Σ n·(ū − ū̄)² / (W − 1) / V, ū̄ weighted by n. With `successive`, deff = mean of (ū_w − ū_{w−1})² /
    (1/n_w + 1/n_{w−1}) / V, in which a slow drift hardly counts. Both are 1 on average for independent rows, however unequal
    the chunks. `None` with fewer than 20 chunks that have rows.
    """
    cumulated = np.cumsum(reference)
    if not reference.sum():
        return None
    ranks = (2.0 * cumulated - reference) / (2.0 * cumulated[-1])
    variance = float(np.sum(reference * (ranks - 0.5) ** 2)) / float(cumulated[-1])
    return _design_effect(chunks @ ranks, chunks.sum(axis=1), variance, successive=successive)


def design_effect_of_categories(chunks: Counts, reference: Counts, *, successive: bool = False) -> float | None:
    """Return the largest design effect among the shares of the reference's five commonest categories; as `design_effect`."""
    rows = chunks.sum(axis=1)
    commonest = np.argsort(-reference, kind="stable")[:COMMONEST]
    effects = [
        design_effect_of_rate(
            chunks[:, category], rows, int(reference[category]), int(reference.sum()), successive=successive
        )
        for category in commonest
    ]
    return None if None in effects else max(effect for effect in effects if effect is not None)


def design_effect_of_rate(
    events: Counts, rows: Counts, reference_events: int, reference_rows: int, *, successive: bool = False
) -> float | None:
    """Return the design effect of the share of rows with an event; `events` and `rows` have the shape (chunks,)."""
    if not reference_rows:
        return None
    rate = reference_events / reference_rows
    return _design_effect(events.astype(np.float64), rows, rate * (1.0 - rate), successive=successive)


def _design_effect(sums: np.ndarray, rows: Counts, variance: float, *, successive: bool) -> float | None:
    has_rows = rows > 0
    if np.count_nonzero(has_rows) < MIN_CHUNKS:
        return None
    if variance <= 0.0:  # a reference that never varied says nothing of how it does
        return 1.0
    n = rows[has_rows].astype(np.float64)
    means = sums[has_rows] / n
    if successive:
        between = float(np.mean(np.diff(means) ** 2 / (1.0 / n[1:] + 1.0 / n[:-1])))
    else:
        between = float(np.sum(n * (means - np.average(means, weights=n)) ** 2)) / (n.size - 1)
    return max(1.0, between / variance)


# p-values that tolerate a little


def log_p_of_distribution(
    ks: float | None, rows: float, reference_rows: float, *, tolerance: float = TOLERANCE
) -> float | None:
    """Return ln p of a KS distance `ks`; `rows` and `reference_rows` are effective sizes. `None` where there is no distance.

    ln p = min(0, ln 2 − 2n·max(0, KS − δ − ε)²), ε = √(ln(2/0.001) / 2m): the inequality of Dvoretzky, Kiefer and Wolfowitz
    with Massart's constant (Annals of Probability 18, 1990), once for the window and once for the reference. It holds for
    values with ties and for values in bins, where KS can only be smaller.
    """
    if ks is None:
        return None
    slack = math.sqrt(math.log(2.0 / REFERENCE_ERROR) / (2.0 * reference_rows))
    return min(0.0, math.log(2.0) - 2.0 * rows * max(0.0, ks - tolerance - slack) ** 2)


def log_p_of_categories(
    total_variation: float | None, rows: float, reference_rows: float, categories: int, *, tolerance: float = TOLERANCE
) -> float | None:
    """Return ln p of a total variation over k `categories`, with sizes as in `log_p_of_distribution`; `None` without a distance.

    ln p = min(0, −2n·max(0, TV − δ − ½√((k−1)/n) − ½√((k−1)/m) − ε)²), ε = √(ln(1/0.001) / 2m). The mean distance of a sample
    of n from its population is at most ½√((k−1)/n), and it exceeds its mean by McDiarmid's inequality (Surveys in
    Combinatorics, 1989). Many categories and few rows find little: 50 of them and 500 rows add 0.16 to the tolerance.
    """
    if total_variation is None:
        return None
    by_chance = 0.5 * math.sqrt((categories - 1) / rows) + 0.5 * math.sqrt((categories - 1) / reference_rows)
    slack = math.sqrt(math.log(1.0 / REFERENCE_ERROR) / (2.0 * reference_rows))
    return min(0.0, -2.0 * rows * max(0.0, total_variation - tolerance - by_chance - slack) ** 2)


def log_p_of_rate(
    events: int,
    rows: int,
    reference_events: int,
    reference_rows: int,
    *,
    effect: float = 1.0,
    tolerance: float = RATE_TOLERANCE,
) -> float | None:
    """Return ln p that `events` of `rows` are no more frequent than they were: exact, one-sided, since only more of them is bad.

    P(Bin(⌊n/deff⌋, r) ≥ ⌊k/deff⌋) with r the upper end of the reference's rate (Clopper–Pearson, 99.9 %) plus the tolerance,
    at most 1; `effect` is deff. `None` where either side has no rows.
    """
    if not rows or not reference_rows:
        return None
    rate = min(1.0, clopper_pearson_upper(reference_events, reference_rows, REFERENCE_ERROR) + tolerance)
    return log_binomial_upper(math.floor(events / effect), math.floor(rows / effect), rate)


def log_p_of_traffic(
    rows: int, before: Sequence[int], dispersion: float, *, tolerance: float = TRAFFIC_TOLERANCE
) -> float | None:
    """Return ln p that `rows` came in as many as `before`, the rows of the same hour in each of the W weeks before; two-sided.

    If all W + 1 hours have the same mean, this one's share of the rows of all is binomial with 1 / (W + 1), whatever the mean
    is, which need not be estimated. Rows come in bursts of `dispersion` φ: P(Bin(⌊T/φ⌋, s) ≥ ⌊x/φ⌋), x of T rows, with s = (1
    + ρ) / (W + 1 + ρ) for a mean that may be 1 + ρ times what it was, and likewise down. `None` without weeks, or where no
    hour had a row.
    """
    total = rows + sum(before)
    if not before or not total:
        return None
    weeks, factor = len(before), 1.0 + tolerance
    bursts, of = rows / dispersion, total / dispersion
    more = log_binomial_upper(math.floor(bursts), math.floor(of), factor / (weeks + factor))
    fewer = log_binomial_lower(math.ceil(bursts), math.ceil(of), 1.0 / (weeks * factor + 1.0))
    return min(0.0, math.log(2.0) + min(more, fewer))


def traffic_dispersion(history: Counts) -> float | None:
    """Return how many rows come at once, as it were: the variance of an hour's rows over its mean, at least 1.

    `history` holds rows of shape (weeks, hours), the same hours in each week; all of them together, since four weeks of one
    hour alone are often alike by chance. φ = max(1, Σ(x − μ)² / (W − 1) / Σμ), μ the mean of an hour over the weeks. `None`
    with fewer than two weeks, or where no hour had a row.
    """
    means = history.mean(axis=0) if len(history) > 1 else np.zeros(1)
    if not means.any():
        return None
    return max(1.0, float(np.sum((history - means) ** 2) / (len(history) - 1) / means.sum()))


def benjamini_hochberg(log_p: Sequence[float], *, rate: float = 0.05) -> list[bool]:
    """Say which of many p-values a report made once may name, so that of those named at most `rate` are false on average.

    `log_p` holds ln p. The k smallest are named, k the largest number for which the k-th smallest p is at most k·rate / K
    (Benjamini and Hochberg, JRSS-B 57, 1995); for independent or positively dependent p-values. Watching goes by `detector`
    instead: a report that is looked at every hour finds something false in the end.
    """
    ordered = sorted(log_p)
    within = [p for k, p in enumerate(ordered, start=1) if p <= math.log(rate * k / len(ordered))]
    return [bool(within) and p <= within[-1] for p in log_p]


# From p to e


def log_e(log_p: np.ndarray | float) -> np.ndarray:
    """Return ln e of ln p, of any shape: e = (1 − p + p·ln p) / (p·ln² p), which is ½ for p = 1 and near 1 / (p·ln² p) far out.

    The mean of Vovk and Wang's calibrators κ·p^(κ−1) over κ in (0, 1) (Annals of Statistics 49, 2021): for uniform p the mean
    of e is 1. As e = Σ (ln p)^j / (j!·(j + 2)) / p near 1, where the closed form cancels.
    """
    exact = np.asarray(log_p, dtype=np.float64)
    far = np.clip(exact, -FARTHEST, -SERIES_BELOW)
    closed = np.log1p(np.exp(far) * (far - 1.0)) - far - 2.0 * np.log(-far)
    near = np.maximum(exact, -SERIES_BELOW)
    series = np.log(np.polynomial.polynomial.polyval(near, SERIES)) - near
    return np.where(exact < -SERIES_BELOW, closed, series)
