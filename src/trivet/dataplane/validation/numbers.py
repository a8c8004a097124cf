"""Numbers: arrays judged as numbers: what a datatype cannot hold, what is missing, what is outside the known range."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trivet.core.datatypes import INTEGER_BOUNDS
from trivet.core.errors import InvalidRequest, quoted
from trivet.dataplane.validation.buffers import array_of
from trivet.dataplane.validation.elements import out_of_range, row_of
from trivet.dataplane.validation.plan import Check, Flags, Group

Columns = list[list[Any]]


def number_array(check: Check, values: list[Any], model: str) -> np.ndarray:
    """Return `values`, of checked types, as an array; what becomes infinite by that is left for `judge_non_finite`."""
    if (array := array_of(values, len(values), check.dtype)) is not None:
        return array
    try:
        with np.errstate(over="ignore"):
            return np.array(values, dtype=check.dtype)
    except OverflowError:
        raise _overflow(check, values, model) from None


def number_block(
    group: Group, checks: list[Check], columns: Columns, arrays: Sequence[np.ndarray | None], model: str
) -> np.ndarray:
    """Return the columns of `group` as one array of shape `(columns, rows)`.

    `columns` and `arrays` hold what each column is: a list, and the array of it where it came as bytes.
    """
    if not any(array is not None for array in arrays):
        rows = len(columns[0])
        if not group.is_nullable:
            flat = array_of(itertools.chain.from_iterable(columns), len(columns) * rows, group.dtype)
            if flat is not None:
                return flat.reshape(len(columns), rows)
        try:
            with np.errstate(over="ignore"):
                return np.array(columns, dtype=group.dtype)
        except OverflowError:
            for check, values in zip(checks, columns, strict=True):
                number_array(check, values, model)  # raises for the column it is
    block = np.empty((len(columns), len(columns[0])), dtype=group.dtype)
    for place, (check, values, array) in enumerate(zip(checks, columns, arrays, strict=True)):
        block[place] = number_array(check, values, model) if array is None else array
    return block


def not_from_null(columns: Columns, block: np.ndarray, finite: np.ndarray) -> list[int]:
    """Return the places of columns whose numbers are not all `finite`, and not just because null is NaN in an array.

    A list has null or NaN, never both: JSON knows the one, the typed contents of gRPC the other.
    """
    places: list[int] = np.flatnonzero(~finite.all(axis=1)).tolist()
    if np.isinf(block).any():
        return places
    first = finite.argmin(axis=1).tolist()
    return [place for place in places if columns[place][first[place]] is not None]


def judge_non_finite(check: Check, values: list[Any], array: np.ndarray, model: str) -> list[Any]:
    """Return `values` with every NaN as None, once NaN and infinities of the flat `array` are found to be allowed.

    A NaN that was sent counts as null; one that stands for null was allowed before. Raises `InvalidRequest` for a
    number that its datatype cannot hold, an infinite one, or a NaN where nothing may be missing.
    """
    for place in np.flatnonzero(np.isinf(array)).tolist():
        if not math.isinf(values[place]):
            raise out_of_range(check, place, values[place], check.datatype, model)
        if check.spec.finite:
            raise _not_finite(check, place, f"{values[place]}, but only finite numbers are taken", "NOT_FINITE", model)
    places = np.flatnonzero(np.isnan(array)).tolist()
    if len(places) == values.count(None):
        return values
    if check.spec.finite and not check.spec.nullable:
        sentence = "NaN counts as null, but this input has no missing values"
        raise _not_finite(check, places[0], sentence, "NULL_NOT_ALLOWED", model)
    return [None if value != value else value for value in values]  # noqa: PLR0124  (only NaN differs from itself)


def apply_bounds(group: Group, checks: list[Check], block: np.ndarray, flags: Flags, model: str) -> None:
    """Flag, clip or refuse what is outside the known range of its column, as the column's policy says; in place."""
    if group.lows is None:
        return
    outside = (block < group.lows) | (block > group.highs)
    if not outside.any():
        return
    for place in np.flatnonzero(outside.any(axis=1)).tolist():
        _outside(checks[place], block[place], flags, model)


def _outside(check: Check, values: np.ndarray, flags: Flags, model: str) -> None:
    below, above = values < check.low, values > check.high
    policy = check.spec.outside
    for row in np.flatnonzero(below | above).tolist():
        flag = "below_low" if below[row] else "above_high"
        if policy == "reject":
            raise InvalidRequest(
                f"{model}: {quoted(check.name)} is {values[row]:g}, row {row}. Allowed: {check.low:g} to {check.high:g}.",
                code="OUT_OF_RANGE",
                field=check.name,
                row=row,
            )
        flags.setdefault(row, {})[check.name] = "clipped" if policy == "clip" else flag
    if policy == "clip":
        values[:] = np.clip(values.astype(np.float64), check.low, check.high)


def _overflow(check: Check, values: list[Any], model: str) -> InvalidRequest:
    low, high = INTEGER_BOUNDS.get(check.datatype) or (-1.7e308, 1.7e308)
    for place, value in enumerate(values):
        if value is not None and not low <= value <= high:
            return out_of_range(check, place, value, check.datatype, model)
    return InvalidRequest(f"{model}: a number does not fit {check.datatype}.", code="OUT_OF_RANGE", field=check.name)


def _not_finite(check: Check, place: int, sentence: str, code: str, model: str) -> InvalidRequest:
    row = row_of(check, place)
    return InvalidRequest(
        f"{model}: input {quoted(check.name)}, row {row}: {sentence}.", code=code, field=check.name, row=row
    )
