"""The domain classifier: AUC 0.5 of rows that are alike, more of those that are not, and what it makes of broken ones."""

from __future__ import annotations

import numpy as np
import pytest

from tests.living import car_loan
from trivet.core.errors import Refused
from trivet.model.domain_classifier import separation

FEATURES = (
    "car_value",
    "salary_range",
    "debt_to_income_ratio",
    "loan_length",
    "repaid_loan_on_prev_car",
    "size_of_downpayment",
    "driver_tenure",
)
AUC = (0.5027, 0.4964, 0.4908, 0.4930, 0.5034, 0.9135, 0.9134, 0.9164, 0.9133, 0.9167)  # living-models.md, L9
TOLERANCE = 0.03
ROWS = 2_000  # of either side, every so many: of 5,000 it takes thrice as long


def columns(table: car_loan.Columns) -> dict[str, object]:
    """Return as many rows of `table` as are taken, evenly, as a profile has them: numbers, or words."""
    places = np.linspace(0, len(table["car_value"]) - 1, ROWS).astype(int)
    some = {name: table[name][places] for name in FEATURES}
    return {name: values if values.dtype == np.float64 else list(map(str, values)) for name, values in some.items()}


@pytest.mark.parametrize(("number", "expected"), list(enumerate(AUC)))
def test_L9_the_shifted_chunks_are_told_apart(number, expected):
    chunk = columns(car_loan.chunk(car_loan.analysis(), number))
    found = separation(chunk, columns(car_loan.reference()))

    assert found.auc == pytest.approx(expected, abs=TOLERANCE)
    assert (found.rows, found.rows_before, found.features) == (ROWS, ROWS, 7)
    assert (found.auc > found.by_chance) == (number >= 5)


def made(rows: int, seed: int, **more: object) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=rows), "word": ["a", "b"] * (rows // 2)} | more


def test_what_no_histogram_shows_is_seen():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=600), rng.normal(size=600)
    found = separation({"x": one, "y": one + 0.1 * other}, {"x": other, "y": np.random.default_rng(1).normal(size=600)})
    assert found.auc > 0.9


def test_the_same_rows_have_the_same_auc():
    assert separation(made(200, 1), made(200, 2)) == separation(made(200, 1), made(200, 2))


def test_what_is_missing_infinite_or_constant_breaks_nothing():
    broken = {
        "none": np.full(100, np.nan),
        "same": np.full(100, 3.0),
        "wild": np.tile([np.nan, np.inf, -np.inf, 1e308], 25),
        "words": [None, "a"] * 50,
        "nothing": [None] * 100,
    }
    found = separation(made(100, 1, **broken), made(100, 2, **broken))
    assert found.features == 4  # x, word, wild, words
    assert 0.3 < found.auc < 0.7


def test_a_column_that_was_never_missing_and_is_now_tells_all():
    found = separation({"x": np.full(80, np.nan)}, {"x": np.full(80, 1.0)})
    assert found.auc == 1.0


def test_rows_that_do_not_vary_are_not_told_apart():
    found = separation({"x": np.full(80, 1.0)}, {"x": np.full(90, 1.0)})
    assert (found.auc, found.features) == (0.5, 0)


def test_thousands_of_words_are_told_apart_by_the_commonest():
    one = {"id": [f"a{place}" for place in range(2_000)]}
    other = {"id": ["b"] * 1_000 + [f"c{place}" for place in range(1_000)]}
    assert 0.6 < separation(one, other).auc < 0.9


@pytest.mark.parametrize(("rows", "others"), [(0, 100), (100, 49), (49, 100)])
def test_of_too_few_rows_nothing_is_said(rows, others):
    one = made(rows, 1) if rows else {}
    with pytest.raises(Refused, match="takes 50 rows with their inputs on either side"):
        separation(one, made(others, 2))
