"""Sums of expected errors: whole numbers, exact in any order and any pieces, beside the counts or alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st

from trivet.core.errors import BundleError
from trivet.core.profile.losses import are_sums, loss_sums
from trivet.core.profile.profile import Profile, decode_profile, encode_profile

UNIT = 2.0**-20
EXPECTED = st.lists(st.tuples(st.floats(0, 1e12), st.floats(0, 1e24)), max_size=20)


def sums_of(rows: list[tuple[float, float]]) -> tuple[int, ...]:
    """Return the sums of rows."""
    absolute, squared = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    return loss_sums(absolute, squared, UNIT)


def profile_of(rows: list[tuple[float, float]]) -> Profile:
    """Return the profile of rows of which nothing else is counted."""
    return Profile(len(rows), np.zeros(3, np.int64), np.zeros(0, np.int64), losses=sums_of(rows))


@given(EXPECTED, st.integers(0, 20))
def test_pieces_add_up_and_what_is_taken_away_leaves_what_was_before(rows: list[tuple[float, float]], cut: int) -> None:
    """Beyond what 64 bits hold."""
    whole, one, other = profile_of(rows), profile_of(rows[:cut]), profile_of(rows[cut:])
    assert one + other == whole == other + one
    assert whole - other == one
    assert decode_profile(encode_profile(whole)) == whole
    assert whole.parted()[0].losses == whole.losses
    assert whole.parted()[1].losses == ()
    assert are_sums(whole.losses, len(rows))


def test_they_are_the_means_of_what_is_expected() -> None:
    """As far as the unit goes; of a row of which nothing is known, nothing."""
    rows, absolute, squared, of_absolute, of_squared = sums_of(
        [(2.0, 5.0), (3.0, 9.5), (math.nan, 1.0), (1.0, math.inf)]
    )
    assert (rows, absolute * UNIT, squared * UNIT**2) == (2, 5.0, 14.5)
    assert (of_absolute * UNIT**2, of_squared * UNIT**4) == (13.0, 25.0 + 9.5**2)


def test_an_expected_square_is_at_least_that_of_the_expected_error() -> None:
    """Two models need not agree."""
    _, absolute, squared, of_absolute, _ = sums_of([(2.0, 1.0), (-1.0, -4.0)])
    assert (absolute * UNIT, squared * UNIT**2, of_absolute * UNIT**2) == (2.0, 4.0, 4.0)


def test_nothing_expected_is_in_no_byte_and_earlier_profiles_are_read() -> None:
    """Whatever was counted before comes back without."""
    without = replace(profile_of([]), losses=())
    assert len(msgspec.msgpack.decode(encode_profile(without))) == 6
    assert decode_profile(encode_profile(without)).losses == ()
    assert (without + profile_of([(1.0, 1.0)])).losses == sums_of([(1.0, 1.0)])


@pytest.mark.parametrize(
    "losses", [["1"], ["1"] * 6, ["x"] * 5, ["9" * 5000] * 5, [1] * 5], ids=lambda value: str(value)[:9]
)
def test_other_sums_are_no_profile(losses: list[Any]) -> None:
    """Whoever sent them."""
    parts = msgspec.msgpack.decode(encode_profile(profile_of([])))
    with pytest.raises(BundleError, match="cannot be read"):
        decode_profile(msgspec.msgpack.encode([*parts[:6], losses]))
