"""Values as people type them, NAME=VALUE, read by the datatypes of a model's inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trivet.cli.verb import split_version
from trivet.control.registry.models import CHAMPION, ModelVersion
from trivet.core.errors import InvalidRequest, quoted
from trivet.core.signature import Input

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
