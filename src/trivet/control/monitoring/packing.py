"""How counts lie in a column: their bytes, compressed."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterable
from typing import TypeVar

from trivet.core.errors import BundleError
from trivet.core.profile.labels import LabelTable, decode_labels, encode_labels
from trivet.core.profile.profile import Profile, decode_profile, encode_profile
from trivet.core.profile.summing import sum_labels, sum_profiles

LEVEL = 6
MOST_BYTES = 64 * 1024**2  # unpacked

Payload = bytes | memoryview  # as a column holds it
K = TypeVar("K", bound=Hashable)  # what is added up apart


def pack(counts: Profile) -> bytes:
    """Return `counts` as a column holds them."""
    return zlib.compress(encode_profile(counts), level=LEVEL)


def unpack(payload: Payload) -> Profile:
    """Return the counts that a column holds; raises `BundleError` for what is none."""
    return decode_profile(_opened(payload))


def total_of(payloads: Iterable[Payload], empty: Profile) -> Profile:
    """Return the sum of the counts that columns hold; `empty` of none. Raises `BundleError` where one is of another layout."""
    return totals_of(((None, payload) for payload in payloads), empty).get(None, empty)


def totals_of(found: Iterable[tuple[K, Payload]], empty: Profile) -> dict[K, Profile]:
    """Return the sums of the counts of each key, in the order in which the keys are met."""
    return sum_profiles(((key, _opened(payload)) for key, payload in found), empty)


def pack_labels(table: LabelTable) -> bytes:
    """Return `table` as a column holds it."""
    return zlib.compress(encode_labels(table), level=LEVEL)


def unpack_labels(payload: Payload) -> LabelTable:
    """Return the label table that a column holds; raises `BundleError` for what is none."""
    return decode_labels(_opened(payload))


def total_of_labels(payloads: Iterable[Payload], empty: LabelTable) -> LabelTable:
    """Return the sum of the label tables that columns hold; `empty` of none. Raises `BundleError` as `total_of` does."""
    return totals_of_labels(((None, payload) for payload in payloads), empty).get(None, empty)


def totals_of_labels(
    found: Iterable[tuple[K, Payload]], empty: LabelTable, *, leaves_others_out: bool = False
) -> dict[K, LabelTable]:
    """Return the sums of the label tables of each key, in the order in which the keys are met."""
    opened = ((key, _opened(payload)) for key, payload in found)
    return sum_labels(opened, empty, leaves_others_out=leaves_others_out)


def _opened(payload: Payload) -> bytes:
    try:
        return zlib.decompressobj().decompress(bytes(payload), MOST_BYTES)
    except zlib.error as error:
        raise BundleError(f"a profile cannot be unpacked: {error}") from None
