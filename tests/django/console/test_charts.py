"""Charts: what a template draws, read as numbers."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from trivet.console.charts.axis import nice_step, ticks
from trivet.console.charts.evidence import Point, evidence_chart
from trivet.console.charts.grouping import Bar, by_size, by_value
from trivet.console.charts.histogram import columns, rows
from trivet.console.charts.meter import meter
from trivet.console.charts.squares import reliability, roc
from trivet.console.charts.timeline import Moment, timeline

LARGEST = float(np.finfo(np.float64).max)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0)),
        (0.0, 0.31, (0.0, 0.1, 0.2, 0.3)),
        (-3.0, 3.0, (-2.0, 0.0, 2.0)),
        (1e6, 1.4e6, (1e6, 1.1e6, 1.2e6, 1.3e6, 1.4e6)),
        (5.0, 5.0, ()),
        (-LARGEST, LARGEST, ()),
        (0.0, float("nan"), ()),
        (0.0, 5e-324, ()),
    ],
)
def test_a_scale_has_lines_at_numbers_that_people_count_in(low, high, expected):
    assert ticks(low, high, 4) == expected


def test_the_step_is_the_smallest_that_is_enough():
    assert nice_step(19.0, 4) == 5.0
    assert nice_step(0.0019, 4) == 0.0005


def a_quantile_profile(rng, shift):
    """Return 64 quantile bins of a skewed feature, and the shares of the same rows, shifted, in them."""
    were = rng.lognormal(3.0, 1.0, 20_000)
    edges = np.quantile(were, np.arange(1, 64) / 64)
    bounds = (float(were.min()), *edges.tolist(), float(were.max()))
    titles = [f"bin {place}" for place in range(64)]
    sides = []
    for values in (were, were + shift):
        sides.append(np.bincount(np.searchsorted(edges, values), minlength=64) / len(values))
    return titles, bounds, *(side.tolist() for side in sides)


def test_many_bins_become_bars_of_equal_width_and_two_tails():
    titles, bounds, were, are = a_quantile_profile(np.random.default_rng(1), 10.0)
    bars = by_value(titles, bounds, were, are)
    assert 8 <= len(bars) <= 24
    assert (bars[0].title, bars[1].title, bars[-1].title) == ("up to 10", "10 to 20", "over 170")
    for side in ("reference", "current"):
        assert sum(getattr(bar, side) for bar in bars) == pytest.approx(1.0)
    assert bars[0].current == 0.0, "ten more than before: none is left below ten"
    exact = np.random.default_rng(1).lognormal(3.0, 1.0, 20_000)
    assert bars[1].reference == pytest.approx(np.mean((exact > 10) & (exact <= 20)), abs=0.003)


def test_few_bins_are_bars_as_they_are_and_no_number_breaks_the_scale():
    assert by_value(["up to 0", "over 0"], (0.0, 0.0, 1.0), (0.4, 0.6), (0.5, 0.5)) == (
        Bar("up to 0", 0.4, 0.5),
        Bar("over 0", 0.6, 0.5),
    )
    titles, edges = [str(place) for place in range(64)], [LARGEST * (place - 31) / 31 for place in range(63)]
    shares = [1 / 64] * 64
    assert len(by_value(titles, (-LARGEST, *edges, LARGEST), shares, shares)) == 64


def test_the_largest_categories_have_bars_and_values_one_may_not_see_have_none():
    bars = [Bar(f"plan {place}", 0.02 * place, 0.01 * place) for place in range(14)]
    largest = by_size(bars, None, "all others")
    assert [bar.title for bar in largest] == [*(f"plan {place}" for place in range(4, 14)), "all others"]
    assert largest[-1].reference == pytest.approx(0.02 * (1 + 2 + 3))
    hidden = by_size(bars, {"plan 3"}, "all others")
    assert [bar.title for bar in hidden] == ["plan 3", "all others"]
    assert sum(bar.current for bar in hidden) == pytest.approx(sum(bar.current for bar in bars))
    assert by_size(bars[:2], None, "all others") == tuple(bars[:2])


def test_columns_fill_their_box_and_what_is_no_value_stands_beside_them():
    drawn = columns(
        [Bar("up to 1", 0.5, 0.25), Bar("over 1", 0.5, 0.75)],
        [Bar("missing", 0.0, 0.1), Bar("outside", None, 0.0001)],
    )
    tall = [float(height) for height in re.findall(r"v-([\d.]+)", drawn.current)]
    assert tall == [32.0, 96.0, 12.8, 1.0], "the largest fills the height, and the smallest is seen"
    assert drawn.reference.count("M") == 2
    assert [row.current for row in drawn.rows] == ["25.0 %", "75.0 %", "10.0 %", "< 0.1 %"]
    assert drawn.rows[-1].reference == "–"
    assert {label.text for label in drawn.labels} == {
        "25.0 %",
        "50.0 %",
        "75.0 %",
        "up to 1",
        "over 1",
        "missing",
        "outside",
    }
    places = [float(x) for x in re.findall(r"M([\d.]+)", drawn.reference + drawn.current)]
    assert all(0 <= place <= 100 for place in places)


def test_a_histogram_of_nothing_is_an_empty_box():
    assert columns([Bar("all", 0.0, 0.0)], []).reference == ""


def test_rows_have_their_titles_before_them_and_their_figures_behind():
    drawn = rows([Bar("a name that is longer than a phone is wide", 0.2, 0.1)], [Bar("missing", 0.0, None)])
    assert [label.text for label in drawn.labels] == ["a name that is l…", "missing", "10.0 %", "–"]
    assert drawn.rows[0].title == "a name that is longer than a phone is wide"
    assert drawn.height == 2 * 22 + 8


@pytest.mark.parametrize(
    ("evidence", "width", "figure"),
    [
        (0.0, "0.0", "0"),
        (1.0, "9.0", "1"),
        (3.1416, "18.5", "3.14"),
        (2160.0, "100.0", "2,160"),
        (1e300, "100.0", "> 1,000,000"),
    ],
)
def test_a_meter_is_full_at_its_budget(evidence, width, figure):
    shown = meter(evidence, 2160.0)
    assert (shown.width, shown.figure) == (width, figure)
    assert shown.is_full == (evidence >= 2160.0)


def a_moment(day, measured=None, expected=None, *, is_open=False, reach=0.0):
    low, high = (None, None) if measured is None else (measured - reach, measured + reach)
    return Moment(datetime(2026, 5, day, tzinfo=UTC), f"May {day}", measured, low, high, expected, is_open)


def test_a_timeline_has_gaps_where_there_is_no_number_and_a_band_across():
    drawn = timeline(
        [a_moment(1, 0.7, 0.72, reach=0.02), a_moment(2), a_moment(3, 0.71, 0.7), a_moment(5, 0.6, 0.6, is_open=True)],
        (0.65, 0.75),
    )
    alone, line = drawn.line[1:].split("M")
    assert [place.split()[0] for place in alone.split("L")] == ["7.50", "10.50"], "what has no neighbour is drawn, too"
    assert [place.split()[0] for place in line.split("L")] == ["53.50", "98.00"]
    assert [dot.x for dot in drawn.dots] == ["9.00%", "53.50%", "98.00%"], (
        "places are those of the time, not of the row"
    )
    assert [dot.is_open for dot in drawn.dots] == [False, False, True]
    assert drawn.dots[0].top < drawn.dots[0].y < drawn.dots[0].bottom
    assert drawn.dots[1].top == drawn.dots[1].bottom, "without an interval there is no whisker"
    assert drawn.band.startswith("M9.0 ")
    assert all(0 <= y <= drawn.height for y in drawn.lines)


def test_a_timeline_of_one_moment_or_of_equal_numbers_has_a_scale_and_one_of_none_is_none():
    assert timeline([a_moment(1)], (0.1, 0.2)) is None
    assert timeline([a_moment(1, 0.0)], None).dots[0].x == "53.50%"
    assert timeline([a_moment(1, 0.0)], None).line == ""
    assert timeline([a_moment(1, 0.7, 0.9)], None).line.startswith("M52.00 "), "the first day has its estimate"
    assert len(timeline([a_moment(1, 0.5), a_moment(2, 0.5)], None).lines) >= 2


def test_what_happened_at_one_time_has_one_pin_that_names_all_its_lines():
    days = [datetime(2026, 5, 1, tzinfo=UTC) + timedelta(days=day) for day in range(30)]
    happened = [(days[10], False), (days[10], True), (days[11], False), (days[13], False)]
    drawn = evidence_chart([Point(day, 1.0, 90.0) for day in days], happened, [])
    assert [(pin.text, pin.is_alert) for pin in drawn.pins] == [("1–3", True), ("4", False)]
    assert drawn.pins[0].width > drawn.pins[1].width == 16
    assert [pin.left * -2 for pin in drawn.pins] == [pin.width for pin in drawn.pins]


def test_evidence_is_drawn_up_to_its_budget_and_beyond_with_what_happened():
    hours = [datetime(2026, 5, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(1000)]
    points = [Point(at, 1e300 if at == hours[501] else 1.0, 2160.0) for at in hours]
    drawn = evidence_chart(points, [(hours[0] - timedelta(days=1), False), (hours[999], True)], [(hours[0], "May 1")])
    assert 0 < drawn.budget < drawn.rest < drawn.height
    assert [(pin.x, pin.text, pin.is_alert) for pin in drawn.pins] == [("9.00%", "1", False), ("98.00%", "2", True)]
    heights = [float(place.split()[1]) for place in drawn.line[1:].split("L")]
    assert 100 < len(heights) <= 241
    assert min(heights) < drawn.budget, "the one high hour of a thousand is not lost"
    assert [mark.text for mark in drawn.marks] == ["2,160", "1", "May 1"]
    assert evidence_chart(points[:1], [], []) is None
    assert evidence_chart([points[0], points[0]], [], []) is None


def test_a_roc_curve_goes_from_corner_to_corner_and_needs_both_classes():
    drawn = roc(np.array([0, 1, 3]), np.array([3, 1, 0]))
    assert drawn.path.startswith("M0.00 220.0L0.00 62.5L25.00 ")
    assert drawn.path.endswith("L100.00 10.0")
    assert roc(np.array([0, 0]), np.array([1, 1])) is None


def test_reliability_has_a_whisker_at_each_point():
    drawn = reliability([(0.2, 0.25, 0.1, 0.4, 80.0)])
    (point,) = drawn.points
    assert (point.x, point.top < point.y < point.bottom) == ("20.00%", True)
    assert drawn.rows[0].note == "10.0 % – 40.0 %"
    assert reliability([]) is None
