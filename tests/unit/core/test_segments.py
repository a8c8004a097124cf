"""Segments: every row is in one of them, whoever counts it; what is added and taken away again was never there."""

from __future__ import annotations

import math
import time
from functools import reduce
from operator import add
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.unit.core.test_profile import LATE, flights, reference
from trivet.core.errors import BundleError
from trivet.core.profile.labels import LabelTable, decode_labels, encode_labels, fold_labels, truths_by_score
from trivet.core.profile.layout import Answers
from trivet.core.profile.making import columns_of, make_reference, score_columns
from trivet.core.profile.profile import Profile, decode_profile, encode_profile
from trivet.core.profile.reference import Reference
from trivet.core.profile.segments import (
    Dimension,
    SegmentLayout,
    decode_dimension,
    dimension_of,
    encode_dimension,
)
from trivet.core.redaction import hidden
from trivet.core.signature import Input, Output, Signature

REFERENCE = reference()
ROWS = 300
INPUTS, OUTPUTS = flights(ROWS, seed=8)
ANSWERS = Answers(score_columns(LATE, REFERENCE.scores, OUTPUTS, ROWS), OUTPUTS["label"])
COLUMNS = columns_of(LATE, INPUTS, ROWS)
TRUTHS = (np.random.default_rng(9).random(ROWS) < 0.3).tolist()
SEGMENT_MICROSECONDS = 0.5  # a row of one dimension
NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)


def dimension(name: str, of: Reference = REFERENCE, *, is_whole: bool = False) -> Dimension:
    found = dimension_of(of, name, is_whole=is_whole)
    assert found is not None
    return found


def layout(name: str) -> SegmentLayout:
    return SegmentLayout(REFERENCE, dimension(name))


def some(rows: list[int]) -> Answers:
    return Answers([scores[rows] for scores in ANSWERS.scores], [ANSWERS.decisions[row] for row in rows])


def counted(name: str, rows: list[int]) -> Profile:
    values = COLUMNS[name]
    part = values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]
    return layout(name).fold(part, some(rows))


def labelled(name: str, rows: list[int], truths: list[Any]) -> LabelTable:
    places = dimension(name).places(COLUMNS[name], ROWS)
    return layout(name).fold_labels([int(places[row]) for row in rows], some(rows), truths)


def test_values_of_a_category_are_the_fifty_commonest_of_the_reference():
    of = dimension("carrier")
    assert len(of.values) == 50
    assert of.values[0] == "C1"
    common, rare, missing = of.places(["C1", "never seen", None], 3)
    assert [of.titles[place] for place in (common, rare, missing)] == [
        ("C1", True),
        ("other", False),
        ("missing", False),
    ]


def test_numbers_are_told_apart_by_value_where_they_have_few_and_else_by_ten_ranges_of_equal_count():
    seats = dimension("seats", is_whole=True)
    assert len(seats.values) == 10
    first, *_, last = seats.values
    assert (first.split(" to ")[0], last.split(" to ")[1]) == ("50", "299")
    counts = np.bincount(seats.places(np.array(flights(2000)[0]["seats"], float), 2000), minlength=seats.width)
    assert counts[:10].min() > 150
    assert counts[10:].sum() == 0

    rows = {"x": [1, 2, 4] * 100, **{name: INPUTS[name] for name in ("wind", "carrier", "night")}}
    signature = msgspec.structs.replace(
        LATE, inputs=(Input(name="x", datatype="INT64", shape=(-1, 1)), *LATE.inputs[:1], *LATE.inputs[2:])
    )
    few = make_reference(signature, rows, OUTPUTS, ROWS)
    assert dimension("x", few, is_whole=True).values == ("1", "2", "3 to 4")
    assert dimension("x", few).values == ("1", "over 1 to 2", "over 2 to 4")


@pytest.mark.parametrize("value", [49.0, 300.0, -1e308])
def test_a_number_beyond_the_reference_is_no_value_of_it(value):
    of = dimension("seats")
    assert of.titles[of.place(value)] == ("other", False)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_the_log_has_as_null_is_missing_when_it_is_counted_too(value):
    of = dimension("wind")
    assert of.titles[of.place(value)] == ("missing", False)
    assert of.places([math.nan if value is None else value], 1)[0] == of.place(None)


def test_yes_and_no():
    of = dimension("night")
    assert of.values == ("false", "true")
    assert [of.place(value) for value in (False, True, 0, 1)] == [0, 1, 0, 1]


def test_a_hidden_value_is_not_another_value_but_one_that_was_not_kept():
    for name, value in (("carrier", "C1"), ("seats", 120.0)):
        of = dimension(name)
        assert of.titles[of.place(hidden(value, name, b"key"))] == ("not kept", False)
    assert dimension("seats").places(None, 3).tolist() == [dimension("seats").width - 1] * 3


def test_a_free_text_and_what_the_reference_has_not_are_no_dimension():
    signature = msgspec.structs.replace(LATE, inputs=(Input(name="note", datatype="BYTES", shape=(-1, 1)),))
    texts = make_reference(signature, {"note": [f"{place} " * 40 for place in range(ROWS)]}, OUTPUTS, ROWS)
    assert dimension_of(texts, "note", is_whole=False) is None
    assert dimension_of(REFERENCE, "nothing", is_whole=False) is None


@given(st.lists(NUMBERS, min_size=1, max_size=60), st.sampled_from(["wind", "seats"]))
def test_one_value_has_the_place_it_has_among_others(values, name):
    of = dimension(name)
    places = of.places(np.array(values), len(values)).tolist()
    assert places == [of.place(value) for value in values]
    assert all(0 <= place < of.width - 1 for place in places)


