"""Evidence of one window: what rows are worth, p-values that tolerate a little, and e-values whose mean is at most one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.living import car_loan
from tests.living.bins import Bins
from trivet.control.monitoring.distances import kolmogorov_smirnov, total_variation
from trivet.control.monitoring.evidence import (
    benjamini_hochberg,
    design_effect,
    design_effect_of_categories,
    design_effect_of_rate,
    log_e,
    log_p_of_categories,
    log_p_of_distribution,
    log_p_of_rate,
    log_p_of_traffic,
    traffic_dispersion,
)

CAR_LOAN_MISSING = {
    "salary_range": [0.1004, 0.1064, 0.0982, 0.0966, 0.0984, 0.2188, 0.2214, 0.2178, 0.2264, 0.2156],
    "driver_tenure": [0.1074, 0.1042, 0.0940, 0.1000, 0.0944, 0.2196, 0.2138, 0.2236, 0.2296, 0.2134],
}
CAR_LOAN_UNSEEN = [0.0094, 0.0062, 0.0076, 0.0072, 0.0096, 0.0188, 0.0178, 0.0202, 0.0222, 0.0210]


# Figures


def missing(column: np.ndarray) -> int:
    return int(np.isnan(column).sum() if column.dtype == np.float64 else (column == "").sum())


@pytest.mark.parametrize("name", CAR_LOAN_MISSING)
def test_L10_missing_values_are_counted_and_become_evidence_where_there_are_twice_as_many(name):
    before, after = car_loan.dq_reference()[name], car_loan.dq_analysis()
    found = [missing(car_loan.chunk(after, number)[name]) for number in range(car_loan.CHUNKS)]
    assert [events / car_loan.CHUNK_ROWS for events in found] == CAR_LOAN_MISSING[name]
    log_p = [log_p_of_rate(events, car_loan.CHUNK_ROWS, missing(before), before.size) for events in found]
    assert min(log_p[:5]) > math.log(0.01)
    assert max(log_p[5:]) < -100


def test_L11_unseen_values_are_counted_and_stay_within_the_tolerance():
    before, after = car_loan.dq_reference()["size_of_downpayment"], car_loan.dq_analysis()
    known = np.unique(before)
    found = [
        int((~np.isin(car_loan.chunk(after, number)["size_of_downpayment"], known)).sum())
        for number in range(car_loan.CHUNKS)
    ]
    assert [events / car_loan.CHUNK_ROWS for events in found] == CAR_LOAN_UNSEEN
    log_p = [log_p_of_rate(events, car_loan.CHUNK_ROWS, 0, before.size) for events in found]
    assert min(log_p) > math.log(0.05)  # 2.2 % is what an unseen rate of 2 % may look like


# What rows are worth


def bursts(random: np.random.Generator, chunks: int, rows: int, *, size: int, correlation: float) -> np.ndarray:
    """Return standard normal rows of shape (chunks, rows) in bursts of `size`, correlated within a burst."""
    common = np.repeat(random.normal(size=(chunks, rows // size)), size, axis=1)
    return math.sqrt(correlation) * common + math.sqrt(1.0 - correlation) * random.normal(size=(chunks, rows))


@pytest.mark.parametrize("successive", [False, True])
def test_bursts_of_correlated_rows_are_worth_a_sixth_of_their_number(successive):
    random = np.random.default_rng(20)
    bins = Bins(random.normal(size=50_000))
    reference = bins.count(random.normal(size=50_000))
    chunks = np.array([bins.count(rows) for rows in bursts(random, 600, 500, size=20, correlation=0.3)])
    of_ranks = 1.0 + 19 * 6.0 / math.pi * math.asin(0.3 / 2.0)  # 6.5
    found = design_effect(chunks, reference, successive=successive)
    assert found == pytest.approx(of_ranks, rel=0.2)  # three deviations of a variance of 600


@pytest.mark.parametrize("successive", [False, True])
@pytest.mark.parametrize("measure", ["numeric", "categories", "rate"])
def test_independent_rows_are_worth_their_number_however_unequal_the_chunks(measure, successive):
    random = np.random.default_rng(21)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    reference = random.multinomial(100_000, shares)
    rows = random.choice([20, 50, 5_000], 2_000)
    chunks = np.array([random.multinomial(n, shares) for n in rows])
    if measure == "numeric":
        found = design_effect(chunks, reference, successive=successive)
    elif measure == "categories":
        found = design_effect_of_categories(chunks, reference, successive=successive)
    else:
        found = design_effect_of_rate(chunks[:, 3], rows, int(reference[3]), 100_000, successive=successive)
    assert 1.0 <= found < 1.15


def test_a_slow_drift_does_not_pass_for_bursts():
    random = np.random.default_rng(22)
    bins = Bins(random.normal(size=50_000))
    reference = bins.count(random.normal(size=50_000))
    chunks = np.array([bins.count(random.normal(step / 100, 1.0, 500)) for step in range(100)])
    assert design_effect(chunks, reference) > 20.0
    assert design_effect(chunks, reference, successive=True) < 1.5


def test_few_chunks_say_nothing_and_a_constant_is_worth_its_rows():
    reference = np.array([60, 40])
    assert design_effect(np.tile([6, 4], (19, 1)), reference) is None
    assert design_effect_of_categories(np.vstack([np.tile([6, 4], (19, 1)), [[0, 0]]]), reference) is None
    assert design_effect(np.tile([6, 4], (20, 1)), np.array([0, 0])) is None
    assert design_effect_of_rate(np.zeros(20), np.full(20, 9), 0, 0) is None
    assert design_effect_of_rate(np.zeros(20), np.full(20, 9), 0, 100) == 1.0
    assert design_effect(np.tile([10, 0], (20, 1)), np.array([100, 0])) == 1.0


# p-values


def is_p_value(log_p: np.ndarray, levels: tuple[float, ...] = (0.5, 0.1, 0.01)) -> bool:
    """True when no level is undercut more often than it says, as far as so many windows can tell (one-sided 99.9 %)."""
    runs = log_p.size
    return all(
        (log_p <= math.log(level)).mean() <= level + 3.1 * math.sqrt(level * (1 - level) / runs) for level in levels
    )


@pytest.mark.parametrize("rows", [60, 500, 20_000])
def test_p_of_a_distribution_holds_on_the_edge_of_what_is_tolerated(rows):
    random = np.random.default_rng(23)
    m = 100_000
    moved = np.full(64, 1 / 64)
    moved[:32] -= 0.05 / 32
    moved[32:] += 0.05 / 32  # KS is 0.05 exactly
    reference = random.multinomial(m, np.full(64, 1 / 64))
    ks = [kolmogorov_smirnov(reference, window) for window in random.multinomial(rows, moved, 2_000)]
    assert is_p_value(np.array([log_p_of_distribution(distance, rows, m) for distance in ks]))


@pytest.mark.parametrize(("categories", "rows"), [(2, 100), (2, 20_000), (20, 500)])
def test_p_of_categories_holds_on_the_edge_of_what_is_tolerated(categories, rows):
    random = np.random.default_rng(24)
    m, half = 100_000, categories // 2
    shares = np.full(categories, 1 / categories)
    moved = shares + np.where(np.arange(categories) < half, -0.05 / half, 0.05 / half)
    reference = random.multinomial(m, shares)
    tv = [total_variation(reference, window) for window in random.multinomial(rows, moved, 2_000)]
    assert is_p_value(np.array([log_p_of_categories(distance, rows, m, categories) for distance in tv]))


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.4])
def test_p_of_a_rate_holds_on_the_edge_of_what_is_tolerated(rate):
    random = np.random.default_rng(25)
    seen = random.binomial(5_000, rate)
    events = random.binomial(800, rate + 0.02, 2_000)
    assert is_p_value(np.array([log_p_of_rate(int(count), 800, seen, 5_000) for count in events]))


@pytest.mark.parametrize(("mean", "bursts"), [(5, 1), (20, 5), (100, 50), (1_000, 50)])
@pytest.mark.parametrize("growth", [1.0, 1.2, 1 / 1.2])
def test_p_of_traffic_holds_for_bursts_and_for_growth_that_is_tolerated(mean, bursts, growth):
    random = np.random.default_rng(26)

    def traffic(mean: float, size: tuple[int, ...]) -> np.ndarray:
        return (
            random.poisson(mean, size)
            if bursts == 1
            else random.negative_binomial(mean / (bursts - 1), 1 / bursts, size)
        )

    log_p = []
    for _ in range(6):  # years of one service each
        history, hours = traffic(mean, (4, 168)), traffic(mean * growth, (168,))
        dispersion = traffic_dispersion(history)
        log_p += [
            log_p_of_traffic(int(x), before, dispersion) for x, before in zip(hours, history.T.tolist(), strict=True)
        ]
    assert is_p_value(np.array(log_p))
    assert np.minimum(np.exp(log_e(np.array(log_p))), 1e6).mean() < 1.5


def test_more_traffic_and_less_traffic_are_evidence_alike():
    assert log_p_of_traffic(400, [1_000] * 4, 1.0) < -80
    assert log_p_of_traffic(2_500, [1_000] * 4, 1.0) < -80
    assert log_p_of_traffic(0, [1_000] * 4, 1.0) < -200
    assert log_p_of_traffic(300, [0] * 4, 1.0) < -200
    assert log_p_of_traffic(1_100, [1_000] * 4, 1.0) == 0.0
    assert log_p_of_traffic(400, [1_000] * 4, 100.0) > math.log(0.05)  # it comes by the hundred


def test_where_nothing_was_seen_there_is_no_p():
    assert log_p_of_distribution(None, 500, 1_000) is None
    assert log_p_of_categories(None, 500, 1_000, 4) is None
    assert log_p_of_rate(0, 0, 3, 100) is None
    assert log_p_of_rate(3, 100, 0, 0) is None
    assert log_p_of_traffic(10, [], 1.0) is None
    assert log_p_of_traffic(0, [0, 0], 1.0) is None
    assert traffic_dispersion(np.array([[5, 6, 7]])) is None
    assert traffic_dispersion(np.zeros((4, 168), dtype=np.int64)) is None


def test_a_rate_of_bursts_is_judged_by_bursts():
    assert log_p_of_rate(80, 1_000, 200, 10_000) < math.log(0.01)
    assert log_p_of_rate(80, 1_000, 200, 10_000, effect=20.0) > math.log(0.1)


@settings(deadline=None)
@given(
    distances=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2),
    rows=st.floats(50.0, 1e9),
    m=st.integers(50, 10**9),
    categories=st.integers(1, 60),
)
def test_p_falls_as_the_distance_grows_and_is_never_more_than_one(distances, rows, m, categories):
    small, large = sorted(distances)
    assert log_p_of_distribution(large, rows, m) <= log_p_of_distribution(small, rows, m) <= 0.0
    of_large, of_small = (log_p_of_categories(distance, rows, m, categories) for distance in (large, small))
    assert of_large <= of_small <= 0.0
    assert log_p_of_distribution(small, rows, m, tolerance=small) == 0.0
    assert math.isfinite(log_p_of_distribution(1.0, rows, m))


@settings(deadline=None)
@given(
    rows=st.integers(1, 10**6),
    share=st.floats(0.0, 1.0),
    m=st.integers(1, 10**6),
    reference_share=st.floats(0.0, 1.0),
    effect=st.floats(1.0, 50.0),
)
def test_p_of_a_rate_falls_as_events_are_added(rows, share, m, reference_share, effect):
    events, seen = int(share * rows), int(reference_share * m)
    p, more = (log_p_of_rate(count, rows, seen, m, effect=effect) for count in (events, min(rows, events + 1)))
    assert more <= p + 1e-9
    assert p <= 0.0
    assert log_p_of_rate(seen, m, seen, m) > math.log(0.5)  # what was seen is not rare


def test_far_out_p_values_have_digits_left():
    assert log_p_of_distribution(0.5, 1e9, 10**9) == pytest.approx(-4.05e8, rel=1e-3)
    assert log_p_of_categories(0.5, 1e9, 10**9, 2) == pytest.approx(-4.05e8, rel=1e-3)
    assert log_p_of_rate(500_000_000, 10**9, 10**6, 10**9) == pytest.approx(-1.249e9, rel=1e-3)
    assert log_p_of_traffic(10**9, [10**3] * 4, 1.0) == pytest.approx(-1.466e9, rel=0.01)


# Many at once


def test_benjamini_and_hochberg_name_those_of_their_own_example():
    # fifteen p-values of thrombolysis, the example of the paper of 1995: four are named
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    named = benjamini_hochberg([math.log(value) for value in reversed(p)])
    assert named == [False] * 11 + [True] * 4
    assert benjamini_hochberg([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(-50.0, 0.0), min_size=1, max_size=40))
def test_who_is_named_has_smaller_p_than_who_is_not(log_p):
    named = benjamini_hochberg(log_p)
    assert max((p for p, is_named in zip(log_p, named, strict=True) if is_named), default=-math.inf) < min(
        (p for p, is_named in zip(log_p, named, strict=True) if not is_named), default=math.inf
    )


# From p to e


def test_e_of_uniform_p_has_the_mean_one():
    # ∫ e dp from 0 to x is (1 − x) / −ln x; the rest is summed in 200,000 strips
    x = 1e-3
    edges = np.linspace(x, 1.0, 200_001)
    rest = np.exp(log_e(np.log((edges[1:] + edges[:-1]) / 2))).mean() * (1.0 - x)
    assert rest + (1.0 - x) / -math.log(x) == pytest.approx(1.0, abs=1e-4)


@settings(deadline=None)
@given(st.floats(-700.0, -1e-9))
def test_e_is_the_mean_of_the_calibrators(log_p):
    kappa = (np.arange(20_000) + 0.5) / 20_000
    exact = np.log(np.mean(kappa * np.exp(kappa * log_p))) - log_p
    assert float(log_e(log_p)) == pytest.approx(exact, abs=2e-4)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 0.0), min_size=2, max_size=2))
def test_e_grows_as_p_falls(log_p):
    small, large = sorted(log_p)
    assert log_e(small) >= log_e(large) - 1e-12
    assert log_e(large) >= math.log(0.5) - 1e-12


def test_e_is_continuous_where_its_two_forms_meet_and_finite_beyond_what_is_possible():
    around = log_e(np.array([-0.5 - 1e-12, -0.5, -0.5 + 1e-12]))
    assert np.ptp(around) < 1e-11
    assert log_e(0.0) == math.log(0.5)
    assert float(log_e(-1e6)) == pytest.approx(1e6 - 2 * math.log(1e6), rel=1e-12)
    assert math.isfinite(log_e(-math.inf))
