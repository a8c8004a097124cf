"""Which columns of a Django model a trained model's inputs may be, and the function that makes a row of an instance."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from django.apps import apps
from django.db import models
from django.db.models import Field, ForeignKey, Model

from trivet.core.errors import NotFound, did_you_mean, quoted
from trivet.core.signature import Input, Signature

NAMES_OF_A_ROW = ("slug", "code", "key", "name")  # what a text input of a foreign key's name most likely holds
NUMBERS = (models.IntegerField, models.FloatField, models.DecimalField, models.BooleanField)
TEXTS = (models.CharField, models.TextField, models.UUIDField)
CATEGORIES_SHOWN = 6
INSTANCE = "instance"
STUB = '''\
"""What {model} is asked about a {kind}. Begun by `trivet inspect {source}`; it is yours to go on with."""

from __future__ import annotations

from typing import Any

import trivet
from {module} import {kind}


def predict({argument}: {kind}) -> trivet.Prediction:
    """Return the model's answer about `{argument}`."""
    return trivet.predict("{model}", features({argument}))


def features({argument}: {kind}) -> dict[str, Any]:
    """Return the row the model is asked, in its order."""
    return {{
{row}
    }}
'''
TODO = '''

def todo(hint: str) -> Any:
    """Stand where a feature is not written yet."""
    raise NotImplementedError(hint)
'''


class Match(NamedTuple):
    """One input: the expression that gives it of an instance, or what a person has to write in its place."""

    name: str
    expression: str = ""
    hint: str = ""


def find_table(label: str) -> type[Model]:
    """Return the Django model called `app.Model`; raises `NotFound` with the closest one."""
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        known = [model._meta.label for model in apps.get_models()]
        raise NotFound(f"no table {quoted(label)}.{did_you_mean(label, known)}") from None


def match_fields(signature: Signature, table: type[Model]) -> list[Match]:
    """Return a match for each field of a row, in the model's order."""
    columns = {field.name: field for field in table._meta.get_fields() if isinstance(field, Field)}
    return [_match(name, spec, columns) for spec in signature.inputs for name in spec.field_names]


def _match(name: str, spec: Input, columns: Mapping[str, Field]) -> Match:
    path, _, attribute = name.partition("__")
    field = columns.get(path)
    if isinstance(field, ForeignKey):
        return _through(name, path, attribute, field, spec)
    if field is not None and not attribute and isinstance(field, TEXTS if spec.datatype == "BYTES" else NUMBERS):
        return Match(name, _value(f"{INSTANCE}.{name}", field))
    close = "" if field is not None else did_you_mean(name, columns).strip()
    is_other = f"{field.get_internal_type()} is no {spec.datatype}" if field is not None and not attribute else ""
    return Match(name, hint=". ".join(filter(None, (_seen(spec), is_other, close))))


def _through(name: str, path: str, attribute: str, field: ForeignKey, spec: Input) -> Match:
    """Return the column of the row that a foreign key points to: the one named, or the one a person would name it by."""
    related = {f.name: f for f in field.related_model._meta.get_fields() if isinstance(f, Field)}
    wanted = TEXTS if spec.datatype == "BYTES" else NUMBERS
    names = (attribute,) if attribute else NAMES_OF_A_ROW if wanted is TEXTS else (field.target_field.name,)
    found = next((related[one] for one in names if one in related and isinstance(related[one], wanted)), None)
    if found is None:
        return Match(name, hint=_seen(spec))
    value = _value(f"{INSTANCE}.{path}.{found.name}", found)
    return Match(name, f"{value} if {INSTANCE}.{path} is not None else None" if field.null else value)


def _value(expression: str, field: Field) -> str:
    if isinstance(field, models.UUIDField):
        return f"str({expression})"
    if isinstance(field, models.DecimalField):
        return f"float({expression}) if {expression} is not None else None" if field.null else f"float({expression})"
    return expression


def _seen(spec: Input) -> str:
    if spec.categories:
        more = len(spec.categories) - CATEGORIES_SHOWN
        shown = ", ".join(spec.categories[:CATEGORIES_SHOWN])
        return f"one of {shown}" + (f" and {more} more" if more > 0 else "")
    if spec.low is not None and spec.high is not None:
        return f"{spec.datatype}, {spec.low:g} to {spec.high:g} in training"
    return spec.datatype


def stub(matches: Sequence[Match], table: type[Model], model: str, source: str) -> str:
    """Return the text of a module whose `features` makes a row of an instance; what is not known raises until it is written."""
    argument = _argument(table.__name__)
    text = STUB.format(
        model=model,
        source=re.sub(r"[^\w. -]", "?", source),
        module=table.__module__,
        kind=table.__name__,
        argument=argument,
        row="\n".join(f"        {quoted_name}: {value}," for quoted_name, value in _written(matches, argument)),
    )
    return text if all(match.expression for match in matches) else text + TODO


def _argument(kind: str) -> str:
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
    return f"{name}_" if keyword.iskeyword(name) or name in ("features", "predict", "todo", "trivet") else name


def _written(matches: Sequence[Match], argument: str) -> Iterator[tuple[str, str]]:
    for match in matches:
        value = re.sub(rf"\b{INSTANCE}\.", f"{argument}.", match.expression) or f"todo({json.dumps(match.hint)})"
        yield json.dumps(match.name), value
