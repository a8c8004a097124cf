"""Raw tensors: from the bytes of a binary tensor to the array it stands for."""

from __future__ import annotations

import math

import numpy as np

from trivet.core.datatypes import MAX_ELEMENT_BYTES, NUMPY_DTYPES, WIRE_DTYPES
from trivet.core.errors import InvalidRequest, quoted
from trivet.dataplane.protocol.messages import RawBody, RawTensor, Tensor
from trivet.dataplane.protocol.raw import from_bf16, unframe
from trivet.dataplane.validation.elements import datatype_error, row_of, text_of
from trivet.dataplane.validation.plan import Check, Plan


def raw_array(check: Check, tensor: RawTensor, model: str) -> np.ndarray:
    """Return the elements of `tensor`, flat, of the signature's datatype; BYTES are an object array of `str`.

    The array is a copy, writable and aligned. NaN and infinities are judged later, with those of other sources. Raises
    `InvalidRequest` for a datatype that does not widen into the signature's, and for bytes that are not exactly the
    elements of the shape.
    """
    if tensor.datatype not in check.accepted:
        raise datatype_error(check, tensor.datatype, model)
    count = math.prod(tensor.shape)
    if check.datatype == "BYTES":
        return _texts(check, tensor, count, model)
    wire = WIRE_DTYPES[tensor.datatype]
    if len(tensor.data) != count * wire.itemsize:
        raise InvalidRequest(
            f"{model}: input {quoted(check.name)} has {len(tensor.data)} bytes, its shape {quoted(tensor.shape)} needs"
            f" {count * wire.itemsize}.",
            code="BINARY_SIZE",
            field=check.name,
        )
    if tensor.datatype == "BOOL":
        return _booleans(check, tensor, model)
    values = from_bf16(tensor.data) if tensor.datatype == "BF16" else np.frombuffer(tensor.data, dtype=wire)
    widened = values.astype(NUMPY_DTYPES[check.datatype])
    if tensor.datatype != check.datatype:
        for number, bound in check.bounds_as(values.dtype):
            widened[widened == number] = bound
    return widened


def _booleans(check: Check, tensor: RawTensor, model: str) -> np.ndarray:
    values = np.frombuffer(tensor.data, dtype=np.uint8)
    if values.size and values.max() > 1:
        place = int(np.argmax(values > 1))
        raise InvalidRequest(
            f"{model}: input {quoted(check.name)}, row {row_of(check, place)}: the byte {values[place]} is not true or"
            " false (BOOL: 1 or 0).",
            code="BAD_ELEMENT",
            field=check.name,
            row=row_of(check, place),
        )
    return values.astype(np.bool_)


def _texts(check: Check, tensor: RawTensor, count: int, model: str) -> np.ndarray:
    try:
        elements = unframe(bytes(tensor.data), count)
    except InvalidRequest as error:
        sentence = f"{model}: input {quoted(check.name)}: {error.message}."
        raise InvalidRequest(sentence, code=error.code, field=check.name) from None
    array = np.empty(count, dtype=object)
    array[:] = [text_of(check, place, element, model) for place, element in enumerate(elements)]
    return array


def whole_body(plan: Plan, body: RawBody, model: str) -> Tensor | RawTensor:
    """Return a raw request's body as the one tensor of the signature, of one row.

    At most one other dimension may be free: it is what the bytes leave. BYTES: the whole body is the one element.
    Raises `InvalidRequest` for a signature that has no such reading, and for bytes that leave a remainder.
    """
    if len(plan.checks) != 1:
        raise InvalidRequest(
            f"{model}: a body without JSON is for models of one input; this one has {len(plan.checks)}.",
            code="MISSING_INPUT",
        )
    check = plan.checks[0]
    first, *others = check.spec.shape or (1,)
    shape = [1 if first == -1 else first, *others]
    if check.datatype == "BYTES":
        shape = [max(size, 1) if size == -1 else size for size in shape]
        if math.prod(shape) != 1:
            raise _no_reading(check, model)
        if len(body.data) > MAX_ELEMENT_BYTES:
            sentence = f"{model}: a text of {len(body.data)} bytes; at most {MAX_ELEMENT_BYTES} are read."
            raise InvalidRequest(sentence, code="TOO_MANY", field=check.name)
        return Tensor(check.name, shape[: len(check.spec.shape)], "BYTES", [bytes(body.data)])
    if shape.count(-1) > 1:
        raise _no_reading(check, model)
    one = math.prod(size for size in shape if size != -1) * WIRE_DTYPES[check.datatype].itemsize
    free, rest = divmod(len(body.data), one) if one else (0, len(body.data))
    if rest or (free == 0 and -1 in shape) or (free != 1 and -1 not in shape):
        raise InvalidRequest(
            f"{model}: {len(body.data)} bytes are no whole number of elements of shape {list(check.spec.shape)}"
            f" ({one} bytes each).",
            code="BINARY_SIZE",
        )
    shape = [free if size == -1 else size for size in shape]
    return RawTensor(check.name, shape[: len(check.spec.shape)], check.datatype, body.data)


def _no_reading(check: Check, model: str) -> InvalidRequest:
    return InvalidRequest(
        f"{model}: a body without JSON does not say the shape of {quoted(check.name)}, {list(check.spec.shape)};"
        " send it with its JSON.",
        code="BAD_SHAPE",
    )