@pytest.mark.parametrize("name", ["wind", "seats", "carrier", "night"])
def test_the_segments_of_a_dimension_are_the_whole(name):
    rows = layout(name).rows(counted(name, list(range(ROWS))))
    whole = REFERENCE.layout.score(REFERENCE.fold(COLUMNS, ANSWERS), 0)[0]
    by_side = REFERENCE.scores[0].table(whole).sum(0)
    assert rows.sum(0).tolist() == by_side.tolist()

    table = fold_labels(REFERENCE, ANSWERS, TRUTHS)
    cells = layout(name).by_score(labelled(name, list(range(ROWS)), TRUTHS))
    assert cells.sum((0, 1)).tolist() == truths_by_score(REFERENCE, table, 0).sum(0).tolist()
    total = sum(sums[0] for sums in labelled(name, list(range(ROWS)), TRUTHS).errors)
    assert total * REFERENCE.scores[0].unit == pytest.approx(ANSWERS.scores[0].sum(), abs=1e-6)


@given(st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS), st.sampled_from(["wind", "seats", "carrier"]))
@settings(max_examples=30)
def test_whoever_counts_which_rows_the_sum_is_the_same(shards, name):
    parts = [[row for row in range(ROWS) if shards[row] == shard] for shard in range(4)]
    everything = list(range(ROWS))
    assert reduce(add, (counted(name, part) for part in parts)) == counted(name, everything)
    truths = [[TRUTHS[row] for row in part] for part in parts]
    tables = [labelled(name, part, said) for part, said in zip(parts, truths, strict=True)]
    assert reduce(add, tables) == labelled(name, everything, TRUTHS)


@given(st.lists(st.integers(0, ROWS - 1), max_size=40), st.data())
@settings(max_examples=30)
def test_what_is_added_and_taken_away_again_was_never_there(rows, data):
    truths = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    before, more = labelled("carrier", list(range(ROWS)), TRUTHS), labelled("carrier", rows, truths)
    assert before + more - more == before
    assert more - more == layout("carrier").empty_labels


def test_several_classes_are_right_wrong_or_of_a_class_without_a_place():
    classes = ("a", "b", "c")
    signature = Signature(
        inputs=LATE.inputs,
        outputs=(Output(name="probabilities", datatype="FP32", shape=(-1, 3), classes=classes),),
        task="classification",
    )
    chances = np.tile(np.eye(3), (100, 1))
    of = make_reference(signature, INPUTS, {"probabilities": chances.ravel().tolist()}, ROWS)
    said = Answers(score_columns(signature, of.scores, {"probabilities": chances[:4].ravel()}, 4), ["a", "b", "c", "a"])
    segments = SegmentLayout(of, dimension("carrier", of))
    table = segments.fold_labels([0, 0, 1, 1], said, ["a", "c", "c", "zzz"])
    assert segments.by_outcome(table)[:2].tolist() == [[1, 1, 0], [1, 0, 1]]
    assert segments.rows(segments.fold(["C1", "C1", None, "C2"], said)).sum() == 4


def test_errors_of_a_regression_are_summed_for_each_segment():
    signature = Signature(
        inputs=LATE.inputs, outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),), task="regression"
    )
    numbers = np.linspace(0, 50, ROWS)
    of = make_reference(signature, INPUTS, {"prediction": numbers.tolist()}, ROWS)
    segments = SegmentLayout(of, dimension("night", of))
    said = Answers([numbers[:3]], ["", "", ""])
    table = segments.fold_labels([0, 1, 1], said, [1.0, 1.0, "no number"])
    assert [sums[0] for sums in table.errors[:2]] == [1, 1]
    assert table.errors[0][2] * of.scores[0].unit == pytest.approx(1.0, abs=1e-6)
    assert table.labels == 3
    assert table - table == segments.empty_labels


def test_they_travel():
    of = dimension("seats")
    assert decode_dimension(encode_dimension(of)) == of
    profile, table = counted("carrier", [1, 2, 3]), labelled("carrier", [1, 2, 3], TRUTHS[:3])
    assert decode_profile(encode_profile(profile)) == profile
    assert decode_labels(encode_labels(table)) == table
    for damaged in (b"", b"damaged", encode_dimension(msgspec.structs.replace(of, format=2))):
        with pytest.raises(BundleError, match="segment"):
            decode_dimension(damaged)


def test_a_day_of_segments_takes_a_few_kilobytes_however_many_rows_it_had():
    """The store is bounded: 52 places of two counts, and of labels what was met of 129 groups each, twice."""
    rng = np.random.default_rng(3)
    chances = rng.random(200_000)
    said = Answers([chances], ["yes" if chance >= 0.5 else "no" for chance in chances])
    values = [f"C{number}" for number in rng.integers(0, 90, len(chances))]
    truths = (rng.random(len(chances)) < chances).tolist()
    places = dimension("carrier").places(values, len(values))
    assert len(encode_profile(layout("carrier").fold(values, said))) < 1_000
    assert len(encode_labels(layout("carrier").fold_labels(places.tolist(), said, truths))) < 40_000


def test_a_dimension_costs_at_most_half_a_microsecond_a_row():
    """The best of some batches of a thousand rows, in time of this process: of words, which take longer than numbers."""
    rows = 1000
    inputs, outputs = flights(rows)
    columns = columns_of(LATE, inputs, rows)
    said = Answers(score_columns(LATE, REFERENCE.scores, outputs, rows), outputs["label"])
    segments = layout("carrier")
    best = math.inf
    for _ in range(30):
        started = time.process_time_ns()
        segments.fold(columns["carrier"], said)
        best = min(best, time.process_time_ns() - started)
    assert best / 1000 / rows <= SEGMENT_MICROSECONDS
