"""Outputs: what a model said, as the tensors of an answer; what does not fit its signature or its bound is refused."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trivet.core.datatypes import NUMPY_DTYPES
from trivet.core.errors import InvalidRequest, Unavailable
from trivet.core.signature import Output
from trivet.dataplane.protocol.messages import OutputTensor
from trivet.dataplane.protocol.raw import from_bf16, raw_bytes
from trivet.dataplane.validation.plan import Plan

ANSWER_US_PER_BYTE = 0.06  # to turn an output into lists, record it and write it as JSON; measured with 256 KiB of FP32
FEW = 64  # up to this many numbers, adding them in Python is cheaper than in NumPy


def check_size(plan: Plan, wanted: Sequence[str], rows: int, most_bytes: int) -> None:
    """Raise `InvalidRequest` where the outputs `wanted` are over `most_bytes`, as far as the signature tells."""
    if rows * sum(plan.bytes_per_row[name] or 0 for name in wanted) > most_bytes:
        raise _too_large(most_bytes)


def output_tensors(
    declared: Mapping[str, Output], wanted: Sequence[str], arrays: Sequence[np.ndarray], rows: int
) -> list[OutputTensor]:
    """Return the tensors of `arrays`, one for each output `wanted`; raises `Unavailable` for one against its signature."""
    return [_tensor(declared[name], array, rows) for name, array in zip(wanted, arrays, strict=True)]


def check_made(arrays: Sequence[np.ndarray], most_bytes: int) -> None:
    """Raise `InvalidRequest` where what a model made is over `most_bytes`: for outputs whose size was not known before."""
    if sum(map(_bytes_of, arrays)) > most_bytes:
        raise _too_large(most_bytes)


def check_fit(declared: Output, array: np.ndarray, rows: int) -> None:
    """Raise `Unavailable` for an array that is not what its version's signature says."""
    if array.ndim != len(declared.shape) or (declared.shape[0] == -1 and len(array) != rows):
        raise Unavailable("the model answered against its signature.", code="MODEL_FAILED")


def without_rows(declared: Mapping[str, Output], wanted: Sequence[str]) -> list[np.ndarray]:
    """Return what is answered to no rows: an empty array for each output `wanted`."""
    outputs = [declared[name] for name in wanted]
    return [np.empty((0, *(max(size, 0) for size in o.shape[1:])), NUMPY_DTYPES[o.datatype]) for o in outputs]


def _tensor(declared: Output, array: np.ndarray, rows: int) -> OutputTensor:
    check_fit(declared, array, rows)
    if declared.datatype == "BF16":  # a runtime has no such array: what is told and recorded is what bytes would carry
        array = from_bf16(raw_bytes(array, "BF16")).reshape(array.shape)
    data = array.ravel().tolist()
    tensor = OutputTensor(declared.name, list(array.shape), declared.datatype, data)
    kind = array.dtype.kind
    if kind == "f":
        if not (math.isfinite(sum(data)) if len(data) < FEW else np.isfinite(array).all()):
            _mark_non_finite(tensor, array)
    elif kind in "OS" and bytes in map(type, data):
        _as_text(tensor)
    return tensor


def _mark_non_finite(tensor: OutputTensor, array: np.ndarray) -> None:
    nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    counts: dict[str, Any] = {name: count for name, count in (("nan", nan), ("inf", infinite)) if count}
    tensor.parameters = counts or None
    tensor.data = [value if math.isfinite(value) else None for value in tensor.data]


def _as_text(tensor: OutputTensor) -> None:
    """Put texts in place of bytes; base64, and say so, where they are not all UTF-8."""
    elements = [value if type(value) is bytes else str(value).encode() for value in tensor.data]
    try:
        tensor.data = [element.decode() for element in elements]
    except UnicodeDecodeError:
        tensor.data = [b64encode(element).decode() for element in elements]
        tensor.parameters = {"content_type": "base64"}


def _bytes_of(array: np.ndarray) -> int:
    if array.dtype.kind != "O":
        return array.nbytes
    return sum(len(element) for element in array.ravel().tolist() if isinstance(element, str | bytes))


def _too_large(most_bytes: int) -> InvalidRequest:
    return InvalidRequest(
        f"the answer is over {most_bytes} bytes; ask for fewer rows, or for fewer outputs.", code="ANSWER_TOO_LARGE"
    )
