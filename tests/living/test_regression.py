"""How right a regression was: scikit-learn's figures from sums alone, with intervals that hold what they should."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics

from trivet.control.monitoring.performance import Figure, NoFigure
from trivet.control.monitoring.regression import RegressionSums, realised_regression


def sums_of(predictions, truths, unit=2.0**-20):
    """Return the sums as they are stored: whole numbers in multiples of a unit."""
    said, was = ([round(number / unit) for number in numbers] for numbers in (predictions, truths))
    errors = [p - y for p, y in zip(said, was, strict=True)]
    squares = [sum(number * number for number in numbers) for numbers in (errors, was)]
    return RegressionSums(len(was), sum(errors), sum(map(abs, errors)), squares[0], sum(was), squares[1], unit)


def hours_of(predictions, truths, hours):
    return [
        sums_of(*pair) for pair in zip(np.array_split(predictions, hours), np.array_split(truths, hours), strict=True)
    ]


def test_regression_figures_are_those_of_scikit_learn():
    random = np.random.default_rng(5)
    truths = random.normal(20, 3, 1_000)
    predictions = truths + random.normal(0.5, 1, 1_000)
    figures = realised_regression(hours_of(predictions, truths, 7))
    assert figures["mae"].value == pytest.approx(metrics.mean_absolute_error(truths, predictions), abs=1e-5)
    assert figures["rmse"].value == pytest.approx(metrics.root_mean_squared_error(truths, predictions), abs=1e-5)
    assert figures["r2"].value == pytest.approx(metrics.r2_score(truths, predictions), abs=1e-5)
    assert figures["me"].value == pytest.approx((predictions - truths).mean(), abs=1e-5)
    assert figures["me"].high - figures["me"].value == pytest.approx(
        1.96 * (predictions - truths).std() / math.sqrt(1_000), rel=1e-3
    )


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=30), st.integers(1, 6))
@settings(deadline=None)
def test_hours_add_up_to_the_figures_of_their_rows(rows, hours):
    said, was = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    parts = realised_regression(hours_of(said, was, hours), need=1)
    whole = realised_regression([sums_of(said, was)], need=1)
    assert {name: str(getattr(figure, "value", figure)) for name, figure in parts.items()} == {
        name: str(getattr(figure, "value", figure)) for name, figure in whole.items()
    }


def test_intervals_of_all_four_cover_what_they_should():
    """Of 200 weeks of 30 hours 95 % cover the truth; fewer than 89 % would be once in a thousand."""
    random = np.random.default_rng(6)
    truth = {"mae": math.sqrt(2 / math.pi), "rmse": 1.0, "me": 0.0, "r2": 1 - 1 / 9}
    covered = dict.fromkeys(truth, 0)
    for _ in range(200):
        was = random.normal(100, 3, 600)
        figures = realised_regression(hours_of(was + random.normal(0, 1, 600), was, 30))
        for name, value in truth.items():
            covered[name] += figures[name].low <= value <= figures[name].high
    assert min(covered.values()) >= 178, covered


def test_few_hours_give_root_and_determination_no_interval():
    random = np.random.default_rng(7)
    was = random.normal(0, 3, 400)
    figures = realised_regression(hours_of(was + random.normal(0, 1, 400), was, 19))
    assert (figures["rmse"].low, figures["r2"].high) == (None, None)
    assert figures["mae"].low is not None


def test_truths_that_are_large_and_close_lose_no_digits():
    truths = 1e9 + np.arange(600) % 2  # Σy² − (Σy)²/n in floating point would be noise
    figures = realised_regression(hours_of(truths + 0.25, truths, 30))
    assert figures["r2"] == pytest.approx(Figure(0.75, 0.75, 0.75, 600))
    assert figures["rmse"] == Figure(0.25, 0.25, 0.25, 600)
    assert figures["mae"] == Figure(0.25, 0.25, 0.25, 600)


def test_regression_says_what_it_cannot():
    few = realised_regression([sums_of(np.ones(12), np.ones(12))])
    assert {str(figure) for figure in few.values()} == {"not yet: 12 of 200 labels"}
    none = realised_regression([], need=0)
    assert {str(figure) for figure in none.values()} == {"not yet: 0 of 0 labels"}
    assert realised_regression([sums_of(np.full(300, 8), np.full(300, 7))])["r2"] == NoFigure(
        "all 300 truths are the same"
    )
