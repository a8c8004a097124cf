"""Texts: columns of BYTES as a graph takes them: missing ones marked, unknown ones treated as their policy says."""

from __future__ import annotations

from typing import Any

import numpy as np

from trivet.core.errors import InvalidRequest, did_you_mean, quoted
from trivet.core.signature import Input
from trivet.dataplane.validation.plan import Check, Flags

KNOWN_IN_A_MESSAGE = 8


def text_block(checks: list[Check], columns: list[list[Any]], rows: int, flags: Flags, model: str) -> np.ndarray:
    """Return one `(columns, rows)` object array of texts, missing ones as each signature's missing value."""
    block = np.empty((len(columns), rows), dtype=object)
    for place, check in enumerate(checks):
        values = columns[place]
        refuse_missing_mark(check, values, model)
        if check.known is not None and not check.known.issuperset(values):
            values = _unknown(check, values, flags, model)
        block[place] = with_missing(check, values)
    return block


def text_array(check: Check, values: list[Any], model: str) -> np.ndarray:
    """Return `values` as a flat object array of texts."""
    refuse_missing_mark(check, values, model)
    array = np.empty(len(values), dtype=object)
    array[:] = with_missing(check, values)
    return array


def refuse_missing_mark(check: Check, values: list[Any], model: str) -> None:
    """Raise `InvalidRequest` where a caller sent what stands for a missing text."""
    if check.spec.missing in values:
        raise InvalidRequest(
            f"{model}: input {quoted(check.name)}: U+E000 stands for a missing text and cannot be sent; send null.",
            code="BAD_ELEMENT",
            field=check.name,
        )


def with_missing(check: Check, values: list[Any]) -> list[Any]:
    """Return `values` with None as the signature's missing value."""
    if not check.spec.nullable:
        return values
    missing = check.spec.missing
    return [missing if value is None else value for value in values]


def _unknown(check: Check, values: list[Any], flags: Flags, model: str) -> list[Any]:
    known = check.known or frozenset()
    spec = check.spec
    for row, value in enumerate(values):
        if value in known:
            continue
        if spec.unknown == "reject":
            raise InvalidRequest(
                _unknown_sentence(spec, value, row, model), code="UNKNOWN_CATEGORY", field=spec.name, row=row
            )
        flags.setdefault(row, {})[spec.name] = "unknown_category"
    if spec.unknown == "missing":
        return [value if value in known else None for value in values]
    return values


def _unknown_sentence(spec: Input, value: str, row: int, model: str) -> str:
    categories = spec.categories or ()
    shown = ", ".join(categories[:KNOWN_IN_A_MESSAGE]) + (", …" if len(categories) > KNOWN_IN_A_MESSAGE else "")
    return (
        f"{model}: {quoted(spec.name)} is {quoted(value)}, row {row}.{did_you_mean(value, categories)} Known: {shown}."
    )
