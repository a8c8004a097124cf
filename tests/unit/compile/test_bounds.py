"""The range that an original answers: found by asking it, exactly, and with few questions where it is the usual one."""

import math

import pytest
from hypothesis import given, strategies as st

from trivet.model.compile.bounds import TOO_LARGE_FOR_A_FLOAT32, _halve

LARGEST = 1.7e308
FEW = 12


def halved(taken, refused, takes):
    """Return the last number that `takes` takes, and how many it was asked about."""
    asked = []

    def is_taken(value):
        asked.append(value)
        return takes(value)

    return _halve(taken, refused, is_taken), len(asked)


@given(st.floats(-1e300, 1e300), st.booleans())
def test_the_last_number_that_is_taken_is_found_exactly(end, is_above):
    away = math.inf if is_above else -math.inf
    found, asked = halved(end, math.copysign(LARGEST, away), lambda value: value <= end if is_above else value >= end)
    assert found == end
    assert asked <= 64 + 15


@pytest.mark.parametrize(
    ("takes", "taken", "refused", "last"),
    [
        (lambda value: value > 0, 3.0, -LARGEST, 5e-324),
        (lambda value: value >= 0, 3.0, -LARGEST, 0.0),
        (lambda value: value > -1, 3.0, -LARGEST, math.nextafter(-1, 0)),
        (lambda value: value <= 1, 0.5, LARGEST, 1.0),
        (lambda value: value < TOO_LARGE_FOR_A_FLOAT32, 3.0, LARGEST, math.nextafter(TOO_LARGE_FOR_A_FLOAT32, 0)),
    ],
    ids=["logarithm", "root", "logarithm of one more", "arc", "trees"],
)
def test_where_formulas_usually_end_few_questions_are_enough(takes, taken, refused, last):
    found, asked = halved(taken, refused, takes)
    assert found == last
    assert asked <= FEW
