"""Summing: many at once give what adding one by one gives, whatever is added, in any order, apart by any key."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.unit.core.earlier_formats import first_format, first_format_of_labels, second_format
from trivet.core.errors import BundleError
from trivet.core.profile import summing
from trivet.core.profile.labels import LabelTable, decode_labels, encode_labels
from trivet.core.profile.profile import Profile, decode_profile, encode_profile
from trivet.core.profile.sparse import numbers, packed
from trivet.core.profile.summing import sum_labels, sum_profiles

Encode = Callable[[Profile], bytes]

PLACES, SUMS, MOMENTS = 7, 3, 4
KEYS = st.sampled_from(["monday", "tuesday", "wednesday"])
COUNTS = st.integers(-(2**40), 2**40)


def arrays(width: int) -> st.SearchStrategy[np.ndarray]:
    held = st.one_of(st.just(0), COUNTS)
    return st.lists(held, min_size=width, max_size=width).map(lambda values: np.array(values, np.int64))


PROFILES = st.builds(
    Profile,
    COUNTS,
    arrays(PLACES),
    arrays(SUMS),
    st.dictionaries(st.sampled_from(["plan", "city"]), st.dictionaries(st.sampled_from("abc"), st.integers(1, 9))),
    st.one_of(st.just(np.zeros(0, np.int64)), arrays(MOMENTS)),
)
ERRORS = st.tuples(st.integers(-(2**80), 2**80), st.integers(-5, 5))
TABLES = st.builds(LabelTable, COUNTS, arrays(PLACES), st.tuples(ERRORS))
NOBODY = Profile(0, np.zeros(PLACES, np.int64), np.zeros(SUMS, np.int64), moments=np.zeros(MOMENTS, np.int64))
NOTHING = LabelTable(0, np.zeros(PLACES, np.int64), ((0, 0),))


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summing, "AT_ONCE", 3)


@given(found=st.lists(st.tuples(KEYS, PROFILES), max_size=12))
def test_profiles_at_once_are_profiles_one_by_one(found: list[tuple[str, Profile]]) -> None:
    at_once = sum_profiles(((key, encode_profile(one)) for key, one in found), NOBODY)

    assert list(at_once) == list(dict.fromkeys(key for key, _ in found))
    for key, total in at_once.items():
        one_by_one = reduce(add, (one for its, one in found if its == key), NOBODY)
        assert total == one_by_one
        assert total.unseen == one_by_one.unseen


@given(found=st.lists(st.tuples(KEYS, TABLES), max_size=12))
def test_label_tables_at_once_are_label_tables_one_by_one(found: list[tuple[str, LabelTable]]) -> None:
    at_once = sum_labels(((key, encode_labels(one)) for key, one in found), NOTHING)

    assert list(at_once) == list(dict.fromkeys(key for key, _ in found))
    assert at_once == {
        key: reduce(add, (one for its, one in found if its == key), NOTHING) for key in dict.fromkeys(at_once)
    }


@given(found=st.lists(st.tuples(st.sampled_from([second_format, encode_profile]), PROFILES), min_size=1, max_size=9))
def test_profiles_of_an_earlier_format_are_summed_among_others(found: list[tuple[Encode, Profile]]) -> None:
    in_order = [encode(one) for encode, one in found]
    assert sum_profiles(((1, data) for data in in_order), NOBODY) == {1: reduce(add, (one for _, one in found), NOBODY)}


def test_what_the_first_releases_counted_is_summed_among_others() -> None:
    counts, moments = Profile(2, NOBODY.cells + 1, NOBODY.sums), Profile(0, NOBODY.cells, NOBODY.sums, {}, np.arange(4))
    found = [first_format(counts), encode_profile(counts), encode_profile(moments)]
    assert sum_profiles(((1, data) for data in found), NOBODY) == {1: counts + counts + moments}
    table = LabelTable(3, np.arange(PLACES), ((2**70, 1),))
    assert decode_labels(first_format_of_labels(table)) == table
    found = [first_format_of_labels(table), encode_labels(table)]
    assert sum_labels(((1, data) for data in found), NOTHING) == {1: table + table}


@given(values=arrays(PLACES).map(lambda values: values >> 8 * (int(values[0]) % 5)))
def test_numbers_take_no_more_bytes_than_they_need(values: np.ndarray) -> None:
    few = packed(values)
    assert numbers([few]).tolist() == values.tolist()
    assert len(few) == 1 + len(values) * few[0]
    narrower = {1: (), 2: (np.uint8,), 4: (np.uint8, np.uint16), 8: (np.uint8, np.uint16, np.int32)}[few[0]]
    assert not any(np.array_equal(values.astype(kind), values) for kind in narrower)


def test_of_the_values_that_nobody_had_seen_the_commonest_are_kept() -> None:
    many = [Profile(1, NOBODY.cells, NOBODY.sums, {"plan": {f"v{place % 40}": 1 + place % 40}}) for place in range(80)]

    (total,) = sum_profiles(((1, encode_profile(one)) for one in many), NOBODY).values()

    assert total.unseen["plan"] == {f"v{place}": 2 * (1 + place) for place in range(39, 19, -1)}


@pytest.mark.parametrize(
    "other",
    [
        Profile(1, np.zeros(PLACES + 1, np.int64), NOBODY.sums),
        Profile(1, NOBODY.cells, np.zeros(SUMS - 1, np.int64)),
        Profile(1, NOBODY.cells, NOBODY.sums, moments=np.ones(1, np.int64)),
    ],
)
def test_a_profile_of_another_layout_is_refused(other: Profile) -> None:
    with pytest.raises(BundleError, match="another layout"):
        sum_profiles([(1, encode_profile(NOBODY)), (1, encode_profile(other))], NOBODY)


def test_a_label_table_of_another_layout_is_refused_or_left_out() -> None:
    other = LabelTable(5, np.ones(PLACES + 1, np.int64), ((0, 0),))
    found = [(1, encode_labels(NOTHING)), (2, encode_labels(other))]

    with pytest.raises(BundleError, match="different layouts"):
        sum_labels(found, NOTHING)
    assert sum_labels(found, NOTHING, leaves_others_out=True) == {1: NOTHING}
    assert sum_labels(found[1:], NOTHING, leaves_others_out=True) == {}
    assert sum_labels([*found[1:] * 4, *found[:1]], NOTHING, leaves_others_out=True) == {1: NOTHING}


@pytest.mark.parametrize(
    ("gaps", "held"),
    [([PLACES], [1]), ([-1], [1]), ([2, 0], [1, 1]), ([2, -1], [1, 1]), ([1, 1], [1]), ([1], [2**63]), ([2**63], [1])],
)
def test_places_that_nobody_encoded_are_refused(gaps: list[int], held: list[int]) -> None:
    cells = (PLACES, gaps, held)
    nothing = (SUMS, [], [])
    forged = msgspec.msgpack.encode([2, 1, cells, nothing, {}, []])
    with pytest.raises(BundleError, match="cannot be read"):
        sum_profiles([(1, encode_profile(NOBODY)), (1, forged)], NOBODY)
    with pytest.raises(BundleError, match="cannot be read"):
        sum_labels([(1, msgspec.msgpack.encode([1, 1, cells, [["0", "0"]]]))], NOTHING)


@pytest.mark.parametrize(
    ("gaps", "held"),
    [
        (b"", b""),  # not even a width
        (b"\1\1", b""),
        (b"\0\1", b"\0\1"),
        (b"\3\1\0\0", b"\3\1\0\0"),
        (b"\2\1", b"\2"),  # half a number
        (b"\1\1", b"\1\1\1"),  # more than places
        (bytes([1, PLACES]), b"\1\1"),
        (b"\4" + b"\xff" * 4, b"\1\1"),  # before the first place
    ],
)
def test_places_in_bytes_that_nobody_packed_are_refused(gaps: bytes, held: bytes) -> None:
    cells = (PLACES, gaps, held)
    nothing = (SUMS, b"\1", b"\1")
    forged = msgspec.msgpack.encode([3, 1, cells, nothing, {}, b"\1"])
    table = msgspec.msgpack.encode([2, 1, cells, [["0", "0"]]])
    for read in (
        lambda: sum_profiles([(1, encode_profile(NOBODY)), (1, forged)], NOBODY),
        lambda: sum_labels([(1, table)], NOTHING),
        lambda: decode_profile(forged),
        lambda: decode_labels(table),
    ):
        with pytest.raises(BundleError, match="cannot be read"):
            read()


def test_moments_that_nobody_packed_are_refused() -> None:
    nothing = (PLACES, b"\1", b"\1"), (SUMS, b"\1", b"\1")
    forged = msgspec.msgpack.encode([3, 1, *nothing, {}, b""])
    with pytest.raises(BundleError, match="cannot be read"):
        sum_profiles([(1, forged)], NOBODY)
