"""Validate: a request's tensors against a signature, into the arrays a runtime takes.

Everything a caller can get wrong about values is found here, before a model sees them. The usual case, columns of one
value each, in the signature's order, is checked without building anything but the arrays themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from trivet.core.errors import InvalidRequest, quoted
from trivet.core.signature import Input, enumerate_names, unknown_input
from trivet.dataplane.protocol.decode import MAX_RANK
from trivet.dataplane.protocol.messages import RawBody, RawTensor, Tensor
from trivet.dataplane.validation.elements import elements_of, flattened
from trivet.dataplane.validation.numbers import (
    apply_bounds,
    judge_non_finite,
    not_from_null,
    number_array,
    number_block,
)
from trivet.dataplane.validation.plan import Check, Flags, Group, Plan, Validated
from trivet.dataplane.validation.raw import raw_array, whole_body
from trivet.dataplane.validation.texts import text_array, text_block

MAX_ELEMENTS = 4_194_304
ONE_VALUE = [1, 1]

Tensors = Sequence[Tensor | RawTensor]


def validate(plan: Plan, tensors: Tensors, model: str) -> Validated:
    """Return the graph's arrays for `tensors`; raises `InvalidRequest` naming input, row and what was expected.

    Arrays are C-contiguous, of the signature's datatype; BYTES are object arrays of `str`, with the signature's missing
    value for None. `columns` are the caller's own lists where they were flat: nothing is copied for the record.
    """
    if plan.usual_row is not None and tensors and type(tensors[0]) is plan.usual_row.first:
        return _row(plan, [tensor.data for tensor in tensors])  # type: ignore[misc]  # its decoder has checked all of it
    if (plain := _plain_row(plan, tensors)) is not None:
        return plain
    if [tensor.name for tensor in tensors] != plan.names:
        given = len(tensors)
        tensors = _in_order(plan, tensors, model)
        if len(tensors) > given:
            plan = plan.lenient  # what was left out is missing in every row
    sent = _sent(plan, tensors, _rows(plan, tensors, model), model)
    feed: dict[str, np.ndarray] = {}
    flags: Flags = {}
    for group in plan.groups:
        block = _block(plan, group, sent, flags, model)
        if group.pack:
            feed[group.pack] = np.ascontiguousarray(block.T)
        else:
            feed.update(zip(group.names, block.reshape(len(group.names), sent.rows, 1), strict=True))
    for place in plan.others:
        check = plan.checks[place]
        feed[check.name] = _array(check, place, sent, model).reshape(tensors[place].shape)
    return Validated(feed, sent.rows, sent.columns, flags or None)


def _plain_row(plan: Plan, tensors: Tensors) -> Validated | None:
    """Return one row that has nothing to remark on; None for whatever needs a closer look.

    The common request: each column once, in the signature's order and datatype, a known value inside its bounds. It
    refuses nothing itself: what it does not take is judged by the general rules, which would give the same for this.
    """
    if not plan.is_plain or len(tensors) != len(plan.checks):
        return None
    for (name, datatype, kinds, low, high, known, missing), tensor in zip(plan.quick, tensors, strict=True):
        data = tensor.data
        if (
            type(data) is not list
            or len(data) != 1
            or tensor.name != name
            or tensor.datatype != datatype
            or tensor.shape != ONE_VALUE
        ):
            return None
        value = data[0]
        if type(value) not in kinds:
            return None
        if value is None:
            continue
        if low is not None:
            if not low <= value <= high:
                return None
        elif value == missing or (known is not None and value not in known):
            return None
    return _row(plan, [tensor.data for tensor in tensors])  # type: ignore[misc]  # each of them is a list


def _row(plan: Plan, columns: list[list[Any]]) -> Validated:
    """Return the arrays of one row whose values were found to be good; each column is a list of one."""
    feed: dict[str, np.ndarray] = {}
    for dtype, places, names, pack, _, _, _ in plan.groups:
        values = [columns[place][0] for place in places]
        if None in values:
            values = [plan.checks[p].missing if v is None else v for p, v in zip(places, values, strict=True)]
        block = np.array(values, dtype=dtype)
        if pack:
            feed[pack] = block.reshape(1, -1)
        else:
            feed.update(zip(names, block.reshape(-1, 1, 1), strict=True))
    return Validated(feed, 1, columns)


# --- arrays ---------------------------------------------------------------------------------------------------------


class _Sent(NamedTuple):
    """What was sent, in signature order: each tensor's flat values, and the array of them where it came as bytes."""

    columns: list[list[Any]]
    arrays: list[np.ndarray | None]
    rows: int


def _sent(plan: Plan, tensors: Tensors, rows: int, model: str) -> _Sent:
    if (columns := _usual(plan, tensors, rows, model)) is not None:
        return _Sent(columns, [None] * len(columns), rows)
    sent = _Sent([], [], rows)
    for check, tensor in zip(plan.checks, tensors, strict=True):
        if isinstance(tensor, RawTensor):
            array = raw_array(check, tensor, model)
            sent.arrays.append(array)
            sent.columns.append(array.tolist())
        else:
            sent.arrays.append(None)
            sent.columns.append(elements_of(check, tensor, rows, model))
    return sent


