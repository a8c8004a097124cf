"""From scores to probabilities: pooling, and when it is worth it."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.isotonic import IsotonicRegression

from tests.living import car_loan
from trivet.core.calibration import (
    Calibration,
    calibration_error,
    decide_calibration,
    equal_count_groups,
    fit_isotonic,
)

ROWS = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=80)


@given(ROWS)
@settings(deadline=None)
def test_pooling_is_the_isotonic_regression_that_everybody_uses(rows):
    scores, labels = np.array(rows, dtype=np.float64).T
    asked = np.linspace(-1, 13, 57)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, labels).predict(asked)
    np.testing.assert_allclose(fit_isotonic(scores, labels).apply(asked), theirs, atol=1e-12)


@given(ROWS)
@settings(deadline=None)
def test_a_calibration_never_falls_stays_a_probability_and_keeps_the_sum_of_labels(rows):
    scores, labels = np.array(rows, dtype=np.float64).T
    calibration = fit_isotonic(scores, labels)
    applied = calibration.apply(np.sort(scores))
    assert (np.diff(applied) >= 0).all()
    assert 0 <= applied[0] <= applied[-1] <= 1
    assert calibration.apply(scores).sum() == pytest.approx(labels.sum(), abs=1e-9)


def test_violators_are_pooled_by_their_rows():
    calibration = fit_isotonic(np.array([1, 2, 2, 2, 3.0]), np.array([1, 0, 0, 1, 1.0]))
    assert calibration == Calibration((1.0, 2.0, 3.0), (0.5, 0.5, 1.0))
    np.testing.assert_allclose(calibration.apply(np.array([-9, 1.5, 2.5, 9])), [0.5, 0.5, 0.75, 1.0])


def test_a_missing_score_stays_missing_and_rows_without_score_or_label_do_not_count():
    scores, labels = np.array([0.1, np.nan, 0.9, 0.5, np.inf]), np.array([0, 1, 1, np.nan, 0])
    calibration = fit_isotonic(scores, labels)
    assert calibration == fit_isotonic(np.array([0.1, 0.9]), np.array([0, 1]))
    assert math.isnan(calibration.apply(np.array([np.nan]))[0])


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ((), ()),
        ((0.0, 0.0), (0.1, 0.2)),
        ((0.0, 1.0), (0.2, 0.1)),
        ((0.0,), (1.1,)),
        ((math.nan,), (0.5,)),
        ((0.0,), ()),
    ],
)
def test_knots_that_are_no_map_are_refused_also_from_a_file(x, y):
    with pytest.raises(ValueError, match="A calibration needs"):
        Calibration(x, y)
    with pytest.raises(msgspec.ValidationError, match="A calibration needs"):
        msgspec.msgpack.decode(msgspec.msgpack.encode({"x": x, "y": y}), type=Calibration)


def test_a_calibration_comes_back_from_a_file_as_it_was():
    calibration = fit_isotonic(np.array([0.1, 0.2, 0.3]), np.array([0, 1, 1]))
    assert msgspec.json.decode(msgspec.json.encode(calibration), type=Calibration) == calibration


@pytest.mark.parametrize("labels", [np.array([0, 2]), np.array([[0, 1]])])
def test_what_is_no_label_is_refused(labels):
    with pytest.raises(ValueError, match=r"Labels are 0 and 1|one number a row"):
        fit_isotonic(np.array([0.1, 0.2]), labels)


def test_nothing_can_be_fitted_to_no_rows():
    with pytest.raises(ValueError, match="no row"):
        fit_isotonic(np.array([np.nan]), np.array([1]))


def drawn(rows, sharpness, seed=0):
    """Return scores whose log-odds are `sharpness` times what they should be, and labels."""
    random = np.random.default_rng(seed)
    log_odds = random.normal(0, 1.5, rows)
    return 1 / (1 + np.exp(-sharpness * log_odds)), (random.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(int)


def test_overconfident_scores_are_calibrated_and_the_reason_is_told():
    scores, labels = drawn(5_000, sharpness=3)
    choice = decide_calibration(scores, labels)
    assert choice.calibration == fit_isotonic(scores, labels)
    assert "error of held-out rows falls from 0.1" in choice.reason


def test_scores_that_are_probabilities_are_left_alone():
    # On a finite sample isotonic may win by chance: with this seed and size it does not.
    choice = decide_calibration(*drawn(2_000, sharpness=1, seed=3))
    assert choice.calibration is None
    assert "as good as they are" in choice.reason


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros(500), "not yet: 0 of 10 labels of the rarer class"),
        (np.r_[np.ones(9), np.zeros(491)], "not yet: 9 of 10 labels of the rarer class"),
        (
            np.r_[np.zeros(250), np.ones(250)],
            "the scores separate the classes (AUC 1.0000): there is nothing to calibrate",
        ),
    ],
)
def test_where_nothing_can_be_learned_nothing_is_calibrated(labels, reason):
    assert decide_calibration(np.linspace(0, 1, 500), labels) == (None, reason)


def test_the_choice_does_not_depend_on_when_it_is_asked():
    scores, labels = drawn(1_000, sharpness=2)
    assert decide_calibration(scores, labels) == decide_calibration(scores, labels)


def test_the_car_loan_scores_are_calibrated():
    reference = car_loan.reference()
    choice = decide_calibration(reference["y_pred_proba"], reference["repaid"])
    assert choice.calibration is not None, choice.reason


def test_the_calibration_error_keeps_equal_scores_together():
    scores = np.repeat([0.2, 0.8], 50)
    labels = np.r_[np.ones(10), np.zeros(40), np.ones(40), np.zeros(10)]
    assert calibration_error(scores, labels) == pytest.approx(0, abs=1e-12)
    assert calibration_error(scores, labels[::-1]) == pytest.approx(0.6)
    assert math.isnan(calibration_error(np.array([]), np.array([])))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 12))
def test_groups_ascend_and_none_holds_much_more_than_its_share(counts, groups):
    counts = np.array(counts)
    group = equal_count_groups(counts, groups)
    assert (np.diff(group) >= 0).all()
    assert group.min() >= 0
    assert group.max() < groups
    assert np.bincount(group, counts).max() <= counts.sum() / groups + counts.max()
