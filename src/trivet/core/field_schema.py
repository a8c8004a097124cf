"""What one value of an input may be, as JSON Schema: for the HTTP interface of a version, and for a FeatureSet."""

from __future__ import annotations

from typing import Any

from trivet.core.datatypes import FP32_MAX, INTEGER_BOUNDS, MAX_ELEMENT_BYTES
from trivet.core.signature import Input


def field_schema(spec: Input) -> dict[str, Any]:
    """Return what one value of an input may be. Bounds and known values bind only where the signature rejects others."""
    schema: dict[str, Any] = {"type": json_type(spec.datatype)}
    if spec.title:
        schema["title"] = spec.title
    low, high = INTEGER_BOUNDS.get(spec.datatype, (-FP32_MAX, FP32_MAX) if spec.datatype == "FP32" else (None, None))
    if spec.outside == "reject":
        low = spec.low if spec.low is not None else low
        high = spec.high if spec.high is not None else high
    if low is not None:
        schema["minimum"] = low
    if high is not None:
        schema["maximum"] = high
    if spec.datatype == "BYTES":
        if spec.categories is not None and spec.unknown == "reject":
            schema["enum"] = [*spec.categories, *([None] if spec.nullable else [])]
        else:
            schema |= {"maxLength": MAX_ELEMENT_BYTES // 4, "not": {"const": spec.missing}}
    if spec.nullable:
        schema["type"] = [schema["type"], "null"]
    if words := words_about(spec):
        schema["description"] = words
    return schema


def words_about(spec: Input) -> str:
    """Return what the schema's keywords do not say of an input: its datatype, its unit, what was seen in training."""
    words = [f"{spec.datatype}{f', in {spec.unit}' if spec.unit else ''}."]
    if spec.outside != "reject" and (spec.low is not None or spec.high is not None):
        then = "is clipped" if spec.outside == "clip" else "is answered and flagged"
        seen = f"{'…' if spec.low is None else f'{spec.low:g}'} to {'…' if spec.high is None else f'{spec.high:g}'}"
        words.append(f"Seen in training: {seen}; a value outside {then}.")
    if spec.categories is not None and spec.unknown != "reject":
        shown = ", ".join(spec.categories[:20]) + (", …" if len(spec.categories) > 20 else "")
        then = "counts as missing" if spec.unknown == "missing" else "is answered and flagged"
        words.append(f"Seen in training: {shown}; another value {then}.")
    return " ".join(words)


def json_type(datatype: str) -> str:
    """Return what JSON dict[str, Any] calls the values of a datatype."""
    if datatype == "BYTES":
        return "string"
    if datatype == "BOOL":
        return "boolean"
    return "integer" if datatype in INTEGER_BOUNDS else "number"
