"""Parcel: a graph that was exported where its model was trained, with rows and the model's own answers. It is data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from trivet.core.datatypes import WIRE_DTYPES
from trivet.core.errors import CompileError
from trivet.model.compile.doors.formats import PARCEL_MAGIC


class Tensor(msgspec.Struct, frozen=True):
    """An array: its datatype, its shape, its bytes in row-major order; texts, where it holds those."""

    datatype: str
    shape: tuple[int, ...]
    data: bytes = b""
    texts: tuple[str, ...] = ()


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """The graph, the rows it was tried on, what the original answered, and where it comes from."""

    graph: bytes
    inputs: dict[str, Tensor]
    answers: dict[str, Tensor]
    source: dict[str, Any] = {}
    columns: tuple[str, ...] | None = None  # names of the one matrix's columns, where it had any


def encode_parcel(parcel: Parcel) -> bytes:
    """Return `parcel` as the bytes of a file that is known by its beginning."""
    return PARCEL_MAGIC + msgspec.msgpack.encode(parcel)


def decode_parcel(data: bytes) -> Parcel:
    """Return the parcel in `data`; raises `CompileError` for anything else, and for bytes after its end."""
    try:
        return msgspec.msgpack.decode(memoryview(data)[len(PARCEL_MAGIC) :], type=Parcel)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CompileError(f"this parcel cannot be read: {error}.") from None


def tensors_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return NumPy arrays as tensors; raises `CompileError` for a dtype that no datatype of the protocol is."""
    return {name: _tensor(name, array) for name, array in arrays.items()}


def arrays_of(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return tensors as NumPy arrays; raises `CompileError` where bytes and shape do not fit each other."""
    return {name: _array(name, tensor) for name, tensor in tensors.items()}


def _tensor(name: str, array: np.ndarray) -> Tensor:
    if array.dtype.kind in "OU":
        return Tensor("BYTES", array.shape, texts=tuple(str(value) for value in array.ravel().tolist()))
    for datatype, dtype in WIRE_DTYPES.items():
        if datatype != "BF16" and dtype.newbyteorder("=") == array.dtype:
            return Tensor(datatype, array.shape, np.ascontiguousarray(array).astype(dtype).tobytes())
    raise CompileError(f"{name!r} holds {array.dtype}, which does not travel: give float32, float64, int64 or bool.")


def _array(name: str, tensor: Tensor) -> np.ndarray:
    try:
        if tensor.datatype == "BYTES":
            return np.array([*tensor.texts, None], object)[:-1].reshape(tensor.shape)
        dtype = WIRE_DTYPES[tensor.datatype]
        return np.frombuffer(tensor.data, dtype).astype(dtype.newbyteorder("=")).reshape(tensor.shape)
    except (KeyError, ValueError) as error:
        raise CompileError(f"the parcel's {name!r} is damaged: {error}.") from None