def _usual(plan: Plan, tensors: Tensors, rows: int, model: str) -> list[list[Any]] | None:
    """Return the values of tensors of JSON that are complete and of the signature's datatypes; None for others."""
    if plan.usual is None:
        return None
    lists = []
    for check, tensor in zip(plan.checks, tensors, strict=True):
        if isinstance(tensor, RawTensor) or tensor.data is None:
            return None
        data = tensor.data
        if data and type(data[0]) is list:
            data = flattened(tensor, model)
        if len(data) != (rows if check.is_column else math.prod(tensor.shape)) or tensor.datatype != check.datatype:
            return None
        lists.append(data)
    try:
        return list(msgspec.structs.astuple(msgspec.convert(lists, plan.usual)))
    except msgspec.ValidationError:
        return None  # which element it is, and what of it, is found one by one


def _block(plan: Plan, group: Group, sent: _Sent, flags: Flags, model: str) -> np.ndarray:
    """Return the columns of `group` as one array; a NaN becomes None in `sent.columns`, as the record keeps it."""
    checks = [plan.checks[place] for place in group.places]
    columns = [sent.columns[place] for place in group.places]
    if group.dtype.kind == "O":
        return text_block(checks, columns, sent.rows, flags, model)
    block = number_block(group, checks, columns, [sent.arrays[place] for place in group.places], model)
    if group.dtype.kind == "f" and not (finite := np.isfinite(block)).all():
        for place in not_from_null(columns, block, finite):
            sent.columns[group.places[place]] = judge_non_finite(checks[place], columns[place], block[place], model)
    apply_bounds(group, checks, block, flags, model)
    return block


def _array(check: Check, place: int, sent: _Sent, model: str) -> np.ndarray:
    """Return the flat array of an input that is not a column; a NaN becomes None in `sent.columns`."""
    values, array = sent.columns[place], sent.arrays[place]
    if check.datatype == "BYTES":
        return text_array(check, values, model)
    if array is None:
        array = number_array(check, values, model)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        sent.columns[place] = judge_non_finite(check, values, array, model)
    return array


# --- which tensors -------------------------------------------------------------------------------------------------


def _in_order(plan: Plan, tensors: Tensors, model: str) -> list[Tensor | RawTensor]:
    if len(tensors) == 1 and isinstance(tensors[0], RawBody):
        return [whole_body(plan, tensors[0], model)]
    given: dict[str, Tensor | RawTensor] = {}
    for tensor in tensors:
        if tensor.name in given:
            raise InvalidRequest(f"{model}: input {quoted(tensor.name)} is given twice.", code="DUPLICATE_INPUT")
        given[tensor.name] = tensor
    for name in given:
        if name not in plan.names:
            raise InvalidRequest(f"{model}: {unknown_input(name, plan.names)}", code="UNKNOWN_INPUT", field=name)
    missing = [c for c in plan.checks if c.name not in given]
    if absent := [c.name for c in missing if not c.spec.may_be_left_out]:
        raise InvalidRequest(
            f"{model}: this model takes {len(plan.names)} inputs, got {len(given)}: {enumerate_names(absent)} missing."
            " The model's page and its metadata have a request that works.",
            code="MISSING_INPUT",
            field=absent[0],
        )
    rows = next((tensor.shape[0] for tensor in tensors if tensor.shape), 1)
    if rows > plan.max_rows:
        raise too_many_rows(rows, plan, model)
    for check in missing:
        shape = [rows if size == -1 and not place else max(size, 1) for place, size in enumerate(check.spec.shape)]
        _check_total(math.prod(shape), model)
        given[check.name] = Tensor(check.name, shape, check.datatype, [None] * math.prod(shape))
    return [given[name] for name in plan.names]


def _rows(plan: Plan, tensors: Tensors, model: str) -> int:
    rows = -1
    total = 0
    for check, tensor in zip(plan.checks, tensors, strict=True):
        shape = tensor.shape
        if not (check.is_column and len(shape) in (1, 2) and shape[0] >= 0 and (len(shape) == 1 or shape[1] == 1)):
            _check_shape(check.spec, shape, model)
        if check.spec.shape[0] == -1:
            if rows == -1:
                rows = shape[0]
            elif shape[0] != rows:
                raise InvalidRequest(
                    f"{model}: input {quoted(check.name)} has {shape[0]} rows, {quoted(plan.names[0])} has {rows}.",
                    code="ROWS_DIFFER",
                )
        total += math.prod(shape)
    rows = max(rows, 0) if plan.signature.has_rows else 1
    if rows > plan.max_rows:
        raise too_many_rows(rows, plan, model)
    _check_total(total, model)
    return rows


def _check_total(elements: int, model: str) -> None:
    if elements > MAX_ELEMENTS:
        raise InvalidRequest(
            f"{model}: {elements} elements; one request takes at most {MAX_ELEMENTS}.", code="TOO_MANY"
        )


def too_many_rows(rows: int, plan: Plan, model: str) -> InvalidRequest:
    """Return the refusal of more rows than one request may have."""
    return InvalidRequest(
        f"{model}: {rows} rows; one request takes at most {plan.max_rows} (TRIVET_MAX_ROWS).", code="TOO_MANY"
    )


def _check_shape(spec: Input, shape: list[int], model: str) -> None:
    fits = len(shape) == len(spec.shape) and all(w in (-1, g) for w, g in zip(spec.shape, shape, strict=True))
    fits = fits and all(size >= 0 for size in shape)  # gRPC can send a negative one
    empty = fits and 0 in (shape[1:] if spec.shape[0] == -1 else shape)
    if len(shape) > MAX_RANK or not fits or empty:
        raise InvalidRequest(
            f"{model}: input {quoted(spec.name)} has shape {quoted(shape)}, expected {list(spec.shape)} (-1: any number).",
            code="BAD_SHAPE",
            field=spec.name,
        )
    _check_total(math.prod(size for size in shape if size), model)  # nor without rows: NumPy counts them all the same
