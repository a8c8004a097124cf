"""Example requests that work: the bodies of one recorded row, for the pages and messages that say how to call a model."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from trivet.core.signature import Input, Signature


def fields_of(signature: Signature, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded row, which a bundle's sample holds by tensor, by the names of its fields."""
    fields: dict[str, Any] = {}
    for spec in signature.inputs:
        value = recorded[spec.name]
        fields.update(zip(spec.field_names, value if isinstance(value, list) else [value], strict=True))
    return fields


class _Line(msgspec.Struct):
    inputs: dict[str, Any]  # a value, or a list of them, as the signature says


def row_of_sample(signature: Signature, line: bytes) -> dict[str, Any] | None:
    """Return the row that a line of a bundle's sample records, by the names of its fields; None where it is none."""
    try:
        return fields_of(signature, msgspec.json.decode(line, type=_Line).inputs)
    except (msgspec.DecodeError, KeyError, ValueError):  # no JSON; an input without a value, or with as many as fields
        return None


def made_up_row(signature: Signature) -> dict[str, Any]:
    """Return a row that fits the signature, for where none was recorded: the middle of each range, first categories."""
    return {name: _made_up(tensor) for tensor in signature.inputs for name in tensor.field_names}


def _made_up(tensor: Input) -> Any:
    if tensor.datatype == "BOOL":
        return False
    if tensor.datatype == "BYTES":
        return tensor.categories[0] if tensor.categories else "text"
    low, high = tensor.low or 0.0, tensor.high if tensor.high is not None else tensor.low or 0.0
    middle = (low + high) / 2
    return middle if tensor.datatype.startswith("FP") else round(middle)


def infer_body(signature: Signature, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of an `/infer` request for one row by its fields' names."""
    return {"inputs": [_tensor(spec, fields) for spec in signature.inputs]}


def curl(url: str, body: Mapping[str, Any], key: str = "$TRIVET_API_KEY") -> str:
    """Return a shell command, in one line, that posts `body`; the shell fills in `key` where it is a variable."""
    return f'curl -s {shlex.quote(url)} -H "Authorization: Bearer {key}" -d {shlex.quote(msgspec.json.encode(body).decode())}'


def _tensor(spec: Input, fields: Mapping[str, Any]) -> dict[str, Any]:
    data = [fields.get(name) for name in spec.field_names]
    shape = [1, *(max(size, 1) if size != -1 else len(data) for size in spec.shape[1:])]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": data}
