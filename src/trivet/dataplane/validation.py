"""Validate: a request's tensors against a signature, into the arrays a runtime takes.

Everything a caller can get wrong about values is found here, before a model sees them. The usual case, columns of one
value each, in the signature's order, is checked without building anything but the arrays themselves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from trivet.core.datatypes import ACCEPTED, DATATYPES, FLOATS, FP32_MAX, INTEGER_BOUNDS, NUMPY_DTYPES
from trivet.core.errors import InvalidRequest, InvalidRows, did_you_mean, quoted
from trivet.core.signature import Input, Signature, enumerate_names, unknown_input
from trivet.dataplane.protocol.decode import MAX_RANK
from trivet.dataplane.protocol.messages import Tensor
from trivet.model.bundle.packing import Pack

MAX_ELEMENTS = 4_194_304
MAX_PROBLEMS = 100  # listed in one answer
MAX_SUGGESTIONS = 5
ONE_VALUE = [1, 1]
FEW_ROWS = 8  # up to this many, comparing bounds in Python is cheaper than in NumPy
KNOWN_IN_A_MESSAGE = 8

_NONE = type(None)
_PYTHON_TYPES: dict[str, frozenset[type]] = {
    "BOOL": frozenset({bool}),
    "BYTES": frozenset({str}),
    **{name: frozenset({int}) for name in INTEGER_BOUNDS},
    **{name: frozenset({float, int}) for name in FLOATS},
}
_WORDS = {"BOOL": "true or false", "BYTES": "a text"}

Flags = dict[int, dict[str, str]]


@dataclass(slots=True)
class Validated:
    """What the engine takes and the record keeps: arrays by name, rows, flat lists in signature order, flags."""

    feed: dict[str, np.ndarray]
    rows: int
    columns: list[list[Any]]
    flags: Flags | None = None


class _Check:
    """One input's rules, worked out once: what the hot path would otherwise look up for every request."""

    __slots__ = (
        "accepted",
        "datatype",
        "high",
        "is_column",
        "is_plain",
        "kinds",
        "known",
        "low",
        "missing",
        "name",
        "spec",
    )

    def __init__(self, spec: Input) -> None:
        self.spec = spec
        self.name = spec.name
        self.datatype = spec.datatype
        self.is_column = spec.is_column
        self.accepted = ACCEPTED[spec.datatype]
        self.kinds = _PYTHON_TYPES[spec.datatype] | ({_NONE} if spec.nullable else frozenset())
        self.known = frozenset(spec.categories) | {None} if spec.categories is not None else None
        bounded = spec.low is not None or spec.high is not None
        self.low = (-math.inf if spec.low is None else spec.low) if bounded else None
        self.high = math.inf if spec.high is None else spec.high
        self.missing = spec.missing if spec.datatype == "BYTES" else math.nan
        self.is_plain = spec.is_column and (spec.datatype != "FP32" or bounded)  # FP32 overflows without raising


class _Group(NamedTuple):
    """Columns of one datatype; with a `pack` they enter the graph as one tensor of that name."""

    dtype: np.dtype
    places: list[int]
    names: list[str]
    pack: str


@dataclass(frozen=True)
class Plan:
    """How requests for one signature are checked, made once per loaded version."""

    signature: Signature
    max_rows: int
    packs: tuple[Pack, ...] = ()
    names: list[str] = field(init=False)
    checks: list[_Check] = field(init=False)
    groups: list[_Group] = field(init=False)  # columns that become one array together
    others: list[int] = field(init=False)  # places of inputs that are not columns
    field_names: tuple[str, ...] = field(init=False)  # what a row may name
    is_plain: bool = field(init=False)  # a table whose usual rows need no closer look
    quick: list[tuple[Any, ...]] = field(init=False)  # of each check, what such a row is held against

    def __post_init__(self) -> None:
        checks = [_Check(spec) for spec in self.signature.inputs]
        packed_in = {name: pack.name for pack in self.packs for name in pack.columns}
        groups: dict[tuple[str, str], list[int]] = {}
        for place, check in enumerate(checks):
            if check.is_column:
                groups.setdefault((check.datatype, packed_in.get(check.name, "")), []).append(place)
        set_once = object.__setattr__
        set_once(self, "checks", checks)
        set_once(self, "names", [check.name for check in checks])
        listed = [_Group(NUMPY_DTYPES[d], p, [checks[i].name for i in p], pack) for (d, pack), p in groups.items()]
        set_once(self, "groups", listed)
        quick = [(c.name, c.datatype, c.kinds, c.low, c.high, c.known, c.missing) for c in checks]
        set_once(self, "quick", quick)
        set_once(self, "is_plain", all(check.is_plain for check in checks))
        set_once(self, "field_names", self.signature.field_names)
        set_once(self, "others", [place for place, check in enumerate(checks) if not check.is_column])


