"""Distances between histograms: acceptance figures, closed forms, and the laws they keep."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from tests.living import car_loan
from tests.living.bins import Bins
from trivet.control.monitoring import distances
from trivet.control.monitoring.distances import (
    adjusted_population_stability,
    chi_square,
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    l_infinity,
    population_stability,
    scale_of,
    total_variation,
    wasserstein,
    why_unknown,
)

BETWEEN_0_AND_1 = [kolmogorov_smirnov, total_variation, l_infinity, jensen_shannon, hellinger]
SYMMETRIC = [*BETWEEN_0_AND_1, population_stability]

counts = arrays(np.int64, st.shared(st.integers(1, 30), key="bins"), elements=st.integers(0, 10**9)).filter(np.any)


# Figures


def chunks_of(name: str) -> list[np.ndarray]:
    return [car_loan.chunk(car_loan.analysis(), number)[name] for number in range(car_loan.CHUNKS)]


def test_L05_ks_of_debt_to_income_is_exact_by_rows_and_near_by_bins():
    expected = [0.01576, 0.01272, 0.01746, 0.01282, 0.01922, 0.00824, 0.01068, 0.01002, 0.01070, 0.00700]
    reference, chunks = car_loan.reference()["debt_to_income_ratio"], chunks_of("debt_to_income_ratio")
    by_rows = [ks_of_rows(reference, chunk) for chunk in chunks]
    assert by_rows == pytest.approx(expected, abs=1e-5)
    bins = Bins(reference, 256)
    by_bins = [kolmogorov_smirnov(bins.count(reference), bins.count(chunk)) for chunk in chunks]
    assert by_bins == pytest.approx(expected, abs=0.0015)
    assert all(binned <= exact + 1e-12 for binned, exact in zip(by_bins, by_rows, strict=True))


def ks_of_rows(reference: np.ndarray, current: np.ndarray) -> float:
    """Return the two-sample KS of rows: one bin for each value that occurs."""
    bins = Bins(np.concatenate([reference, current]), reference.size + current.size)
    return kolmogorov_smirnov(bins.count(reference), bins.count(current))


def test_L06_jensen_shannon_of_debt_to_income_with_doanes_bins():
    expected = [
        *(0.0316611, 0.0300113, 0.0311286, 0.0294644, 0.0308095),
        *(0.0286811, 0.0436276, 0.0292533, 0.0306276, 0.0283303),
    ]
    reference = car_loan.reference()["debt_to_income_ratio"]
    edges = np.histogram_bin_edges(reference, "doane")

    def with_overflow(column: np.ndarray) -> np.ndarray:  # one more bin for what is outside, on either side
        inside = np.histogram(column, edges)[0]
        return np.append(inside, column.size - inside.sum())

    found = [
        jensen_shannon(with_overflow(reference), with_overflow(chunk)) for chunk in chunks_of("debt_to_income_ratio")
    ]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("name", "ks"), [("car_value", 0.43548), ("loan_length", 0.17992), ("y_pred_proba", 0.13070)])
def test_L07_ks_of_shifted_numbers(name, ks):
    assert ks_of_rows(car_loan.reference()[name], chunks_of(name)[5]) == pytest.approx(ks, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "js", "linf", "chi"),
    [("salary_range", 0.18314, 0.09156, 455.6), ("repaid_loan_on_prev_car", 0.23120, 0.25206, None)],
)
def test_L07_distances_of_shifted_categories(name, js, linf, chi):
    reference = car_loan.reference()[name]
    bins = Bins(reference)
    before, after = bins.count(reference), bins.count(chunks_of(name)[5])
    assert jensen_shannon(before, after) == pytest.approx(js, abs=1e-4)
    assert l_infinity(before, after) == pytest.approx(linf, abs=1e-4)
    if chi is not None:
        assert chi_square(before, after).statistic == pytest.approx(chi, abs=0.1)
        assert chi_square(before, after).degrees == 3


@pytest.mark.parametrize(
    ("bins", "n", "m"), [(20, 1_000, 1_000), (20, 1_000, 50_000), (10, 500, 5_000), (64, 5_000, 50_000)]
)
def test_L13_psi_without_drift_is_on_average_what_the_adjustment_takes_off(bins, n, m):
    random = np.random.default_rng(13)
    shares = np.full(bins, 1 / bins)
    pairs = zip(random.multinomial(m, shares, 4_000), random.multinomial(n, shares, 4_000), strict=True)
    mean = np.mean([population_stability(reference, current) for reference, current in pairs])
    assert mean == pytest.approx((bins - 1) * (1 / n + 1 / m), rel=0.05)


@pytest.mark.parametrize(("bins", "n", "share"), [(20, 200, 0.34), (30, 100, 0.997)])
def test_a_fixed_threshold_on_psi_finds_drift_where_there_is_none(bins, n, share):
    random = np.random.default_rng(14)
    shares = np.full(bins, 1 / bins)
    pairs = zip(random.multinomial(50_000, shares, 2_000), random.multinomial(n, shares, 2_000), strict=True)
    above = [population_stability(reference, current) > 0.1 for reference, current in pairs]
    assert np.mean(above) == pytest.approx(share, abs=0.035)  # three standard errors of the larger


# Closed forms


def test_two_halves_that_share_nothing_are_as_far_apart_as_can_be():
    left, right = np.array([7, 3, 0, 0]), np.array([0, 0, 100, 100])
    for distance in (kolmogorov_smirnov, total_variation, jensen_shannon, hellinger):
        assert distance(left, right) == pytest.approx(1.0, abs=1e-12)
    assert l_infinity(left, right) == pytest.approx(0.7)


def test_two_coins_have_the_distances_that_one_computes_by_hand():
    fair, loaded = np.array([50, 50]), np.array([75, 25])
    assert total_variation(fair, loaded) == l_infinity(fair, loaded) == kolmogorov_smirnov(fair, loaded) == 0.25
    assert hellinger(fair, loaded) ** 2 == pytest.approx(1 - math.sqrt(0.5 * 0.75) - math.sqrt(0.5 * 0.25))
    entropy = -(0.625 * math.log2(0.625) + 0.375 * math.log2(0.375))
    apart = entropy - (1.0 - (0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))) / 2
    assert jensen_shannon(fair, loaded) ** 2 == pytest.approx(apart)
    p, q = 50.5 / 101, 75.5 / 101
    assert population_stability(fair, loaded) == pytest.approx(
        (p - q) * math.log(p / q) + (q - p) * math.log((1 - p) / (1 - q))
    )
    found = chi_square(fair, loaded)
    assert found.statistic == pytest.approx(200 * (50 * 25 - 50 * 75) ** 2 / (100 * 100 * 125 * 75))
    assert (found.degrees, math.exp(found.log_p)) == (1, pytest.approx(math.erfc(math.sqrt(found.statistic / 2))))


def test_wasserstein_of_single_values_is_how_far_rows_moved():
    reference, moved = np.array([10, 0, 10]), np.array([0, 20, 0])
    assert wasserstein(reference, moved, np.array([0.0, 1.0, 4.0]), 2.0) == pytest.approx((0.5 * 1 + 0.5 * 3) / 2)


def test_wasserstein_of_bins_is_how_far_spread_rows_moved():
    bounds = np.linspace(0.0, 4.0, 5)
    assert wasserstein(np.array([1, 1, 0, 0]), np.array([0, 1, 1, 0]), bounds, 1.0) == pytest.approx(1.0)
    crossing = wasserstein(np.array([0, 2, 0, 0]), np.array([1, 0, 1, 0]), bounds, 1.0)
    assert crossing == pytest.approx(0.75)  # the lower half goes down by 1 to ½, the upper half up likewise


def test_wasserstein_of_a_shifted_normal_is_the_shift():
    random = np.random.default_rng(15)
    reference, current = random.normal(size=200_000), random.normal(0.3, 1.0, size=200_000)
    bins = Bins(reference, 256)
    found = wasserstein(bins.count(reference), bins.count(current), bins.places, float(reference.std()))
    assert found == pytest.approx(0.3, abs=0.01)  # the outermost bins are wide, and rows are not spread evenly in them


def test_wasserstein_of_a_constant_is_not_known():
    assert wasserstein(np.array([5]), np.array([7]), np.array([3.0]), 0.0) is None


def test_an_empty_window_has_no_distance_and_a_reason():
    reference, nothing = np.array([3, 4]), np.array([0, 0])
    found = distances.measure(reference, nothing, is_ordered=True, places=np.array([0.0, 1.0]), deviation=1.0)
    assert found == distances.Distances("no rows in this window", *[None] * 9)
    assert distances.measure(nothing, reference, is_ordered=False).reason == "no rows in the reference"
    assert why_unknown(reference, reference) is None


def test_all_distances_at_once_are_those_of_one_at_a_time():
    reference, current, places = np.array([30, 20, 10]), np.array([5, 9, 40]), np.array([1.0, 2.0, 5.0])
    found = distances.measure(reference, current, is_ordered=True, places=places, deviation=1.5)
    assert found == distances.Distances(
        reason=None,
        ks=kolmogorov_smirnov(reference, current),
        total_variation=total_variation(reference, current),
        l_infinity=l_infinity(reference, current),
        psi=population_stability(reference, current),
        psi_adjusted=adjusted_population_stability(reference, current),
        jensen_shannon=jensen_shannon(reference, current),
        hellinger=hellinger(reference, current),
        wasserstein=wasserstein(reference, current, places, 1.5),
        chi_square=chi_square(reference, current),
    )


def test_categories_have_no_order_and_no_distance_that_goes_by_it():
    found = distances.measure(
        np.array([30, 20]), np.array([5, 9]), is_ordered=False, places=np.array([0, 1]), deviation=1.0
    )
    assert (found.reason, found.ks, found.wasserstein) == (None, None, None)
    assert found.total_variation > 0.0


@pytest.mark.parametrize(("psi", "shift", "ks"), [(0.1, 0.32, 0.125), (0.2, 0.45, 0.177)])
def test_the_scale_in_words_meets_the_thresholds_people_know(psi, shift, ks):
    scale = scale_of(ks)
    assert (scale.psi, scale.shift) == (pytest.approx(psi, abs=0.002), pytest.approx(shift, abs=0.01))


@settings(deadline=None)
@given(shift=st.floats(0.0, 6.0))
def test_the_scale_finds_the_shift_of_a_normal_distribution(shift):
    assert scale_of(2 * NormalDist().cdf(shift / 2) - 1).shift == pytest.approx(shift, abs=1e-6)


@pytest.mark.parametrize(
    ("ks", "word"), [(0.0, "hardly any"), (0.05, "small"), (0.15, "moderate"), (0.2, "large"), (1.0, "large")]
)
def test_a_distance_has_a_word(ks, word):
    assert scale_of(ks).word == word
    assert math.isfinite(scale_of(ks).psi)


# Laws


@settings(deadline=None)
@given(counts, counts)
def test_distances_are_symmetric_and_within_their_bounds(reference, current):
    for distance in SYMMETRIC:
        assert distance(reference, current) == pytest.approx(distance(current, reference), abs=1e-12)
    for distance in BETWEEN_0_AND_1:
        assert 0.0 <= distance(reference, current) <= 1.0
    assert population_stability(reference, current) >= adjusted_population_stability(reference, current) >= 0.0


@settings(deadline=None)
@given(counts)
def test_equal_counts_are_no_distance_apart(same):
    for distance in SYMMETRIC:
        assert distance(same, same) == 0.0
    assert wasserstein(same, same, np.arange(same.size), 1.0) == 0.0
    assert (chi_square(same, same).statistic, chi_square(same, same).log_p) == (0.0, 0.0)


@settings(deadline=None)
@given(counts, st.integers(2, 1_000))
def test_the_number_of_rows_is_no_distance(same, times):
    for distance in BETWEEN_0_AND_1:
        assert distance(same, same * times) == pytest.approx(0.0, abs=1e-7)  # a root of what a float cannot tell


@settings(deadline=None)
@given(counts, counts)
def test_distances_keep_the_order_that_is_proved_of_them(reference, current):
    tv, h = total_variation(reference, current), hellinger(reference, current)
    assert l_infinity(reference, current) <= 2 * tv + 1e-12
    assert kolmogorov_smirnov(reference, current) <= tv + 1e-12
    assert h**2 <= tv + 1e-12
    assert tv <= math.sqrt(2.0) * h + 1e-9
    assert jensen_shannon(reference, current) ** 2 <= tv + 1e-12  # Lin 1991


@settings(deadline=None)
@given(counts, counts, st.randoms(use_true_random=False))
def test_the_order_of_categories_does_not_matter(reference, current, random):
    order = list(range(reference.size))
    random.shuffle(order)
    for distance in (total_variation, l_infinity, jensen_shannon, hellinger, population_stability):
        assert distance(reference[order], current[order]) == pytest.approx(distance(reference, current), abs=1e-9)


@settings(deadline=None)
@given(counts, counts)
def test_chi_square_is_a_p_value_of_any_table(reference, current):
    found = chi_square(reference, current)
    assert found.statistic >= 0.0
    assert found.log_p <= 0.0
    assert not math.isnan(found.log_p)
