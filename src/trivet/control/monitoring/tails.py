"""Logarithms of tail probabilities, right for counts in the thousand millions and however far out, from `math` alone.

Everything returns ln P, since what is interesting here is too small for a float: e⁻¹⁰⁰⁰ is an everyday value. Densities
follow Loader, "Fast and accurate computation of binomial probabilities" (2000), which loses no digits where the gamma
function would; what is added to them follows the continued fractions of the incomplete beta and gamma functions (DLMF
8.17.22, 8.9.2). The relative error of P is below 1e-9 where counts are below 1e9.
"""

from __future__ import annotations

import math
from functools import lru_cache

SURE = 0.0  # ln 1
NEVER = -math.inf  # ln 0
CONVERGED = 1e-15  # relative change from which another step says nothing
HALVINGS = 60  # of an interval of length one: less than a float can tell


def log_binomial_upper(k: int, n: int, p: float) -> float:
    """Return ln P(X ≥ k) for X binomial with `n` trials of probability `p`."""
    if k <= 0 or (p >= 1.0 and k <= n):
        return SURE
    if k > n or p <= 0.0:
        return NEVER
    return _log_beta(float(k), float(n - k + 1), p, 1.0 - p)[0]


def log_binomial_lower(k: int, n: int, p: float) -> float:
    """Return ln P(X ≤ k) for X binomial with `n` trials of probability `p`."""
    if k >= n or (p <= 0.0 and k >= 0):
        return SURE
    if k < 0 or p >= 1.0:
        return NEVER
    return _log_beta(float(k + 1), float(n - k), p, 1.0 - p)[1]


@lru_cache(maxsize=4096)  # asked anew in every window, of a reference that stays
def clopper_pearson_upper(k: int, n: int, error: float = 0.001) -> float:
    """Return the upper end of the exact one-sided interval for a probability of which `k` of `n` trials were seen.

    It is the probability at which `k` or fewer are seen with probability `error` (Clopper and Pearson, Biometrika 26, 1934):
    the true one is above it in at most that share of samples. 1 where there was no trial, or where all were seen.
    """
    if k >= n:
        return 1.0
    low, high, wanted = k / n, 1.0, math.log(error)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if log_binomial_lower(k, n, middle) > wanted else (low, middle)
    return high


def log_chi_square_upper(statistic: float, degrees: int) -> float:
    """Return ln P(X ≥ `statistic`) for X chi-squared with `degrees` ≥ 1 of freedom."""
    return _log_gamma(degrees / 2.0, statistic / 2.0)[1] if statistic > 0.0 else SURE


def _log_beta(a: float, b: float, x: float, y: float) -> tuple[float, float]:
    """Return ln I_x(a, b) and ln(1 − I_x(a, b)) of the regularised incomplete beta function, y = 1 − x, 0 < x < 1."""
    if x * (a + b + 2.0) > a + 1.0:
        upper = min(SURE, _log_beta_term(b, a, y, x) + math.log(_beta_fraction(b, a, y)))
        return _log_complement(upper), upper
    lower = min(SURE, _log_beta_term(a, b, x, y) + math.log(_beta_fraction(a, b, x)))
    return lower, _log_complement(lower)


def _log_beta_term(a: float, b: float, x: float, y: float) -> float:
    """Return ln of x^a·y^b / (a·B(a, b)): the density of a among a + b, by Loader's deviances, times b / (a + b)."""
    n = a + b
    density = _stirling_error(n) - _stirling_error(a) - _stirling_error(b) - _deviance(a, n * x) - _deviance(b, n * y)
    return density + 0.5 * math.log(n / (math.tau * a * b)) + math.log(b / n)


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of I_x(a, b), by Lentz's method; steps grow as the root of a or b, near the mean."""
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    fraction, step, change = d, 0.0, 2.0
    while abs(change - 1.0) > CONVERGED:
        step += 1.0
        even = step * (b - step) * x / ((a + 2.0 * step - 1.0) * (a + 2.0 * step))
        c, d = 1.0 + even / c, 1.0 / (1.0 + even * d)
        fraction *= c * d
        odd = -(a + step) * (a + b + step) * x / ((a + 2.0 * step) * (a + 2.0 * step + 1.0))
        c, d = 1.0 + odd / c, 1.0 / (1.0 + odd * d)
        change = c * d
        fraction *= change
    return fraction


def _log_gamma(a: float, x: float) -> tuple[float, float]:
    """Return ln P(a, x) and ln Q(a, x) of the regularised incomplete gamma functions, a > 0, x > 0."""
    term = -_stirling_error(a) - _deviance(a, x) - 0.5 * math.log(math.tau * a)  # ln of x^a·e^−x / Γ(a + 1)
    if x < a + 1.0:
        lower = min(SURE, term + math.log(_gamma_series(a, x)))
        return lower, _log_complement(lower)
    upper = min(SURE, term + math.log(a * _gamma_fraction(a, x)))
    return _log_complement(upper), upper


def _gamma_series(a: float, x: float) -> float:
    total = term = 1.0
    place = a
    while term > CONVERGED * total:
        place += 1.0
        term *= x / place
        total += term
    return total


def _gamma_fraction(a: float, x: float) -> float:
    b, step, change = x + 1.0 - a, 0.0, 2.0
    c, d = math.inf, 1.0 / b
    fraction = d
    while abs(change - 1.0) > CONVERGED:
        step += 1.0
        numerator = step * (a - step)
        b += 2.0
        c, d = b + numerator / c, 1.0 / (b + numerator * d)
        change = c * d
        fraction *= change
    return fraction


def _stirling_error(n: float) -> float:
    """Return ln n! less Stirling's √(2πn)·(n/e)ⁿ, n > 0."""
    if n < 16.0:
        return math.lgamma(n + 1.0) - (n + 0.5) * math.log(n) + n - 0.5 * math.log(math.tau)
    square = n * n
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / square) / square) / square) / n


def _deviance(x: float, mean: float) -> float:
    """Return x·ln(x / mean) + mean − x, by a series where the terms nearly cancel."""
    tilt = (x - mean) / (x + mean)
    if abs(tilt) >= 0.1:
        return x * math.log(x / mean) + mean - x
    total, term, power = (x - mean) * tilt, 2.0 * x * tilt, 1.0
    while True:
        term *= tilt * tilt
        power += 2.0
        longer = total + term / power
        if longer == total:
            return total
        total = longer


def _log_complement(log_p: float) -> float:
    """Return ln(1 − p) from ln p."""
    if log_p >= SURE:
        return NEVER
    return math.log(-math.expm1(log_p)) if log_p > -math.log(2.0) else math.log1p(-math.exp(log_p))
