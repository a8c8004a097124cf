"""Profile: the counts of some rows. Adding and subtracting are those of whole numbers: exact, in any order, any sharding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np

from trivet.core.errors import BundleError
from trivet.core.profile import sparse
from trivet.core.profile.bins import UNSEEN_SHOWN
from trivet.core.profile.losses import LOSS_SUMS, Sums

PROFILE_FORMAT = 3
READ_FORMATS = (1, 2, 3)  # the first is without moments, and both before the last have lists of numbers

UNREADABLE = (msgspec.DecodeError, ValueError, IndexError)  # what bytes raise that nobody encoded here

Unseen = Mapping[str, Mapping[str, int]]  # feature -> value that the reference never had -> how often


@dataclass(frozen=True, eq=False)
class Profile:
    """How often each place of a reference's layout was met, by `rows` rows.

    `cells` (places,) and `sums` (places of the scores,) are int64; `unseen` is for people to read: its counts are exact until
    a feature has more than twenty values, of which the commonest are kept. `moments` is int64 as `Moments` lays it out, and
    empty where none were summed; `losses` are the sums of `loss_sums`, empty where nothing was expected.
    """

    rows: int
    cells: np.ndarray
    sums: np.ndarray
    unseen: Unseen = field(default_factory=dict)
    moments: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    losses: Sums = ()

    def __add__(self, other: Profile) -> Profile:
        """Return the profile of the rows of both."""
        return Profile(
            self.rows + other.rows,
            self.cells + other.cells,
            self.sums + other.sums,
            _merged(self.unseen, other.unseen),
            _added(self.moments, other.moments),
            summed(self.losses, other.losses),
        )

    def __sub__(self, other: Profile) -> Profile:
        """Return the profile of the rows of this one without those of `other`, which were among them."""
        return Profile(
            self.rows - other.rows,
            self.cells - other.cells,
            self.sums - other.sums,
            _merged(self.unseen, {name: {v: -n for v, n in values.items()} for name, values in other.unseen.items()}),
            _added(self.moments, -other.moments),
            summed(self.losses, tuple(-total for total in other.losses)),
        )

    def parted(self) -> tuple[Profile, Profile]:
        """Return two that add up to this one: its counts without moments, and its moments without a row."""
        counts = Profile(self.rows, self.cells, self.sums, self.unseen, losses=self.losses)
        return counts, Profile(0, np.zeros_like(self.cells), np.zeros_like(self.sums), moments=self.moments)

    def __eq__(self, other: object) -> bool:
        """Tell whether both count the same; the values shown of the unseen do not matter."""
        return (
            isinstance(other, Profile)
            and self.rows == other.rows
            and np.array_equal(self.cells, other.cells)
            and np.array_equal(self.sums, other.sums)
            and np.array_equal(self.moments, other.moments)
            and self.losses == other.losses
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have none


def merge(profiles: Iterable[Profile], empty: Profile) -> Profile:
    """Return the sum of `profiles`; `empty` of none."""
    total = empty
    for profile in profiles:
        total = total + profile
    return total


def encode_profile(profile: Profile) -> bytes:
    """Return `profile` as msgpack: small where most places are empty. Losses may be larger than its integers, and are text."""
    parts = [
        PROFILE_FORMAT,
        profile.rows,
        sparse.sparse(profile.cells),
        sparse.sparse(profile.sums),
        profile.unseen,
        sparse.packed(profile.moments),
    ]
    return msgspec.msgpack.encode([*parts, list(map(str, profile.losses))] if profile.losses else parts)


def decode_profile(data: bytes | memoryview) -> Profile:
    """Return the profile in `data`; raises `BundleError` for anything else."""
    read = read_profile(data)
    try:
        moments = sparse.numbers([read.moments])
        cells, sums = sparse.dense(read.cells), sparse.dense(read.sums)
        return Profile(read.rows, cells, sums, read.unseen, moments, losses_of(read))
    except UNREADABLE as error:
        raise unreadable(error) from None


def read_profile(data: bytes | memoryview) -> Encoded:
    """Return what `data` holds as it is encoded, with its places still in gaps; raises `BundleError` for what is no profile."""
    try:
        read = msgspec.msgpack.decode(data, type=Encoded)
    except UNREADABLE as error:
        raise unreadable(error) from None
    if read.format not in READ_FORMATS:
        raise BundleError(
            f"profile format {read.format} is unknown here; this release reads formats 1 to {PROFILE_FORMAT}."
        )
    return read


def losses_of(read: Encoded) -> Sums:
    """Return the sums of what was expected; raises `ValueError` for what is none."""
    if len(read.losses) not in (0, LOSS_SUMS):
        raise ValueError(f"{len(read.losses)} sums of losses")
    return tuple(map(int, read.losses))


def unreadable(error: Exception) -> BundleError:
    """Return what is to be raised where the bytes of a profile are none."""
    return BundleError(f"a profile cannot be read: {error}")


class Encoded(msgspec.Struct, array_like=True):
    """What a profile is as msgpack; one of format 1 ends before the moments, and one of which nothing is expected after them."""

    format: int
    rows: int
    cells: sparse.Sparse
    sums: sparse.Sparse
    unseen: dict[str, dict[str, int]]
    moments: sparse.Numbers = b"\1"
    losses: list[str] = []


def _merged(one: Unseen, other: Unseen) -> dict[str, dict[str, int]]:
    merged: dict[str, dict[str, int]] = {}
    for name in {**one, **other}:
        counted = Counter(one.get(name, {}))
        counted.update(other.get(name, {}))
        if kept := commonest(counted):
            merged[name] = kept
    return merged


def commonest(counted: Counter[str]) -> dict[str, int]:
    """Return the values that are kept of those of one feature, the commonest first."""
    return {value: number for value, number in counted.most_common(UNSEEN_SHOWN) if number > 0}


def _added(moments: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the sum of both; where one has none, the other's."""
    both = [some for some in (moments, others) if len(some)]
    return np.sum(both, axis=0, dtype=np.int64) if both else moments


def summed(losses: Sums, others: Sums) -> Sums:
    """Return the sum of both; where one has none, the other's."""
    both = [some for some in (losses, others) if some]
    return tuple(map(sum, zip(*both, strict=True))) if both else ()
