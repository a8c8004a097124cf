"""Moments: exact in any order and any pieces, whatever the values are, and as near to the numbers as their steps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.unit.core.earlier_formats import first_format, second_format
from trivet.core.errors import BundleError
from trivet.core.profile.bins import category_bins, numeric_bins
from trivet.core.profile.layout import Answers
from trivet.core.profile.making import make_reference
from trivet.core.profile.moments import FARTHEST, MOST_NUMBERS, STEPS, Moments
from trivet.core.profile.profile import Profile, decode_profile, encode_profile, merge
from trivet.core.profile.reference import Reference, decode_reference, encode_reference
from trivet.core.signature import Input, Output, Signature

ANY = st.floats(allow_nan=True, allow_infinity=True, width=64)
NAMES = ("a", "b", "c")
USAGE = Signature(
    inputs=tuple(Input(name=name, datatype="FP64", shape=(-1, 1), nullable=True) for name in NAMES),
    outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),),
    task="regression",
)


def drawn(rows: int, seed: int = 0) -> np.ndarray:
    """Return numbers (3, rows), the first two of which move together."""
    rng = np.random.default_rng(seed)
    a = rng.normal(100.0, 3.0, rows)
    return np.array([a, a / 2 + rng.normal(size=rows), rng.gamma(2.0, 5.0, rows)])


def reference(rows: int = 2000) -> Reference:
    """Return the reference of some rows."""
    inputs = dict(zip(NAMES, drawn(rows), strict=True))
    return make_reference(USAGE, inputs, {"prediction": np.zeros(rows)}, rows)


REFERENCE = reference()
BINS = [numeric_bins(name, values) for name, values in zip(NAMES, drawn(2000), strict=True)]


def profiled(values: Any, of: Reference = REFERENCE) -> Profile:
    """Return the profile of the rows with `values` (3, rows)."""
    rows = len(values[0])
    columns = {name: np.array(column, dtype=float) for name, column in zip(NAMES, values, strict=True)}
    return of.fold(columns, Answers([np.zeros(rows)], [""] * rows))


@given(
    rows=st.lists(st.tuples(ANY, ANY, ANY), min_size=1, max_size=60),
    cuts=st.lists(st.integers(1, 59), max_size=8),
    random=st.randoms(use_true_random=False),
)
def test_L18_pieces_in_any_order_are_the_whole(rows: list[tuple[float, ...]], cuts: list[int], random: Any) -> None:
    """To the last bit, with values that are missing, infinite or as large as a float can be; and taken away again."""
    values = np.array(rows).T
    ends = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    pieces = [profiled(values[:, start:end]) for start, end in pairwise(ends)]
    random.shuffle(pieces)

    whole = profiled(values)
    assert whole.moments[0] == len(rows)
    assert merge(pieces, REFERENCE.empty) == whole
    assert whole - merge(pieces[1:], REFERENCE.empty) == pieces[0]


def test_sums_are_those_of_the_standardised_numbers() -> None:
    """Within half a step of each value."""
    values = drawn(500, seed=3)
    rows, sums, products = REFERENCE.layout.sums_of_numbers(profiled(values))
    z = np.array([(column - bins.mean) / bins.deviation for column, bins in zip(values, BINS, strict=True)])

    assert rows == 500
    assert sums == pytest.approx(z.sum(axis=1), abs=500 * 0.5 / STEPS)
    assert products == pytest.approx(z @ z.T, abs=500 * 0.5 / STEPS * 2 * np.abs(z).max())
    assert (products == products.T).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_counts_as_the_mean(value: float) -> None:
    """So that it says nothing of how numbers move together; how often it is missing is counted elsewhere."""
    _, sums, products = REFERENCE.layout.sums_of_numbers(profiled([[value], [BINS[1].mean], [np.finfo(float).max]]))

    assert sums.tolist() == [0.0, 0.0, FARTHEST]
    assert products.tolist() == [[0.0] * 3, [0.0] * 3, [0.0, 0.0, FARTHEST**2]]


def test_a_column_that_is_constant_missing_or_no_number_is_left_out() -> None:
    """It has no deviation to be measured in."""
    none, same = np.full(9, np.nan), np.full(9, 0.1)
    others = [numeric_bins("none", none), numeric_bins("same", same), category_bins("word", ["x"])]

    assert Moments([others[0], BINS[0], *others[1:], BINS[2]]).names == ("a", "c")
    assert Moments([*others, BINS[0]]).width == 0  # one number alone moves with no other
    assert Moments(others).fold({"none": none, "same": same}).tolist() == []


def test_of_many_numbers_the_first_are_taken() -> None:
    """Their products are as many as half their square."""
    many = [numeric_bins(f"x{place}", np.arange(9.0)) for place in range(100)]
    moments = Moments(many)

    assert len(moments.names) == MOST_NUMBERS == 64
    assert moments.width == 1 + 64 + 64 * 65 // 2
    assert moments.fold({f"x{place}": np.arange(9.0) for place in range(64)})[0] == 9


def test_rows_without_one_of_the_numbers_are_not_summed() -> None:
    """As an input that was made sensitive: what is told of the others would be of another thing."""
    rows = drawn(10)
    profile = REFERENCE.fold({"a": rows[0], "b": rows[1]}, Answers([np.zeros(10)], [""] * 10))

    assert profile.rows == 10
    assert not profile.moments.any()


def test_a_profile_parts_into_its_counts_and_its_moments() -> None:
    """Which add up to it, and come back from their bytes."""
    whole = profiled(drawn(50))
    counts, moments = (decode_profile(encode_profile(part)) for part in whole.parted())

    assert (counts.rows, len(counts.moments), moments.rows) == (50, 0, 0)
    assert not moments.cells.any()
    assert counts + moments == moments + counts == whole
    assert whole - moments - counts == REFERENCE.empty


def test_what_an_earlier_release_counted_is_read_and_added_to() -> None:
    """Its rows are counted, and not summed."""
    old, new = profiled(drawn(30)), profiled(drawn(20, seed=1))
    assert decode_profile(second_format(old)) == old
    read = decode_profile(first_format(old))
    both = read + new

    assert (read.rows, len(read.moments)) == (30, 0)
    assert (both.rows, both.moments[0]) == (50, 20)
    assert new + read == both
    assert both - read == new


def test_by_a_reference_of_an_earlier_release_no_moments_are_summed() -> None:
    """It is compared with nothing."""
    old = msgspec.structs.replace(
        REFERENCE,
        format=1,
        whole_bytes=first_format(REFERENCE.whole),
        chunks_bytes=tuple(map(first_format, REFERENCE.chunks)),
    )
    read = decode_reference(encode_reference(old))

    assert read.layout.moments.names == ()
    assert read.whole.rows == 2000
    assert profiled(drawn(5), of=read).moments.tolist() == []
    assert read.layout.sums_of_numbers(read.whole).rows == 0


@pytest.mark.parametrize("number", [0, 4])
def test_a_format_that_is_not_known_is_refused(number: int) -> None:
    """With what is read here."""
    later = msgspec.msgpack.encode([number, *msgspec.msgpack.decode(encode_profile(REFERENCE.empty))[1:]])
    with pytest.raises(
        BundleError, match=f"profile format {number} is unknown here; this release reads formats 1 to 3"
    ):
        decode_profile(later)
    with pytest.raises(
        BundleError, match=f"reference format {number} is unknown here; this release reads formats 1 to 2"
    ):
        decode_reference(encode_reference(msgspec.structs.replace(REFERENCE, format=number)))
