"""How right a version probably is: counts that are expected, against the figures and against labels that come later."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.living import car_loan
from tests.living.tables import EXACT, of_chunk, of_reference_chunk, reference_edges, table_of_rows
from trivet.control.monitoring import estimates
from trivet.control.monitoring.estimates import (
    Band,
    Draws,
    band,
    chances_of,
    estimated,
    expected_labels,
    sampling_error,
)
from trivet.control.monitoring.performance import MEASURES, NoFigure
from trivet.control.monitoring.truths import confusion, confusion_at
from trivet.core.calibration import Calibration, decide_calibration, fit_isotonic

AREAS = (0.970744, 0.971011, 0.971407, 0.971091, 0.971123, 0.961090, 0.961825, 0.961073, 0.962533, 0.961316)
BANDS = {"auc": (0.963317, 0.978660), "accuracy": (0.935859, 0.951421), "f1": (0.934660, 0.950850)}


@pytest.fixture(scope="module")
def calibration():
    reference = car_loan.reference()
    choice = decide_calibration(reference["y_pred_proba"], reference["repaid"])
    assert choice.calibration is not None
    return choice.calibration


def bands(edges):
    """Return the band of each measure over the ten chunks of the reference rows."""
    tables = [of_reference_chunk(number, edges) for number in range(car_loan.CHUNKS)]
    return {name: band([float(MEASURES[name].of(table)) for table in tables]) for name in BANDS}


@pytest.mark.parametrize("bins", ["exact rows", "512 bins"])
def test_L01_estimated_area_by_chunk_its_band_and_the_chunks_outside(calibration, bins):
    edges = EXACT if bins == "exact rows" else reference_edges()
    found, outside = bands(edges)["auc"], []
    for number, expected in enumerate(AREAS):
        window = of_chunk(number, edges)
        estimate = estimated(window.counts, window.score_sums, calibration, ["auc"])["auc"]
        assert estimate.value == pytest.approx(expected, abs=1e-5)
        if not found.holds(estimate.value):
            outside.append(number)
    assert (found.low, found.high) == pytest.approx(BANDS["auc"], abs=1e-5)
    assert outside == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("bins", ["exact rows", "512 bins"])
def test_L02_estimated_accuracy_and_f1_and_their_bands(calibration, bins):
    edges = EXACT if bins == "exact rows" else reference_edges()
    for number, accuracy, f1 in ((0, 0.941792, 0.943030), (5, 0.910714, 0.911753)):
        window = of_chunk(number, edges)
        estimate = estimated(window.counts, window.score_sums, calibration, ["accuracy", "f1"])
        assert estimate["accuracy"].value == pytest.approx(accuracy, abs=1e-4)
        assert estimate["f1"].value == pytest.approx(f1, abs=1e-4)
    for name in ("accuracy", "f1"):
        found = bands(edges)[name]
        assert (found.low, found.high) == pytest.approx(BANDS[name], abs=1e-4)


def test_exact_rows_are_exact():
    """Each of the hundred scores, two decimals, has one bin to itself in the tests above."""
    scores = np.unique(car_loan.analysis()["y_pred_proba"])
    assert len(np.unique(np.searchsorted(EXACT, scores))) == len(scores) == 101


ROWS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(ROWS)
@settings(deadline=None)
def test_expected_counts_add_up_to_the_rows(rows):
    scores, predicted = np.array(rows, dtype=np.float64).T
    window = table_of_rows(np.arange(1, 16) / 16, scores, predicted, np.zeros(len(rows)))
    expected = expected_labels(window.counts, window.score_sums, None)
    np.testing.assert_allclose(expected.counts, window.counts, atol=1e-9)
    np.testing.assert_allclose(expected.positives.sum(), scores.sum(), atol=1e-6)  # sums are rounded to 2**-30
    assert (expected.positives >= 0).all()
    assert (expected.negatives >= 0).all()
    assert confusion(expected).labels == pytest.approx(len(rows))


def test_an_expected_table_answers_what_another_threshold_would_do():
    scores = np.array([0.1, 0.3, 0.7, 0.9] * 100)
    edges = np.array([0.2, 0.5, 0.8])
    window = table_of_rows(edges, scores, scores >= 0.5, np.zeros(400))
    expected = expected_labels(window.counts, window.score_sums, None)
    assert confusion(expected)[:4] == pytest.approx((160, 40, 40, 160))
    assert confusion_at(expected, edges, 0.85)[:4] == pytest.approx((90, 10, 110, 190))


def drawn(rows, seed):
    random = np.random.default_rng(seed)
    scores = random.beta(2, 3, rows)
    return scores, scores >= 0.5, (random.random(rows) < scores).astype(int)


def test_the_sampling_error_is_by_how_much_labels_deviate():
    """Over 300 draws of the labels a standard deviation is known to 4 %, three times which is allowed."""
    random = np.random.default_rng(11)
    edges = np.arange(1, 64) / 64
    scores, predicted, _ = drawn(1_000, seed=12)
    names = ["auc", "accuracy", "precision", "recall", "specificity", "f1", "average_precision"]
    estimates = None
    realised = {name: [] for name in names}
    for _ in range(300):
        table = table_of_rows(edges, scores, predicted, random.random(1_000) < scores)
        estimates = estimates or estimated(table.counts, table.score_sums, None, names)
        for name in names:
            realised[name].append(float(MEASURES[name].of(table)))
    for name in names:
        if name != "auc":  # DeLong's is for rows that are drawn as well
            assert estimates[name].sampling_error == pytest.approx(np.std(realised[name]), rel=0.12), name
        assert estimates[name].value == pytest.approx(np.mean(realised[name]), abs=0.003), name


def test_the_sampling_error_of_the_area_is_that_of_new_rows():
    edges = np.arange(1, 64) / 64
    areas = []
    for seed in range(300):
        areas.append(float(MEASURES["auc"].of(table_of_rows(edges, *drawn(500, seed)))))
    window = table_of_rows(edges, *drawn(500, 1_000))
    estimate = estimated(window.counts, window.score_sums, None, ["auc"])["auc"]
    assert estimate.sampling_error == pytest.approx(np.std(areas), rel=0.15)


def test_a_calibration_found_later_is_applied_to_counts_that_are_left():
    random = np.random.default_rng(13)
    scores, _, _ = drawn(20_000, seed=14)
    labels = random.random(20_000) < scores**2  # what the scores say is too much
    edges = np.unique(np.quantile(scores, np.arange(1, 512) / 512))
    window = table_of_rows(edges, scores, scores >= 0.5, labels)
    later = fit_isotonic(scores[:10_000], labels[:10_000])
    before = estimated(window.counts, window.score_sums, None, ["accuracy"])["accuracy"].value
    after = estimated(window.counts, window.score_sums, later, ["accuracy"])["accuracy"].value
    truth = confusion(window).accuracy
    assert abs(before - truth) > 0.03
    assert abs(after - truth) < 0.01


# Too little, or nothing


def test_a_mean_that_rounding_put_beyond_1_is_a_probability():
    counts = np.array([[0, 0], [0, 300]])
    assert estimated(counts, counts * 1.0000001, None)["accuracy"].value == 1


def test_too_few_rows_say_how_many():
    window = table_of_rows(np.array([0.5]), np.linspace(0, 1, 57), np.zeros(57), np.zeros(57))
    assert str(estimated(window.counts, window.score_sums, None)["auc"]) == "not yet: 57 of 200 rows"
    assert str(estimated(np.zeros((2, 2)), np.zeros((2, 2)), None, need=0)["auc"]) == "not yet: 0 of 0 rows"


def test_margins_are_no_probabilities_until_a_calibration_says_what_they_mean():
    scores = np.linspace(-4, 4, 400)
    window = table_of_rows(np.array([-2.0, 0.0, 2.0]), scores, scores >= 0, np.zeros(400))
    assert isinstance(estimated(window.counts, window.score_sums, None)["accuracy"], NoFigure)
    meaning = Calibration((-4.0, 4.0), (0.0, 1.0))
    assert estimated(window.counts, window.score_sums, meaning)["accuracy"].value == pytest.approx(0.75, abs=0.01)
    with pytest.raises(ValueError, match="no probabilities"):
        expected_labels(window.counts, window.score_sums, None)


def test_a_sum_that_is_not_a_number_makes_no_estimate():
    counts = np.full((2, 2), 100)
    assert isinstance(estimated(counts, np.full((2, 2), np.nan), None)["auc"], NoFigure)


def test_a_class_that_is_not_expected_is_named():
    counts, sums = np.array([[300, 0], [0, 0]]), np.zeros((2, 2))
    figures = estimated(counts, sums, None)
    assert figures["auc"] == NoFigure("all 300 expected labels are of one class")
    assert figures["accuracy"].value == 1
    assert figures["accuracy"].sampling_error == 0
    assert sampling_error("auc", Draws(expected_labels(counts, sums, None))) is None


def test_the_band_is_of_the_population_and_says_when_it_is_not_yet():
    assert band([0.7, 0.8, 0.9, 0.8, math.nan, 0.8]) == pytest.approx(
        Band(0.8 - 3 * math.sqrt(0.004), 0.8 + 3 * math.sqrt(0.004), 0.8, math.sqrt(0.004), 5)
    )
    assert str(band([0.7, 0.8, math.nan])) == "not yet: 2 of 5 reference chunks"
    assert str(band([])) == "not yet: 0 of 5 reference chunks"


def test_all_measures_of_a_window_are_of_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """What might turn out is drawn once, and only where a measure asks for it; alone or beside others it is the same."""
    drawn: list[int] = []
    monkeypatch.setattr(estimates, "chances_of", lambda table: drawn.append(1) or chances_of(table))
    random = np.random.default_rng(5)
    counts = random.integers(5, 20, (30, 2))
    table = expected_labels(counts, counts * np.linspace(0.02, 0.98, 30)[:, None], None)

    draws = Draws(table)
    together = [sampling_error(name, draws) for name in ("average_precision", "brier", "log_loss")]
    assert len(drawn) == 1
    assert together == [sampling_error(name, Draws(table)) for name in ("average_precision", "brier", "log_loss")]
    assert sampling_error("accuracy", fresh := Draws(table)) == sampling_error("accuracy", draws)
    assert "tables" not in vars(fresh)
