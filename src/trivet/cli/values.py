"""Values as people type them: NAME=VALUE, read by the datatypes of a model's inputs; lengths of time, and moments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from trivet.cli.verb import split_version
from trivet.control.registry.models import CHAMPION, ModelVersion
from trivet.core.errors import InvalidRequest, quoted
from trivet.core.signature import Input

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


def row_of(fields: Mapping[str, Input], pairs: Iterable[str]) -> dict[str, Any]:
    """Return the row that `pairs` of NAME=VALUE spell; raises `InvalidRequest` for one that is none."""
    row = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InvalidRequest(f"{quoted(pair)} is not NAME=VALUE.", code="BAD_PARAMETER")
        row[name] = value_of(fields.get(name), text)
    return row


def fields_of_model(model: str) -> dict[str, Input]:
    """Return each field's input, to read text by. A model that is not there is told by predicting, with its own words."""
    name, word = split_version(model)
    version = ModelVersion.objects.resolve(name, word or CHAMPION)
    signature = version.read_signature()
    return {field: spec for spec in signature.inputs for field in spec.field_names}


def value_of(spec: Input | None, text: str | None) -> Any:
    """Return `text` as its field's datatype; what does not convert stays text, and is refused with a good sentence."""
    if text is None or text == "":
        return None
    if spec is None or spec.datatype == "BYTES":
        return text
    if spec.datatype == "BOOL":
        return True if text.lower() in _TRUE else False if text.lower() in _FALSE else text
    try:
        number = float(text)
    except ValueError:
        return text
    if spec.datatype.startswith("FP"):
        return number
    return int(number) if number.is_integer() else number


def duration_of(option: str, text: str) -> timedelta:
    """Return the length of time that `text` says; raises `InvalidRequest` that names `option` for what is none."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if match is None:
        raise InvalidRequest(f"{option} {quoted(text)}: a number from 1 to 99,999 and h, d or w, such as 90d.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def moment_of(option: str, text: str, *, now: datetime) -> datetime:
    """Return the moment that `text` says: so long before `now`, or a date with or without a time, in the project's zone."""
    if re.fullmatch(r"[0-9]+[a-z]", text):
        return now - duration_of(option, text)
    try:
        moment = datetime.fromisoformat(text)
        return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{option} {quoted(text)}: a length of time, such as 7d, or a date, 2026-11-30.") from None
