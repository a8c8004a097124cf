"""Tail probabilities in logarithms: against exact fractions, closed forms and the library everyone uses."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from trivet.control.monitoring.tails import (
    clopper_pearson_upper,
    log_binomial_lower,
    log_binomial_upper,
    log_chi_square_upper,
)


def log_of(probability: Fraction) -> float:
    return math.log(probability.numerator) - math.log(probability.denominator)


@settings(deadline=None)
@given(n=st.integers(1, 60), data=st.data())
def test_binomial_tails_are_the_sums_of_exact_fractions(n, data):
    k = data.draw(st.integers(0, n))
    p = data.draw(st.fractions(Fraction(1, 1000), Fraction(999, 1000), max_denominator=1000))
    terms = [math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(n + 1)]
    assert log_binomial_upper(k, n, float(p)) == pytest.approx(log_of(sum(terms[k:])), rel=1e-12, abs=1e-12)
    assert log_binomial_lower(k, n, float(p)) == pytest.approx(log_of(sum(terms[: k + 1])), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("k", "n", "p", "upper"),
    [
        (0, 10, 0.3, 0.0),
        (11, 10, 0.3, -math.inf),
        (3, 10, 0.0, -math.inf),
        (3, 10, 1.0, 0.0),
        (10**9, 10**9, 0.25, 10**9 * math.log(0.25)),
        (2**29, 2**30, 0.5, math.log(0.5)),  # half of it and half of the middle term, which is 2e-5
    ],
)
def test_binomial_tails_hold_at_the_ends_and_for_a_thousand_million_rows(k, n, p, upper):
    assert log_binomial_upper(k, n, p) == pytest.approx(upper, rel=1e-12, abs=3e-5 if n == 2**30 else 1e-12)


@settings(deadline=None)
@given(n=st.integers(1, 10**9), share=st.floats(0, 1), p=st.floats(1e-9, 1 - 1e-9))
def test_tails_of_any_count_are_logarithms_of_probabilities_that_cover_all(n, share, p):
    k = int(share * n)
    upper, lower = log_binomial_upper(k, n, p), log_binomial_lower(k, n, p)
    assert upper <= 0.0
    assert lower <= 0.0
    assert math.exp(upper) + math.exp(lower) >= 1.0 - 1e-9
    assert log_binomial_upper(k + 1, n, p) <= upper + 1e-9


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 50), (0, 10**9)])
def test_the_upper_end_of_a_rate_never_seen_has_a_closed_form(k, n):
    assert clopper_pearson_upper(k, n, 0.001) == pytest.approx(-math.expm1(math.log(0.001) / n), rel=1e-9)


@settings(deadline=None)
@given(n=st.integers(1, 10_000), share=st.floats(0, 1))
def test_the_upper_end_is_where_as_few_are_seen_with_that_probability(n, share):
    k = int(share * n)
    upper = clopper_pearson_upper(k, n, 0.001)
    assert k / n <= upper <= 1.0
    if k < n:
        assert log_binomial_lower(k, n, upper) == pytest.approx(math.log(0.001), abs=1e-6)


def test_nothing_is_known_of_a_rate_without_trials():
    assert clopper_pearson_upper(0, 0) == 1.0


@pytest.mark.parametrize("statistic", [0.1, 1.0, 2.0, 3.0, 50.0, 2e6])
def test_chi_square_of_two_degrees_is_an_exponential(statistic):
    assert log_chi_square_upper(statistic, 2) == pytest.approx(-statistic / 2.0, rel=1e-12)


def test_no_distance_is_sure():
    assert log_chi_square_upper(0.0, 5) == 0.0


def test_tails_equal_those_of_the_library_everyone_uses():
    stats = pytest.importorskip("scipy.stats", reason="SciPy is only a reference here")
    for n, p, k in [(500, 0.03, 30), (50_000, 0.12, 6_300), (10**6, 1e-4, 60), (10**9, 1e-3, 1_003_000), (7, 0.9, 2)]:
        assert log_binomial_upper(k, n, p) == pytest.approx(stats.binom.logsf(k - 1, n, p), rel=1e-9)
        assert log_binomial_lower(k, n, p) == pytest.approx(stats.binom.logcdf(k, n, p), rel=1e-9)
        assert clopper_pearson_upper(k, n) == pytest.approx(stats.beta.ppf(0.999, k + 1, n - k), rel=1e-9)
    for degrees, statistic in [(1, 3.84), (3, 455.6), (63, 40.0), (63, 120.0), (511, 700.0)]:
        assert log_chi_square_upper(statistic, degrees) == pytest.approx(stats.chi2.logsf(statistic, degrees), rel=1e-9)