def validate(plan: Plan, tensors: Sequence[Tensor], model: str) -> Validated:
    """Return the graph's arrays for `tensors`; raises `InvalidRequest` naming input, row and what was expected.

    Arrays are C-contiguous, of the signature's datatype; BYTES are object arrays of `str`, with the signature's missing
    value for None. `columns` are the caller's own lists where they were flat: nothing is copied for the record.
    """
    if (plain := _plain_row(plan, tensors)) is not None:
        return plain
    if [tensor.name for tensor in tensors] != plan.names:
        tensors = _in_order(plan, tensors, model)
    rows = _rows(plan, tensors, model)
    columns: list[list[Any]] = []
    for check, tensor in zip(plan.checks, tensors, strict=True):
        columns.append(_values(check, tensor, rows, model))
    feed: dict[str, np.ndarray] = {}
    flags: Flags = {}
    for dtype, places, names, pack in plan.groups:
        chosen = [columns[place] for place in places]
        checks = [plan.checks[place] for place in places]
        into_block = _texts if dtype.kind == "O" else _numbers
        block = into_block(checks, chosen, rows, flags, model)
        if pack:
            feed[pack] = np.ascontiguousarray(block.T)
        else:
            feed.update(zip(names, block.reshape(len(names), rows, 1), strict=True))
    for place in plan.others:
        check = plan.checks[place]
        feed[check.name] = _array(check, tensors[place].shape, columns[place], model)
    return Validated(feed, rows, columns, flags or None)


