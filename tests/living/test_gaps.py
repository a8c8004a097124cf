"""Whether segments are treated alike: intervals of the literature, and when nothing is said."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from trivet.control.monitoring.gaps import (
    Gap,
    NoFigure,
    Scored,
    Share,
    calibration_gaps,
    holm,
    rate_gaps,
    selection_ratios,
)
from trivet.control.monitoring.truths import Confusion


def of(found, missed, wrong=0, spared=0):
    return Confusion(found, wrong, missed, spared)


def test_differences_have_the_interval_of_newcombe():
    # Newcombe, Statistics in Medicine 17 (1998), 873 to 890, table II, example a, method 10.
    gaps = rate_gaps({"a": of(56, 14), "b": of(48, 32)}, need=50)["true_positive_rate"]
    assert gaps["a"][:3] == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert gaps["b"][:3] == pytest.approx((-0.2, -0.3339, -0.0524), abs=5e-5)
    assert not gaps["a"].is_flagged


def test_ratios_have_a_normal_interval_in_the_logarithm():
    gap = selection_ratios({"a": Share(60, 300), "b": Share(400, 1_000)})["a"]
    reach = 1.959964 * math.sqrt(1 / 60 - 1 / 300 + 1 / 400 - 1 / 1_000)
    assert gap[:3] == pytest.approx((0.5, 0.5 * math.exp(-reach), 0.5 * math.exp(reach)))
    assert gap.is_flagged


def test_a_ratio_is_flagged_in_either_direction_and_only_beyond_the_limit():
    ratios = selection_ratios({"a": Share(700, 1_000), "b": Share(500, 1_000), "c": Share(500, 1_000)})
    assert ratios["a"].value == pytest.approx(1.4)
    assert ratios["a"].is_flagged
    near = selection_ratios({"a": Share(440, 1_000), "b": Share(500, 1_000)})
    assert near["a"].value == pytest.approx(0.88)
    assert not near["a"].is_flagged
    crossing = selection_ratios({"a": Share(75, 200), "b": Share(100, 200)})
    assert crossing["a"].value < 0.8 < crossing["a"].high
    assert not crossing["a"].is_flagged


def test_below_200_rows_on_either_side_nothing_is_said():
    assert str(selection_ratios({"a": Share(0, 132), "b": Share(400, 1_000)})["a"]) == "not yet: 132 of 200 rows"
    assert str(selection_ratios({"a": Share(0, 132), "b": Share(400, 1_000)})["b"]) == "not yet: 132 of 200 other rows"
    few = rate_gaps({"a": of(3, 7, 500, 500), "b": of(300, 100, 500, 500)})
    assert str(few["true_positive_rate"]["a"]) == "not yet: 10 of 200 rows"
    assert isinstance(few["false_positive_rate"]["a"], Gap)
    assert str(calibration_gaps({"a": Scored(20, 40, 20.0)})["a"]) == "not yet: 40 of 200 labels"


def test_one_segment_alone_and_none_at_all():
    assert str(selection_ratios({"a": Share(10, 500)})["a"]) == "not yet: 0 of 200 other rows"
    assert selection_ratios({}) == {}
    assert rate_gaps({}) == {"true_positive_rate": {}, "false_positive_rate": {}}


def test_where_nobody_is_selected_there_is_no_ratio_and_where_one_segment_is_not_there_is():
    assert selection_ratios({"a": Share(0, 500), "b": Share(0, 500)})["a"] == NoFigure("no row was selected")
    gap = selection_ratios({"a": Share(0, 500), "b": Share(250, 500)})["a"]
    assert 0 < gap.low < gap.value < 0.01
    assert gap.is_flagged


def test_scores_that_mean_something_else_in_a_segment_are_flagged_there():
    gaps = calibration_gaps({"a": Scored(200, 400, 200.0), "b": Scored(100, 400, 200.0)})
    assert gaps["a"].value == 0
    assert not gaps["a"].is_flagged
    assert gaps["b"].value == 0.25
    assert gaps["b"].low < 0.25 < gaps["b"].high
    assert gaps["b"].is_flagged


def test_holm_is_as_in_the_textbook():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_adjusted_values_keep_their_order_and_are_never_smaller(p_values):
    adjusted = holm(p_values)
    assert all(p <= adjusted[name] <= 1 for name, p in p_values.items())
    in_order = [adjusted[name] for name in sorted(p_values, key=p_values.get)]
    assert in_order == sorted(in_order)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=2, max_size=5))
def test_nothing_is_flagged_whose_interval_holds_the_limit(pairs):
    shares = {str(place): Share(part, part + other) for place, (part, other) in enumerate(pairs)}
    for gap in selection_ratios(shares).values():
        if isinstance(gap, Gap) and gap.is_flagged:
            assert gap.high < 0.8 or gap.low > 1.25


def test_many_segments_that_are_treated_alike_are_seldom_flagged():
    """Ten segments on the limit itself, 200 times: at most 5 % of the times one is flagged (one-sided 99 %)."""
    random = np.random.default_rng(20)
    flagged = 0
    for _ in range(200):
        shares = {str(place): Share(random.binomial(400, 0.4), 400) for place in range(9)}
        shares["low"] = Share(random.binomial(400, 0.32), 400)
        flagged += any(isinstance(gap, Gap) and gap.is_flagged for gap in selection_ratios(shares).values())
    assert flagged <= 0.05 * 200 + 2.33 * math.sqrt(0.05 * 0.95 * 200), flagged
