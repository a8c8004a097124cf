"""Which columns of a Django model a trained model's inputs may be, and the module that declares them as a FeatureSet."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from django.apps import apps
from django.db.models import ForeignKey, Model

from trivet.core.errors import NotFound, did_you_mean, quoted
from trivet.core.signature import Input, Signature
from trivet.features.columns import Column
from trivet.features.feature import NUMBERS
from trivet.features.feature_set import FeatureSet
from trivet.features.paths import Path, resolved

NAMES_OF_A_ROW = ("slug", "code", "key", "name")  # what a text input of a foreign key's name most likely holds
CATEGORIES_SHOWN = 6
MODULE = '''\
"""What {model} is asked about a {kind}. Begun by `trivet inspect {source}`; it is yours to go on with."""

import trivet
from {module} import {kind}
{words}

class {name}Features(trivet.FeatureSet):
{features}
    class Meta:
        model = {kind}
{fields}

class {name}(trivet.Predictor):
    features = {name}Features
{meta}'''


class Match(NamedTuple):
    """One input: the path of the column that it is, or what a person who writes it has to know."""

    name: str
    path: str = ""
    hint: str = ""
    kind: str = ""  # float, int, bool or str
    mean: float | None = None  # in training

    @property
    def is_nameable(self) -> bool:
        """True where a class may have an attribute of that name."""
        is_name = self.name.isidentifier() and not keyword.iskeyword(self.name)
        return is_name and not self.name.startswith("_") and self.name != "Meta" and self.name not in dir(FeatureSet)


def find_table(label: str) -> type[Model]:
    """Return the Django model called `app.Model`; raises `NotFound` with the closest one."""
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        known = [model._meta.label for model in apps.get_models()]
        raise NotFound(f"no table {quoted(label)}.{did_you_mean(label, known)}") from None


def match_fields(signature: Signature, table: type[Model], means: Mapping[str, float] | None = None) -> list[Match]:
    """Return a match for each field of a row, in the model's order. `means` are those of the rows it was trained on."""
    return [
        _match(name, spec, table, (means or {}).get(name)) for spec in signature.inputs for name in spec.field_names
    ]


def _match(name: str, spec: Input, table: type[Model], mean: float | None) -> Match:
    kind = _kind(spec)
    for path in _paths(name, table, is_text=kind == "str"):
        column = Column(path)
        if not list(column.problems(table)):
            datatype = column.raw_kind(table).datatype
            if (kind == "str") == (datatype not in NUMBERS and datatype != "BOOL"):
                return Match(name, path, "", kind, mean)
    found = resolved(table, name)
    if isinstance(found, Path):
        other = f"{type(found.field).__name__} of {table.__name__} is no {kind}"
    else:
        other = did_you_mean(name, [field.name for field in table._meta.get_fields()]).strip()
    about = "" if mean is None else f"training mean {mean:.4g}"
    return Match(name, "", "; ".join(filter(None, (kind, _seen(spec), about, other))), kind, mean)


def _paths(name: str, table: type[Model], *, is_text: bool) -> Iterator[str]:
    """Yield what the input may be: the column of its name, or of a foreign key what a person would name its row by."""
    found = resolved(table, name)
    yield name
    if isinstance(found, Path) and isinstance(found.field, ForeignKey) and not found.rest:
        ends = NAMES_OF_A_ROW if is_text else (found.field.target_field.name,)
        yield from (f"{name}__{end}" for end in ends)


def _kind(spec: Input) -> str:
    """Return the type in Python of what an input takes."""
    if spec.datatype in ("BYTES", "BOOL"):
        return {"BYTES": "str", "BOOL": "bool"}[spec.datatype]
    return "int" if spec.datatype.startswith(("INT", "UINT")) else "float"


def _seen(spec: Input) -> str:
    if spec.categories:
        more = len(spec.categories) - CATEGORIES_SHOWN
        shown = ", ".join(spec.categories[:CATEGORIES_SHOWN])
        return f"one of {shown}" + (f" and {more} more" if more > 0 else "")
    if spec.low is not None and spec.high is not None:
        return f"{spec.low:g} to {spec.high:g} in training"
    return ""


def in_words(matches: Sequence[Match], *, is_written: bool) -> str:
    """Return which inputs were not found, and what is known of them; empty where all were."""
    missing = [match for match in matches if not match.path]
    if not missing:
        return ""
    kinds = ", ".join(dict.fromkeys(match.kind for match in missing))
    means = [f"{match.mean:.4g}" for match in missing if match.mean is not None]
    known = f"{kinds}; training mean {' and '.join(means)}" if means else kinds
    names = ", ".join(match.name for match in missing)
    return f"; {names} written as f.TODO ({known})" if is_written else f"; to be written: {names} ({known})"


def module_of(matches: Sequence[Match], table: type[Model], model: str, source: str) -> str:
    """Return the text of an `ml.py`: a FeatureSet with what matched, an `f.TODO` for each that did not, and a Predictor."""
    lines = [*_declared(matches)]
    plain = [match.name for match in matches if match.path == match.name]
    name = _class_name(model, table)
    is_same = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() == model
    return MODULE.format(
        model=model,
        source=re.sub(r"[^\w. -]", "?", source),
        module=table.__module__,
        kind=table.__name__,
        name=name,
        words="from trivet import f\n" if any(" f." in line for line in lines) else "",
        features="\n".join(lines) + ("\n" if lines else ""),
        fields=f"        fields = {json.dumps(plain)}\n" if plain else "",
        meta="" if is_same else f"\n    class Meta:\n        name = {json.dumps(model)}\n",
    )


def _class_name(model: str, table: type[Model]) -> str:
    """Return how the Predictor of a model is called, which is neither the table's name nor a word of Python."""
    name = "".join(part.capitalize() for part in re.split(r"[^a-zA-Z0-9]+", model) if part)
    name = name if name[:1].isalpha() else f"Model{name}"
    return f"{name}Model" if name == table.__name__ or keyword.iskeyword(name) else name


def _declared(matches: Sequence[Match]) -> Iterator[str]:
    """Yield a line for each feature that is no column of the input's own name."""
    for match in matches:
        if match.path == match.name:
            continue
        if not match.is_nameable:
            yield f"    # {json.dumps(match.name)} can be no attribute: rename the column, and train again."
        elif match.path:
            yield f"    {match.name} = f.Column({json.dumps(match.path)})"
        else:
            yield f"    {match.name} = f.TODO({json.dumps(match.hint)})"