def _plain_row(plan: Plan, tensors: Sequence[Tensor]) -> Validated | None:
    """Return one row that has nothing to remark on; None for whatever needs a closer look.

    The common request: each column once, in the signature's order and datatype, a known value inside its bounds. It
    refuses nothing itself: what it does not take is judged by the general rules, which would give the same for this.
    """
    if not plan.is_plain or len(tensors) != len(plan.checks):
        return None
    values: list[Any] = []
    for (name, datatype, kinds, low, high, known, missing), tensor in zip(plan.quick, tensors, strict=True):
        data = tensor.data
        if (
            data is None
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
            value = missing
        elif low is not None:
            if not low <= value <= high:
                return None
        elif value == missing or (known is not None and value not in known):
            return None
        values.append(value)
    feed: dict[str, np.ndarray] = {}
    try:
        for dtype, places, names, pack in plan.groups:
            block = np.array([values[place] for place in places], dtype=dtype)
            if pack:
                feed[pack] = block.reshape(1, -1)
            else:
                feed.update(zip(names, block.reshape(-1, 1, 1), strict=True))
    except OverflowError:
        return None
    return Validated(feed, 1, [tensor.data for tensor in tensors])  # type: ignore[misc]  # none of them is None


def validate_rows(plan: Plan, rows: Sequence[dict[str, Any]], model: str) -> Validated:
    """Return the arrays of named rows; raises `InvalidRows` listing at most 100 problems by row and field.

    Fields are the signature's: column tensors by name, or the columns of a matrix. A missing field is null where
    the signature allows null.
    """
    if len(rows) > plan.max_rows:
        raise _too_many_rows(len(rows), plan, model)
    try:
        return validate(plan, _tensors(plan, rows), model)
    except InvalidRequest:
        problems = _row_problems(plan, rows, model)
        if not problems:
            raise
        count = len({problem.row for problem in problems})
        raise InvalidRows(f"{count} of {len(rows)} rows do not fit. {problems[0].message}", problems) from None


def _tensors(plan: Plan, rows: Sequence[dict[str, Any]]) -> list[Tensor]:
    """Return `rows` turned into one tensor per input; raises `InvalidRequest` for the first field that does not fit."""
    tensors = []
    for spec in plan.signature.inputs:
        names = spec.field_names
        if not names:
            raise InvalidRequest("this model takes tensors, not rows; use /infer.", code="UNKNOWN_INPUT")
        try:
            values = [row[name] for row in rows for name in names]
        except KeyError:
            if not (spec.nullable or spec.optional):
                raise InvalidRequest("a field is missing", code="MISSING_INPUT") from None
            values = [row.get(name) for row in rows for name in names]
        tensors.append(
            Tensor(spec.name, [len(rows), *(max(d, len(names)) for d in spec.shape[1:])], spec.datatype, values)
        )
    known = set(plan.field_names)
    if not all(known.issuperset(row) for row in rows):
        raise InvalidRequest("a field is unknown", code="UNKNOWN_INPUT")
    return tensors


def _row_problems(plan: Plan, rows: Sequence[dict[str, Any]], model: str) -> list[InvalidRequest]:
    """Look at each row and field alone, for an error that names them."""
    problems: list[InvalidRequest] = []
    known = set(plan.field_names)
    for number, row in enumerate(rows):
        for name in itertools.islice((name for name in row if name not in known), MAX_PROBLEMS - len(problems)):
            is_early = (
                len(problems) < MAX_SUGGESTIONS
            )  # looking for the closest name is work a caller must not multiply
            sentence = unknown_input(name, plan.field_names) if is_early else f"unknown input {quoted(name)}."
            problems.append(InvalidRequest(f"{model}: {sentence}", code="UNKNOWN_INPUT", field=name, row=number))
        for spec in plan.signature.inputs:
            for name in spec.field_names:
                problem = _field_problem(spec, name, row, number, model)
                if problem is not None:
                    problems.append(problem)
        if len(problems) >= MAX_PROBLEMS:
            break
    return problems[:MAX_PROBLEMS]


def _field_problem(spec: Input, name: str, row: dict[str, Any], number: int, model: str) -> InvalidRequest | None:
    if name not in row and not (spec.nullable or spec.optional):
        return InvalidRequest(
            f"{model}: row {number}: {quoted(name)} is missing.", code="MISSING_INPUT", field=name, row=number
        )
    alone = msgspec.structs.replace(spec, name=name, shape=(-1, 1), columns=None)
    plan = Plan(Signature(inputs=(alone,), outputs=()), max_rows=1)
    try:
        validate(plan, [Tensor(name, [1, 1], spec.datatype, [row.get(name)])], model)
    except InvalidRequest as error:
        message = error.message.replace(", row 0", f", row {number}")
        return InvalidRequest(message, code=error.code, field=name, row=number)
    return None


# --- which tensors -------------------------------------------------------------------------------------------------


def _in_order(plan: Plan, tensors: Sequence[Tensor], model: str) -> list[Tensor]:
    given: dict[str, Tensor] = {}
    for tensor in tensors:
        if tensor.name in given:
            raise InvalidRequest(f"{model}: input {quoted(tensor.name)} is given twice.", code="DUPLICATE_INPUT")
        given[tensor.name] = tensor
    for name in given:
        if name not in plan.names:
            raise InvalidRequest(f"{model}: {unknown_input(name, plan.names)}", code="UNKNOWN_INPUT", field=name)
    missing = [c for c in plan.checks if c.name not in given]
    if absent := [check.name for check in missing if not check.spec.optional]:
        raise InvalidRequest(
            f"{model}: this model takes {len(plan.names)} inputs, got {len(given)}: {enumerate_names(absent)} missing."
            " The model's page and its metadata have a request that works.",
            code="MISSING_INPUT",
            field=absent[0],
        )
    rows = next((tensor.shape[0] for tensor in tensors if tensor.shape), 1)
    if rows > plan.max_rows:
        raise _too_many_rows(rows, plan, model)
    for check in missing:  # optional inputs: missing in every row
        given[check.name] = Tensor(check.name, [rows, 1], check.datatype, [None] * rows)
    return [given[name] for name in plan.names]


def _rows(plan: Plan, tensors: Sequence[Tensor], model: str) -> int:
    rows = -1
    total = 0
    for check, tensor in zip(plan.checks, tensors, strict=True):
        shape = tensor.shape
        if not (check.is_column and len(shape) in (1, 2) and (len(shape) == 1 or shape[1] == 1)):
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
        raise _too_many_rows(rows, plan, model)
    if total > MAX_ELEMENTS:
        raise InvalidRequest(f"{model}: {total} elements; one request takes at most {MAX_ELEMENTS}.", code="TOO_MANY")
    return rows


def _too_many_rows(rows: int, plan: Plan, model: str) -> InvalidRequest:
    return InvalidRequest(
        f"{model}: {rows} rows; one request takes at most {plan.max_rows} (TRIVET_MAX_ROWS).", code="TOO_MANY"
    )


def _check_shape(spec: Input, shape: list[int], model: str) -> None:
    fits = len(shape) == len(spec.shape) and all(w in (-1, g) for w, g in zip(spec.shape, shape, strict=True))
    empty = fits and 0 in (shape[1:] if spec.shape[0] == -1 else shape)
    if len(shape) > MAX_RANK or not fits or empty:
        raise InvalidRequest(
            f"{model}: input {quoted(spec.name)} has shape {quoted(shape)}, expected {list(spec.shape)} (-1: any number).",
            code="BAD_SHAPE",
            field=spec.name,
        )


# --- one tensor's values --------------------------------------------------------------------------------------------


def _values(check: _Check, tensor: Tensor, rows: int, model: str) -> list[Any]:
    """Return the flat, type-checked values of `tensor`."""
    data = tensor.data
    if data is None:
        raise InvalidRequest(f"{model}: input {quoted(check.name)} has no data.", code="MISSING_FIELD")
    if data and type(data[0]) is list:
        data = _flattened(tensor, model)
    expected = rows if check.is_column else math.prod(tensor.shape)
    if len(data) != expected:
        raise InvalidRequest(
            f"{model}: input {quoted(check.name)} has {len(data)} values, its shape {quoted(tensor.shape)} needs {expected}.",
            code="COUNT_MISMATCH",
            field=check.name,
        )
    if not check.kinds.issuperset(map(type, data)):
        raise _wrong_element(check, data, tensor, model)
    if tensor.datatype != check.datatype:
        data = _widened(check, tensor.datatype, data, model)
    return data


def _flattened(tensor: Tensor, model: str) -> list[Any]:
    level: list[Any] = tensor.data or []
    for dimension in tensor.shape[1:]:
        below: list[Any] = []
        for part in level:
            if type(part) is not list or len(part) != dimension:
                raise InvalidRequest(
                    f"{model}: input {quoted(tensor.name)}: data is nested, but not as its shape {quoted(tensor.shape)}.",
                    code="BAD_NESTING",
                    field=tensor.name,
                )
            below.extend(part)
        level = below
    return level


def _widened(check: _Check, datatype: str, data: list[Any], model: str) -> list[Any]:
    if datatype not in check.accepted:
        known = f"; {quoted(datatype)} does not widen into it" if datatype in DATATYPES else ""
        raise InvalidRequest(
            f"{model}: input {quoted(check.name)} is {check.datatype}, got {quoted(datatype)}{known}.",
            code="BAD_DATATYPE",
            field=check.name,
        )
    if datatype in ("FP16", "BF16"):
        raise InvalidRequest(
            f"{model}: input {quoted(check.name)}: {datatype} has no JSON form; send binary tensors.",
            code="BINARY_REQUIRED",
            field=check.name,
        )
    if bounds := INTEGER_BOUNDS.get(datatype):
        low, high = bounds
        for row, value in enumerate(data):
            if value is not None and not low <= value <= high:
                raise _out_of_range(check.name, row, value, datatype, model)
    elif datatype == "FP32":  # the caller meant FP32 values: round them as a binary tensor would have been
        for row, value in enumerate(data):
            if value is not None and abs(value) > FP32_MAX:
                raise _out_of_range(check.name, row, value, datatype, model)
        return [None if value is None else float(np.float32(value)) for value in data]
    return data


def _wrong_element(check: _Check, data: list[Any], tensor: Tensor, model: str) -> InvalidRequest:
    if check.datatype == "BYTES" and tensor.datatype != "BYTES":
        return _datatype_error(check, tensor, model)
    row, value = next((i, v) for i, v in enumerate(data) if type(v) not in check.kinds)
    where = f"{model}: input {quoted(check.name)}, row {_row(check, row)}"
    if value is None:
        return InvalidRequest(
            f"{where}: null, but this input has no missing values.", code="NULL_NOT_ALLOWED", field=check.name, row=row
        )
    if type(value) is list:
        return InvalidRequest(f"{where}: data is nested unevenly.", code="BAD_NESTING", field=check.name, row=row)
    if tensor.datatype not in check.accepted:
        return _datatype_error(check, tensor, model)
    unit = f", {check.spec.unit}" if check.spec.unit else ""
    word = _WORDS.get(check.datatype) or ("a whole number" if check.datatype in INTEGER_BOUNDS else "a number")
    return InvalidRequest(
        f"{where}: {quoted(value)} is not {word} ({check.datatype}{unit}).",
        code="BAD_ELEMENT",
        field=check.name,
        row=row,
    )


def _datatype_error(check: _Check, tensor: Tensor, model: str) -> InvalidRequest:
    return InvalidRequest(
        f"{model}: input {quoted(check.name)} is {check.datatype}, got {quoted(tensor.datatype)}.",
        code="BAD_DATATYPE",
        field=check.name,
    )


def _out_of_range(name: str, row: int, value: Any, datatype: str, model: str) -> InvalidRequest:
    return InvalidRequest(
        f"{model}: input {quoted(name)}, row {row}: {quoted(value)} does not fit {datatype}.",
        code="OUT_OF_RANGE",
        field=name,
        row=row,
    )


def _row(check: _Check, place: int) -> int:
    width = math.prod(check.spec.shape[1:]) if len(check.spec.shape) > 1 else 1
    return place // max(abs(width), 1)


# --- groups of columns into arrays ----------------------------------------------------------------------------------


def _numbers(checks: list[_Check], columns: list[list[Any]], rows: int, flags: Flags, model: str) -> np.ndarray:
    """Return one `(columns, rows)` array of numbers, flagged, clipped or refused where a value is outside its bounds."""
    dtype = NUMPY_DTYPES[checks[0].datatype]
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is refused below
            block = np.array(columns, dtype=dtype)
    except OverflowError:
        raise _overflow(checks, columns, model) from None
    if dtype.itemsize < 8 and dtype.kind == "f" and np.isinf(block).any():
        raise _overflow(checks, columns, model)
    for place, check in enumerate(checks):
        low, high = check.low, check.high
        if low is None:
            continue
        if rows <= FEW_ROWS:
            for value in columns[place]:
                if value is not None and not low <= value <= high:
                    _outside(check, block[place], flags, model)
                    break
        elif ((block[place] < low) | (block[place] > high)).any():
            _outside(check, block[place], flags, model)
    return block


def _outside(check: _Check, values: np.ndarray, flags: Flags, model: str) -> None:
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


def _overflow(checks: list[_Check], columns: list[list[Any]], model: str) -> InvalidRequest:
    for check, values in zip(checks, columns, strict=True):
        bounds = INTEGER_BOUNDS.get(check.datatype)
        low, high = bounds or ((-FP32_MAX, FP32_MAX) if check.datatype == "FP32" else (-1.7e308, 1.7e308))
        for row, value in enumerate(values):
            if value is not None and not low <= value <= high:
                return _out_of_range(check.name, row, value, check.datatype, model)
    return InvalidRequest(f"{model}: a number does not fit its input's datatype.", code="OUT_OF_RANGE")


def _texts(checks: list[_Check], columns: list[list[Any]], rows: int, flags: Flags, model: str) -> np.ndarray:
    """Return one `(columns, rows)` object array of texts, missing ones as each signature's missing value."""
    block = np.empty((len(columns), rows), dtype=object)
    for place, check in enumerate(checks):
        values = columns[place]
        spec = check.spec
        if spec.missing in values:
            raise InvalidRequest(
                f"{model}: input {quoted(check.name)}: U+E000 stands for a missing text and cannot be sent; send null.",
                code="BAD_ELEMENT",
                field=check.name,
            )
        if check.known is not None and not check.known.issuperset(values):
            values = _unknown(check, values, flags, model)
        block[place] = [spec.missing if value is None else value for value in values] if spec.nullable else values
    return block


def _unknown(check: _Check, values: list[Any], flags: Flags, model: str) -> list[Any]:
    known = check.known or frozenset()
    spec = check.spec
    for row, value in enumerate(values):
        if value in known:
            continue
        if spec.unknown == "reject":
            raise InvalidRequest(
                _unknown_sentence(spec, value, row, model), code="UNKNOWN_CATEGORY", field=spec.name, row=row
            )
        flags.setdefault(row, {})[spec.name] = "unknown_category"
    if spec.unknown == "missing":
        return [value if value in known else None for value in values]
    return values


def _unknown_sentence(spec: Input, value: str, row: int, model: str) -> str:
    categories = spec.categories or ()
    shown = ", ".join(categories[:KNOWN_IN_A_MESSAGE]) + (", …" if len(categories) > KNOWN_IN_A_MESSAGE else "")
    return (
        f"{model}: {quoted(spec.name)} is {quoted(value)}, row {row}.{did_you_mean(value, categories)} Known: {shown}."
    )


# --- tensors that are not columns -----------------------------------------------------------------------------------


def _array(check: _Check, shape: list[int], values: list[Any], model: str) -> np.ndarray:
    spec = check.spec
    if spec.datatype == "BYTES":
        array = np.empty(len(values), dtype=object)
        array[:] = [spec.missing if value is None else value for value in values]
        return array.reshape(shape)
    try:
        with np.errstate(over="ignore"):
            numbers = np.array(values, dtype=NUMPY_DTYPES[spec.datatype])
    except OverflowError:
        raise _overflow([check], [values], model) from None
    if spec.datatype == "FP32" and np.isinf(numbers).any():
        raise _overflow([check], [values], model)
    return numbers.reshape(shape)
