"""Rows in each notation, held against a signature: named values, a table's texts, the bare rows of an only tensor."""

from __future__ import annotations

import math
import re
from typing import Any

from trivet.core.datatypes import INTEGER_BOUNDS
from trivet.core.errors import InvalidRequest, InvalidRows, quoted
from trivet.dataplane.protocol.messages import FeaturesRequest, InstancesRequest, RowsRequest, Tensor, TextRowsRequest
from trivet.dataplane.validation.plan import Plan, Validated
from trivet.dataplane.validation.rows import check_header, first_problems, validate_rows
from trivet.dataplane.validation.tensors import validate

ENTITY_KEY = "entity_key"  # the column of a table that holds the keys, where no input has that name
MAX_ENTITY_KEY = 128  # characters
MAX_DIGITS = 40  # of a whole number; more fit no datatype, and reading thousands of them takes long

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "false": False}


def fit_rows(plan: Plan, request: RowsRequest, model: str) -> Validated:
    """Return the arrays of `request`; with its parameter `partial`, of those of its rows that fit.

    Raises `InvalidRequest`, or `InvalidRows` with each problem's row and field.
    """
    if isinstance(request, InstancesRequest):
        return validate(plan, [_tensor(plan, request.rows, model)], model)
    rows, keys = request.rows, request.entity_keys
    if isinstance(request, TextRowsRequest):
        rows, keys = _read(plan, rows)
        if rows and plan.field_names:
            check_header(plan, rows[0], model)
    elif isinstance(request, FeaturesRequest):
        known = set(plan.field_names)
        rows = [{name: value for name, value in row.items() if name in known} for row in rows]
    if keys:
        _check_keys(keys, model)
    is_partial = bool(request.parameters and request.parameters.get("partial"))
    valid = (_fit_some if is_partial else validate_rows)(plan, rows, model)
    valid.entity_keys = keys if valid.places is None or keys is None else [keys[place] for place in valid.places]
    return valid


def read_text(datatype: str, text: str | None) -> Any:
    """Return the value that `text` is in a column of `datatype`; one that is none stays a text, for validation to refuse.

    Numbers are written as in JSON; a whole number has no decimals.
    """
    if text is None or datatype == "BYTES":
        return text
    if datatype == "BOOL":
        return _BOOLEANS.get(text, text)
    if datatype in INTEGER_BOUNDS:
        return int(text) if len(text) <= MAX_DIGITS and _WHOLE.fullmatch(text) else text
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text)
    return number if math.isfinite(number) else text


def _read(plan: Plan, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str] | None]:
    """Return the rows with values for texts, and the entity keys where the table has a column of them."""
    datatypes = {name: spec.datatype for spec in plan.signature.inputs for name in spec.field_names}
    has_keys = ENTITY_KEY not in datatypes and bool(rows) and ENTITY_KEY in rows[0]
    keys = [row[ENTITY_KEY] or "" for row in rows] if has_keys else None
    left_out = ENTITY_KEY if has_keys else None
    read = [
        {name: read_text(datatypes.get(name, "BYTES"), text) for name, text in row.items() if name != left_out}
        for row in rows
    ]
    return read, keys


def _check_keys(keys: list[str], model: str) -> None:
    for row, key in enumerate(keys):
        if len(key) > MAX_ENTITY_KEY:
            raise InvalidRequest(
                f"{model}: row {row}: the entity key {quoted(key)} has over {MAX_ENTITY_KEY} characters.",
                code="BAD_PARAMETER",
                row=row,
            )


def _fit_some(plan: Plan, rows: list[dict[str, Any]], model: str) -> Validated:
    """Return the arrays of the rows that fit, with the places they have and the problems of the others."""
    try:
        return validate_rows(plan, rows, model)
    except InvalidRows:
        problems = first_problems(plan, rows, model)
        places = [place for place in range(len(rows)) if place not in problems]
        if not places:
            raise
    valid = validate_rows(plan, [rows[place] for place in places], model)
    valid.places, valid.problems = places, problems
    return valid


def _tensor(plan: Plan, instances: list[Any], model: str) -> Tensor:
    """Return the model's only tensor, of which each instance is a row. A scalar is a row of one element."""
    inputs = plan.signature.inputs
    if len(inputs) != 1 or not plan.signature.has_rows:
        raise InvalidRequest(
            f"{model}: this model takes {len(inputs)} inputs; send each instance as an object of them.",
            code="MISSING_INPUT",
        )
    (spec,) = inputs
    shape = [len(instances)]
    if not instances:
        shape += [max(size, 1) for size in spec.shape[1:]]
    elif isinstance(instances[0], list):
        part: Any = instances[0]
        while isinstance(part, list):
            shape.append(len(part))
            part = part[0] if part else None
    else:
        shape += [1] * (len(spec.shape) - 1)
    return Tensor(spec.name, shape, spec.datatype, instances)
