"""Elements: the values of one tensor as JSON brought them, flat and of the right type."""

from __future__ import annotations

import math
import re
import struct
from typing import Any

from trivet.core.datatypes import DATATYPES, INTEGER_BOUNDS, NO_JSON, NUMPY_DTYPES
from trivet.core.errors import InvalidRequest, quoted
from trivet.dataplane.protocol.messages import Tensor
from trivet.dataplane.validation.plan import PYTHON_TYPES, Check

_FP32 = struct.Struct("<f")
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
_WORDS = {"BOOL": "true or false", "BYTES": "a text"}


def elements_of(check: Check, tensor: Tensor, rows: int, model: str) -> list[Any]:
    """Return the values of `tensor`, row-major; the caller's own list where it was flat and needed no rounding.

    Elements of BYTES may be `bytes`, as gRPC brings them.
    """
    data = tensor.data
    if data is None:
        raise InvalidRequest(f"{model}: input {quoted(check.name)} has no data.", code="MISSING_FIELD")
    if data and type(data[0]) is list:
        data = flattened(tensor, model)
    expected = rows if check.is_column else math.prod(tensor.shape)
    if len(data) != expected:
        raise InvalidRequest(
            f"{model}: input {quoted(check.name)} has {len(data)} values, its shape {quoted(tensor.shape)} needs {expected}.",
            code="COUNT_MISMATCH",
            field=check.name,
        )
    kinds = check.kinds if tensor.datatype == check.datatype else _kinds_sent(check, tensor.datatype, model)
    if not kinds.issuperset(map(type, data)):
        if tensor.datatype in NO_JSON:
            raise InvalidRequest(
                f"{model}: input {quoted(check.name)}: {tensor.datatype} has no JSON form; send binary tensors.",
                code="BINARY_REQUIRED",
                field=check.name,
            )
        if check.datatype == "BYTES" and bytes in map(type, data):
            return [text_of(check, place, value, model) for place, value in enumerate(data)]
        raise _wrong_element(check, data, tensor.datatype, kinds, model)
    if tensor.datatype != check.datatype:
        return _widened(check, tensor.datatype, data, model)
    return data


def text_of(check: Check, place: int, element: Any, model: str) -> str:
    """Return the text of a BYTES element; raises `InvalidRequest` where it is not UTF-8, for no model here takes that."""
    if type(element) is not bytes:
        raise _wrong_element(check, [element], "BYTES", frozenset({bytes}), model)
    try:
        return element.decode()
    except UnicodeDecodeError:
        row = row_of(check, place)
        raise InvalidRequest(
            f"{model}: input {quoted(check.name)}, row {row}: the bytes are not UTF-8; this input is text.",
            code="BAD_ELEMENT",
            field=check.name,
            row=row,
        ) from None


def row_of(check: Check, place: int) -> int:
    """Return the row of the element at `place` of a flat tensor."""
    width = math.prod(check.spec.shape[1:]) if len(check.spec.shape) > 1 else 1
    return place // max(abs(width), 1)


def datatype_error(check: Check, given: str, model: str) -> InvalidRequest:
    """Return the refusal of a datatype that does not widen into the signature's."""
    known = f"; {quoted(given)} does not widen into it" if given in DATATYPES else ""
    return InvalidRequest(
        f"{model}: input {quoted(check.name)} is {check.datatype}, got {quoted(given)}{known}.",
        code="BAD_DATATYPE",
        field=check.name,
    )


def out_of_range(check: Check, place: int, value: Any, datatype: str, model: str) -> InvalidRequest:
    """Return the refusal of a number that `datatype` cannot hold."""
    row = row_of(check, place)
    return InvalidRequest(
        f"{model}: input {quoted(check.name)}, row {row}: {quoted(value)} does not fit {datatype}.",
        code="OUT_OF_RANGE",
        field=check.name,
        row=row,
    )


def flattened(tensor: Tensor, model: str) -> list[Any]:
    """Return nested data row by row; raises `InvalidRequest` where it is not nested exactly as its shape."""
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


def _kinds_sent(check: Check, datatype: str, model: str) -> frozenset[type]:
    """Return the Python types that elements of `datatype` may have where the signature has a wider one."""
    if datatype not in check.accepted:
        raise datatype_error(check, datatype, model)
    if datatype in NO_JSON:
        return frozenset()
    return PYTHON_TYPES[datatype] | ({type(None)} if check.spec.nullable else frozenset())


def _widened(check: Check, datatype: str, data: list[Any], model: str) -> list[Any]:
    if bounds := INTEGER_BOUNDS.get(datatype):
        low, high = bounds
        for place, value in enumerate(data):
            if value is not None and not low <= value <= high:
                raise out_of_range(check, place, value, datatype, model)
    elif datatype == "FP32":  # the caller meant FP32 values: round them as a binary tensor would have been
        rounded = [None if value is None else _rounded(check, place, value, model) for place, value in enumerate(data)]
        meant = dict(check.bounds_as(NUMPY_DTYPES[datatype]))
        return [value if value is None else meant.get(value, value) for value in rounded] if meant else rounded
    return data


def _rounded(check: Check, place: int, value: float, model: str) -> float:
    try:
        return float(_FP32.unpack(_FP32.pack(value))[0])
    except (OverflowError, struct.error):  # the second: a whole number beyond the largest double
        raise out_of_range(check, place, value, "FP32", model) from None


def _wrong_element(check: Check, data: list[Any], datatype: str, kinds: frozenset[type], model: str) -> InvalidRequest:
    place, value = next((i, v) for i, v in enumerate(data) if type(v) not in kinds)
    row = row_of(check, place)
    where = f"{model}: input {quoted(check.name)}, row {row}"
    if value is None:
        return InvalidRequest(
            f"{where}: null, but this input has no missing values.", code="NULL_NOT_ALLOWED", field=check.name, row=row
        )
    if type(value) is list:
        return InvalidRequest(f"{where}: data is nested unevenly.", code="BAD_NESTING", field=check.name, row=row)
    unit = f", {check.spec.unit}" if check.spec.unit else ""
    return InvalidRequest(
        f"{where}: {_refused(value, datatype, f'({datatype}{unit})')}.", code="BAD_ELEMENT", field=check.name, row=row
    )


def _refused(value: Any, datatype: str, kind: str) -> str:
    """Say why `value` is no element of `datatype`, as JSON wrote it, and how to write it where that is plain."""
    word = _WORDS.get(datatype) or ("a whole number" if datatype in INTEGER_BOUNDS else "a number")
    if isinstance(value, bool):
        return f"{str(value).lower()} is not {word} {kind}"
    if isinstance(value, str):
        is_quoted_number = word.endswith("number") and _NUMBER.fullmatch(value)
        return f"the text {quoted(value)} is not {word} {kind}" + "; leave the quotes out" * bool(is_quoted_number)
    if not isinstance(value, int | float):
        return f"{quoted(value)} is not {word} {kind}"
    number = quoted(value)[1:-1]
    if datatype == "BYTES":
        return f"the number {number} is not a text {kind}; put it in quotes"
    if datatype in INTEGER_BOUNDS and float(value).is_integer():
        return f"{number} is written as a decimal, and is taken as a whole number only {kind}: write {int(value)}"
    return f"{number} is not {word} {kind}"
