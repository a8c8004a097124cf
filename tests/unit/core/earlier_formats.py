"""Counts as releases before this one encoded them: numbers in lists, and at first without moments."""

from __future__ import annotations

import msgspec
import numpy as np

from trivet.core.profile.labels import LabelTable
from trivet.core.profile.profile import Profile


def in_lists(values: np.ndarray) -> tuple[int, list[int], list[int]]:
    """Return `values` (places,) without the zeros."""
    places = np.flatnonzero(values)
    return len(values), np.diff(places, prepend=0).tolist(), values[places].tolist()


def first_format(profile: Profile) -> bytes:
    """Return `profile` as it was encoded before the moments."""
    return msgspec.msgpack.encode([1, profile.rows, in_lists(profile.cells), in_lists(profile.sums), profile.unseen])


def second_format(profile: Profile) -> bytes:
    """Return `profile` as it was encoded with them."""
    counts = in_lists(profile.cells), in_lists(profile.sums)
    parts = [2, profile.rows, *counts, profile.unseen, profile.moments.tolist()]
    return msgspec.msgpack.encode([*parts, list(map(str, profile.losses))] if profile.losses else parts)


def first_format_of_labels(table: LabelTable) -> bytes:
    """Return `table` as it was encoded."""
    errors = [list(map(str, sums)) for sums in table.errors]
    return msgspec.msgpack.encode([1, table.labels, in_lists(table.cells), errors])
