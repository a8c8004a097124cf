"""A constant: the answer given when no version can. One value per output, the same for every row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from trivet.core.datatypes import FLOATS, INTEGER_BOUNDS, NUMPY_DTYPES
from trivet.core.errors import InvalidRequest, did_you_mean, quoted
from trivet.core.signature import Output, Signature, enumerate_names

NO_VERSION = 0  # the number a constant answers under: versions begin at 1
CONSTANT_RUNTIME = "constant"

Constant = Mapping[str, Any]


def constant_arrays(signature: Signature, constant: Constant) -> dict[str, np.ndarray]:
    """Return what `constant` gives for one row, by output: arrays of each output's shape without its row dimension.

    `constant` names every output of `signature`: a plain value where a row has one, else a list, or `{class: number}`
    where the output has classes. Raises `InvalidRequest` saying which output does not fit.
    """
    names = [output.name for output in signature.outputs]
    for name in constant:
        if name not in names:
            raise _unfit(
                f"it has no output {quoted(name)}.{did_you_mean(name, names)} It has: {enumerate_names(names)}."
            )
    if missing := [name for name in names if name not in constant]:
        raise _unfit(f"the constant lacks {enumerate_names(missing)}.")
    return {output.name: _array(output, constant[output.name]) for output in signature.outputs}


def constant_digest(signature: Signature, constant: Constant) -> str:
    """Return the identity of what `constant` answers, as a bundle's digest is that of what a version answers."""
    return hashlib.sha256(msgspec.json.encode((CONSTANT_RUNTIME, signature, constant), order="sorted")).hexdigest()


def _array(output: Output, value: Any) -> np.ndarray:
    shape = output.shape[1:] if output.shape[:1] == (-1,) else output.shape
    if isinstance(value, Mapping):
        if output.classes is None or set(value) != set(output.classes):
            raise _unfit(f"{quoted(output.name)} has the classes {enumerate_names(output.classes or ('none',))}.")
        value = [value[name] for name in output.classes]
    elements = _flat(value)
    for element in elements:
        if not _is_of(output.datatype, element):
            raise _unfit(f"{quoted(output.name)} is {output.datatype}, not {quoted(element)}.")
    try:
        array = np.array(value, dtype=NUMPY_DTYPES[output.datatype])
    except ValueError:
        raise _unfit(f"{quoted(output.name)} is nested unevenly.") from None
    if shape == (1,) and array.shape == ():
        array = array.reshape(1)
    if array.ndim != len(shape) or any(wanted not in (-1, got) for wanted, got in zip(shape, array.shape, strict=True)):
        wanted = f"{list(shape)} numbers a row" if shape else "one value a row"
        raise _unfit(f"{quoted(output.name)} is {wanted}, not {quoted(value)}.")
    return array


def _flat(value: Any) -> list[Any]:
    return [element for part in value for element in _flat(part)] if isinstance(value, list | tuple) else [value]


def _is_of(datatype: str, element: Any) -> bool:
    if datatype == "BYTES":
        return isinstance(element, str)
    if isinstance(element, bool) or datatype == "BOOL":
        return isinstance(element, bool) and datatype == "BOOL"  # Python's true is a whole number too
    if bounds := INTEGER_BOUNDS.get(datatype):
        return isinstance(element, int) and bounds[0] <= element <= bounds[1]
    return datatype in FLOATS and datatype in NUMPY_DTYPES and isinstance(element, int | float)


def _unfit(message: str) -> InvalidRequest:
    return InvalidRequest(f"the constant does not fit the model: {message}", code="BAD_PARAMETER")
