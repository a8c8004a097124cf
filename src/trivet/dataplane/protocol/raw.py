"""Raw tensors as bytes: little-endian, row-major, unpadded; each BYTES element with its length before it."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from trivet.core.datatypes import MAX_ELEMENT_BYTES, WIRE_DTYPES
from trivet.core.errors import InvalidRequest
from trivet.dataplane.protocol.messages import RawTensor

_LENGTH = struct.Struct("<I")
_HALF_OF_BF16 = np.uint32(0x7FFF)  # just under half of what the lower 16 bits can hold


def raw_bytes(array: np.ndarray, datatype: str) -> bytes:
    """Return the elements of `array` as the bytes of a tensor of `datatype`; NaN and infinities keep their bits."""
    if datatype == "BYTES":
        return frame(e if type(e) is bytes else str(e).encode() for e in array.ravel().tolist())
    if datatype == "BF16":
        return _upper_halves(np.ascontiguousarray(array, dtype=np.float32)).tobytes()
    return array.astype(WIRE_DTYPES[datatype], copy=False).tobytes()


def frame(elements: Iterable[bytes]) -> bytes:
    """Return `elements` one after the other, each with its length, 4 bytes, before it."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))


def unframe(data: bytes, count: int) -> list[bytes]:
    """Return the `count` elements of a BYTES tensor; raises `InvalidRequest` unless they use `data` up exactly."""
    elements: list[bytes] = []
    start, end = 0, len(data)
    while start < end and len(elements) < count:
        if end - start < _LENGTH.size:
            raise _lying(len(elements), f"{end - start} bytes are left, a length has {_LENGTH.size}")
        (size,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        if size > end - start:
            raise _lying(len(elements), f"its length says {size} bytes, {end - start} are left")
        if size > MAX_ELEMENT_BYTES:
            sentence = f"element {len(elements)} has {size} bytes; at most {MAX_ELEMENT_BYTES} are read"
            raise InvalidRequest(sentence, code="TOO_MANY")
        elements.append(data[start : start + size])
        start += size
    if len(elements) != count or start != end:
        raise InvalidRequest(
            f"{len(elements)} elements in {start} bytes, but its shape needs {count} in {end}", code="BINARY_SIZE"
        )
    return elements


def values_told(tensor: RawTensor) -> list[Any]:
    """Return the elements of `tensor` as JSON would have brought them, unjudged; none where its bytes are not elements."""
    try:
        if tensor.datatype == "BYTES":
            return list(unframe(bytes(tensor.data), math.prod(tensor.shape)))
        if tensor.datatype == "BF16":
            return list(from_bf16(tensor.data).tolist())
        return list(np.frombuffer(tensor.data, WIRE_DTYPES[tensor.datatype]).tolist())
    except (InvalidRequest, KeyError, ValueError):
        return []


def from_bf16(data: bytes | memoryview) -> np.ndarray:
    """Return bfloat16 words as the float32 numbers whose upper halves they are."""
    return (np.frombuffer(data, WIRE_DTYPES["BF16"]).astype(np.uint32) << 16).view(np.float32)


def _lying(place: int, sentence: str) -> InvalidRequest:
    return InvalidRequest(f"element {place}: {sentence}", code="BINARY_SIZE")


def _upper_halves(values: np.ndarray) -> np.ndarray:
    """Return float32 values rounded to the nearest bfloat16, ties to even, as 16-bit words; NaN stays NaN."""
    bits = values.view(np.uint32)
    rounded = (bits + _HALF_OF_BF16 + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(values), quiet, rounded).astype("<u2")
