"""The datatypes of the Open Inference Protocol, and which widen into which without loss."""

from __future__ import annotations

import numpy as np

MISSING_TEXT = "\ue000"  # how a missing string reaches a graph (private use; U+0000 is cut inside ONNX constants)

NUMPY_DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(np.float32),  # NumPy has none: its values are a subset of these
    "BYTES": np.dtype(np.object_),
}
"""What an array of a datatype is in memory, between the wire and a runtime."""

WIRE_DTYPES: dict[str, np.dtype] = {
    name: dtype.newbyteorder("<") for name, dtype in NUMPY_DTYPES.items() if name not in ("BYTES", "BF16")
} | {"BF16": np.dtype("<u2")}
"""What one element is in a binary tensor; BYTES have no fixed size."""

DATATYPES = frozenset(NUMPY_DTYPES)
NO_JSON = frozenset({"FP16", "BF16"})  # JSON has no form of these; they travel as binary tensors only
MISSABLE = frozenset({"FP32", "FP64", "BYTES"})  # have a form of a missing value: NaN, or the signature's missing text
MAX_ELEMENT_BYTES = 1024 * 1024  # of one element of a BYTES tensor, and of one text
FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
INTEGER_BOUNDS: dict[str, tuple[int, int]] = {
    name: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    for name, dtype in NUMPY_DTYPES.items()
    if dtype.kind in "iu"
}
FP32_MAX = float(np.finfo(np.float32).max)

_SIGNED = ("INT8", "INT16", "INT32", "INT64")
_UNSIGNED = ("UINT8", "UINT16", "UINT32", "UINT64")
_UP_TO_16_BITS = frozenset({"INT8", "INT16", "UINT8", "UINT16", "FP16", "BF16"})
_UP_TO_32_BITS = _UP_TO_16_BITS | {"INT32", "UINT32", "FP32"}


def _wideners(target: str) -> frozenset[str]:
    accepted = {target}
    if target in _SIGNED:
        place = _SIGNED.index(target)
        accepted |= {*_SIGNED[:place], *_UNSIGNED[:place]}
    if target in _UNSIGNED:
        accepted |= {*_UNSIGNED[: _UNSIGNED.index(target)]}
    if target == "FP32":
        accepted |= _UP_TO_16_BITS
    if target == "FP64":
        accepted |= _UP_TO_32_BITS
    return frozenset(accepted)


ACCEPTED: dict[str, frozenset[str]] = {name: _wideners(name) for name in DATATYPES}
"""For each datatype of a signature, the datatypes a caller may send for it (protocol, section 5)."""
