"""sample.jsonl: rows and what the shipped file answers to them, so that anyone may replay them later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from trivet.core.datatypes import NUMPY_DTYPES
from trivet.core.errors import BundleError
from trivet.core.signature import Input, Output, Signature

SAMPLE_NAME = "sample.jsonl"
SAMPLE_ROWS = 200  # rows kept in a bundle


def encode_sample(signature: Signature, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> bytes:
    """Return one line `{"inputs": {...}, "outputs": {...}}` per row; missing values are null, one value of a column bare."""
    columns_in = {i.name: _plain(i, inputs[i.name]) for i in signature.inputs}
    columns_out = {o.name: outputs[o.name].tolist() for o in signature.outputs}
    rows = len(next(iter(columns_in.values())))
    lines = (
        msgspec.json.encode(
            {
                "inputs": {name: column[row] for name, column in columns_in.items()},
                "outputs": {name: column[row] for name, column in columns_out.items()},
            }
        )
        for row in range(rows)
    )
    return b"\n".join(lines) + b"\n" if rows else b""


def decode_sample(signature: Signature, data: bytes) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the input and output arrays of the rows in `data`, as a runtime takes and gives them.

    Raises `BundleError` for a line that does not fit the signature.
    """
    try:
        rows = [msgspec.json.decode(line, type=_Row) for line in data.splitlines()]
        inputs = {i.name: input_array(i, [row.inputs[i.name] for row in rows]) for i in signature.inputs}
        outputs = {o.name: _output_array(o, [row.outputs[o.name] for row in rows]) for o in signature.outputs}
    except (msgspec.DecodeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise BundleError(f"{SAMPLE_NAME} does not fit the signature: {error}") from None
    return inputs, outputs


class _Row(msgspec.Struct):
    inputs: dict[str, Any]  # a value or a list of them, as the signature says
    outputs: dict[str, Any]


def _plain(tensor: Input, values: np.ndarray) -> list[Any]:
    flat = values[:, 0] if tensor.is_column else values
    if tensor.datatype == "BYTES":
        return [None if value == tensor.missing else value for value in flat.tolist()]
    return flat.tolist()  # type: ignore[no-any-return]  # msgspec writes NaN as null


def input_array(tensor: Input, values: Iterable[Any]) -> np.ndarray:
    """Return the array of an input for rows of which each gives one of `values`: a value, or a list; None is missing.

    Raises `ValueError`, `TypeError` or `OverflowError` for what is not of its datatype.
    """
    rows = [[value] for value in values] if tensor.is_column else list(values)
    if tensor.datatype == "BYTES":
        if len(tensor.shape) == 1:  # a text a row: not a list of its letters
            rows = [[value] for value in rows]
        filled = [[tensor.missing if value is None else str(value) for value in row] for row in rows]
        return _objects(filled).reshape(len(rows), *tensor.shape[1:])
    return _numbers(rows, tensor.datatype).reshape(len(rows), *_widths(tensor.shape, rows))


def _output_array(tensor: Output, rows: list[Any]) -> np.ndarray:
    if tensor.datatype == "BYTES":
        return _objects(rows)
    return _numbers(rows, tensor.datatype)


def _widths(shape: tuple[int, ...], rows: list[Any]) -> tuple[int, ...]:
    return tuple(shape[1:]) if -1 not in shape[1:] else np.shape(rows)[1:]


def _numbers(rows: Any, datatype: str) -> np.ndarray:
    if datatype.startswith("FP"):
        return np.array(np.array(rows, dtype=object), dtype=np.float64).astype(NUMPY_DTYPES[datatype])
    whole = np.array(rows, dtype=NUMPY_DTYPES[datatype])
    given = np.array(rows, dtype=object)
    if (changed := given != whole).any():
        raise ValueError(f"{given[changed][0]!r} is no {datatype}")
    return whole


def _objects(rows: Any) -> np.ndarray:
    return np.array(rows, dtype=object)
