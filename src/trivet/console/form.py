"""The try-it form: one field per feature of a signature, and the way back from what was posted to a row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from trivet.console.figures import between
from trivet.console.samples import Row
from trivet.console.words import enumerated
from trivet.core.signature import Input, Signature

MOST_FIELDS = 256  # more is no form; Django reads 1,000 fields of a post at most
CATEGORIES_NAMED = 6
DIGITS = 10  # significant ones a number is filled in with: 13.80936, not 13.809359999999998
PREFIX = "x-"  # keeps a feature's name apart from those of the form itself
ON, OFF, EMPTY = "true", "false", ""


@dataclass(frozen=True)
class Field:
    """One feature as a person fills it in. `kind`: number, choice, suggest, text, check, or three (yes, no, empty)."""

    id: str
    post_name: str
    label: str
    kind: str
    value: str
    step: str = "any"
    low: str = ""  # set only where a value outside is refused; the range is otherwise a hint
    high: str = ""
    unit: str = ""
    hint: str = ""
    choices: tuple[str, ...] = ()
    is_required: bool = False
    error: str = ""

    @property
    def is_checked(self) -> bool:
        """True for a ticked box."""
        return self.value == ON


def can_be_filled_in(signature: Signature) -> bool:
    """True when rows of this signature have named fields, and not too many for a form."""
    return all(tensor.field_names for tensor in signature.inputs) and len(signature.field_names) <= MOST_FIELDS


def fields(signature: Signature, values: Mapping[str, str], errors: Mapping[str, str]) -> tuple[Field, ...]:
    """Return the fields, filled with `values` and with `errors` beside them, both by feature."""
    named = [(tensor, name) for tensor in signature.inputs for name in tensor.field_names]
    return tuple(
        _field(tensor, name, f"try-{place}", values.get(name, EMPTY), errors.get(name, ""))
        for place, (tensor, name) in enumerate(named)
    )


def texts(row: Row) -> dict[str, str]:
    """Return a row's values as they stand in the form's fields."""
    return {name: _text(value) for name, value in row.items()}


def posted(signature: Signature, data: Mapping[str, str]) -> dict[str, str]:
    """Return what was posted, by feature; a box that was not ticked is not sent and says "false"."""
    found = {}
    for tensor in signature.inputs:
        absent = OFF if tensor.datatype == "BOOL" and not tensor.nullable else EMPTY
        for name in tensor.field_names:
            found[name] = data.get(PREFIX + name, absent)
    return found


def read(signature: Signature, values: Mapping[str, str]) -> tuple[Row, dict[str, str]]:
    """Return the row that `values` stand for, and a sentence for each feature that cannot be read."""
    row: Row = {}
    errors: dict[str, str] = {}
    for tensor in signature.inputs:
        for name in tensor.field_names:
            try:
                row[name] = _value(tensor, values[name])
            except ValueError as problem:
                errors[name] = str(problem)
    return row, errors


def float_in(text: str) -> float:
    """Return the finite number that `text` stands for; raises `ValueError` with a sentence for a person."""
    try:
        found = float(text)
    except ValueError:
        raise ValueError(_("Not a number.")) from None
    if not math.isfinite(found):
        raise ValueError(_("Not a finite number."))
    return found


def _field(tensor: Input, name: str, identity: str, value: str, error: str) -> Field:
    kind = _kind(tensor)
    is_bounded = kind == "number" and tensor.outside == "reject"
    return Field(
        id=identity,
        post_name=PREFIX + name,
        label=tensor.title if tensor.title and tensor.is_column else name,
        kind=kind,
        value=value,
        step="any" if tensor.datatype.startswith("FP") else "1",
        low=_text(tensor.low) if is_bounded else "",
        high=_text(tensor.high) if is_bounded else "",
        unit=tensor.unit,
        hint=_hint(tensor),
        choices=tensor.categories or (),
        is_required=_must_be_filled(tensor),
        error=error,
    )


def _kind(tensor: Input) -> str:
    if tensor.datatype == "BOOL":
        return "three" if tensor.nullable else "check"
    if tensor.datatype != "BYTES":
        return "number"
    if not tensor.categories:
        return "text"
    return "choice" if tensor.unknown == "reject" else "suggest"


def _hint(tensor: Input) -> str:
    parts = []
    if tensor.categories and _kind(tensor) == "suggest":
        parts.append(enumerated(tensor.categories, CATEGORIES_NAMED))
    elif seen := between(tensor.low, tensor.high, tensor.unit):
        parts.append(seen)
    if tensor.nullable:
        parts.append(_("may be empty"))
    return " · ".join(parts)


def _must_be_filled(tensor: Input) -> bool:
    return not tensor.nullable and not tensor.optional and tensor.datatype not in {"BOOL", "BYTES"}


def _value(tensor: Input, text: str) -> Any:
    """Return `text` as a value of `tensor`; raises `ValueError` with a sentence for a person."""
    if tensor.datatype == "BOOL":
        return {ON: True, OFF: False}.get(text)
    if text == EMPTY and (tensor.nullable or tensor.optional):
        return None
    if tensor.datatype == "BYTES":
        return text
    text = text.strip()
    if not text:
        raise ValueError(_("A value is needed: this input has no missing values."))
    return float_in(text) if tensor.datatype.startswith("FP") else _integer(text)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(_("Not a whole number.")) from None


def _text(value: Any) -> str:
    if value is None:
        return EMPTY
    if isinstance(value, bool):
        return ON if value else OFF
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    return str(value)
