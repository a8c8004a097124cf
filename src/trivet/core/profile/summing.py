"""Summing: many encoded profiles, or label tables, added as whole arrays. The sums are those of adding them one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import islice
from operator import add
from typing import Generic, TypeVar

import numpy as np

from trivet.core.errors import BundleError
from trivet.core.profile import labels, profile
from trivet.core.profile.labels import LabelTable, read_labels
from trivet.core.profile.losses import Sums
from trivet.core.profile.profile import UNREADABLE, Profile, commonest, losses_of, read_profile
from trivet.core.profile.sparse import Sparse, count, numbers, stacked

AT_ONCE = 64  # encoded counts whose places are in memory: more of them leave the processor's cache, fewer pay for NumPy each time

K = TypeVar("K", bound=Hashable)  # what is added up apart


def sum_profiles(found: Iterable[tuple[K, bytes]], empty: Profile) -> dict[K, Profile]:
    """Return the sum of the encoded profiles of each key, in the order in which the keys are met.

    Raises `BundleError` for what is no profile, and for one of another layout than `empty`.
    """
    cells, sums, moments = _Stack[K](len(empty.cells)), _Stack[K](len(empty.sums)), dict[K, np.ndarray]()
    rows, unseen, losses = Counter[K](), dict[K, dict[str, Counter[str]]](), dict[K, Sums]()
    for some in _batches(found):
        keys, read = [key for key, _ in some], [read_profile(data) for _, data in some]
        try:
            if not all(_fits(one, empty) for one in read):
                raise BundleError("a profile was counted by another layout than the reference has.")
            cells.add(keys, [one.cells for one in read])
            sums.add(keys, [one.sums for one in read])
            for key, one in zip(keys, read, strict=True):
                rows[key] += one.rows
                if count(one.moments):
                    moments[key] = moments.get(key, empty.moments) + numbers([one.moments])
                if one.losses:
                    losses[key] = profile.summed(losses.get(key, ()), losses_of(one))
                for name, values in one.unseen.items():
                    unseen.setdefault(key, {}).setdefault(name, Counter()).update(values)
        except UNREADABLE as error:
            raise profile.unreadable(error) from None
    return {
        key: Profile(
            rows[key],
            counts,
            sums.of[key],
            _shown(unseen.get(key, {})),
            moments.get(key, empty.moments),
            losses.get(key, empty.losses),
        )
        for key, counts in cells.of.items()
    }


def _fits(one: profile.Encoded, empty: Profile) -> bool:
    widths = (one.cells[0], one.sums[0]) == (len(empty.cells), len(empty.sums))
    return widths and count(one.moments) in (0, len(empty.moments))


def sum_labels(
    found: Iterable[tuple[K, bytes]], empty: LabelTable, *, leaves_others_out: bool = False
) -> dict[K, LabelTable]:
    """Return the sum of the encoded label tables of each key, in the order in which the keys are met.

    Raises `BundleError` for what is no label table, and, unless it `leaves_others_out`, for one of another layout than `empty`.
    """
    cells, total, errors = _Stack[K](len(empty.cells)), Counter[K](), dict[K, list[tuple[int, ...]]]()
    for some in _batches(found):
        read = [(key, read_labels(data)) for key, data in some]
        fitting = [
            (key, one) for key, one in read if one.cells[0] == cells.width and len(one.errors) == len(empty.errors)
        ]
        if len(fitting) < len(read) and not leaves_others_out:
            raise BundleError("label tables of one version were counted by different layouts.")
        try:
            cells.add([key for key, _ in fitting], [one.cells for _, one in fitting])
            for key, one in fitting:
                total[key] += one.labels
                if not one.errors:
                    continue
                errors.setdefault(key, list(empty.errors))
                errors[key] = [tuple(map(add, a, map(int, b))) for a, b in zip(errors[key], one.errors, strict=True)]
        except UNREADABLE as error:
            raise labels.unreadable(error) from None
    return {key: LabelTable(total[key], counts, tuple(errors.get(key, ()))) for key, counts in cells.of.items()}


class _Stack(Generic[K]):
    """The sum of sparse arrays of one width, for each key."""

    def __init__(self, width: int) -> None:
        self.width, self.of = width, dict[K, np.ndarray]()

    def add(self, keys: list[K], pieces: list[Sparse]) -> None:
        """Add a piece to the sum of each of `keys`, of which there may be none."""
        if not keys:
            return
        rows = {key: row for row, key in enumerate(dict.fromkeys(keys))}
        stack = stacked(pieces, [rows[key] for key in keys], len(rows), self.width)
        for key, row in rows.items():
            self.of[key] = self.of[key] + stack[row] if key in self.of else stack[row]


def _batches(found: Iterable[tuple[K, bytes]]) -> Iterator[list[tuple[K, bytes]]]:
    left = iter(found)
    while some := list(islice(left, AT_ONCE)):
        yield some


def _shown(unseen: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    shown = {name: commonest(counted) for name, counted in unseen.items()}
    return {name: values for name, values in shown.items() if values}
