"""Raw tensors: from the bytes of a binary tensor to the array it stands for."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from trivet.core.datatypes import MAX_ELEMENT_BYTES, NUMPY_DTYPES, WIRE_DTYPES
from trivet.core.errors import InvalidRequest, quoted
from trivet.dataplane.protocol.messages import RawTensor
from trivet.dataplane.validation.elements import datatype_error, row_of, text_of
from trivet.dataplane.validation.plan import Check

_LENGTH = struct.Struct("<I")


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
    values = np.frombuffer(tensor.data, dtype=wire)
    if tensor.datatype == "BF16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(NUMPY_DTYPES[check.datatype])


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
    """Return the texts of a BYTES tensor: each element is a length, 4 bytes, and as many bytes of UTF-8."""
    data = bytes(tensor.data)
    texts: list[Any] = []
    start, end = 0, len(data)
    while start < end and len(texts) < count:
        if end - start < _LENGTH.size:
            raise _lying(check, len(texts), f"{end - start} bytes are left, a length has 4", model)
        (size,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        if size > end - start:
            raise _lying(check, len(texts), f"it says {size} bytes, {end - start} are left", model)
        if size > MAX_ELEMENT_BYTES:
            raise InvalidRequest(
                f"{model}: input {quoted(check.name)}, row {row_of(check, len(texts))}: a text has {size} bytes; at"
                f" most {MAX_ELEMENT_BYTES} are read.",
                code="TOO_MANY",
                field=check.name,
            )
        texts.append(text_of(check, len(texts), data[start : start + size], model))
        start += size
    if len(texts) != count or start != end:
        said = f"{end - start} bytes more than" if start != end else f"only {len(texts)} of"
        raise InvalidRequest(
            f"{model}: input {quoted(check.name)} has {said} the {count} elements its shape {quoted(tensor.shape)} needs.",
            code="BINARY_SIZE",
            field=check.name,
        )
    array = np.empty(count, dtype=object)
    array[:] = texts
    return array


def _lying(check: Check, place: int, sentence: str, model: str) -> InvalidRequest:
    return InvalidRequest(
        f"{model}: input {quoted(check.name)}, element {place}: {sentence}.", code="BINARY_SIZE", field=check.name
    )
