"""A prediction as a value: what it equals, how it orders; and a row as Python code holds it."""

from dataclasses import replace
from enum import Enum, IntEnum

import numpy as np
import pytest
from django.db.models import TextChoices
from django.utils.safestring import SafeString

from trivet.core.errors import InvalidRequest
from trivet.serving.prediction import Prediction
from trivet.serving.subjects import _features


def made(value, identity="a"):
    return Prediction(value, "", "churn", 1, "d" * 64, identity, "only")


def test_it_compares_as_its_number():
    low, high = made(0.2, "a"), made(0.8, "b")
    assert low < high
    assert low <= high
    assert high >= 0.8
    assert low == 0.2 == made(0.2, "c")
    assert low >= made(0.2, "c")
    assert len({low, made(0.2, "c"), high, 0.8}) == 2


def test_a_probability_per_class_equals_no_number_and_has_no_order():
    classified = made({"stays": 0.75, "churned": 0.25})
    assert classified != 1
    assert classified == made({"stays": 0.75, "churned": 0.25}, "b")
    assert hash(classified) == hash(made({"stays": 0.75, "churned": 0.25}, "b"))
    with pytest.raises(TypeError, match="per class"):
        _ = classified > 0.5
    with pytest.raises(TypeError, match="per class"):
        _ = made(0.5) <= classified


class Plan(TextChoices):
    PRO = "pro"


class Seats(IntEnum):
    THREE = 3


class Size(Enum):
    SMALL = np.float32(0.5)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (Plan.PRO, "pro"),
        (np.str_("pro"), "pro"),
        (SafeString("pro"), "pro"),
        (Seats.THREE, 3),
        (np.int64(3), 3),
        (np.float64(0.5), 0.5),
        (Size.SMALL, 0.5),
        (np.True_, True),
        (True, True),
        (np.float32("nan"), None),
        (np.array([1, 2]), [1, 2]),
    ],
)
def test_a_value_becomes_the_plain_one_it_stands_for(given, plain):
    (found,) = _features({"x": given}).values()
    assert (type(found), found) == (type(plain), plain)


def test_an_infinite_value_is_refused():
    with pytest.raises(InvalidRequest, match="infinite"):
        _features({"x": np.float32("inf")})


def test_an_answer_in_place_of_another_says_so():
    assert "fallback_from" not in made(0.5).as_dict()
    assert replace(made(0.5), version=0, route="fallback", fallback_from=3).as_dict()["fallback_from"] == 3
