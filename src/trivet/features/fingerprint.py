"""Fingerprints: what decides the values of each feature, as plain data, and the hash that says whether two are the same.

A title, a unit or a reason may change without a trace. A path, a condition, a default, the type of the field or the body of a
method may not: a model that was trained on the one would be asked with the other.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Lookup, Model, Q
from django.db.models.expressions import BaseExpression, Col
from django.db.models.sql import Query
from django.utils.tree import Node

from trivet.core.errors import quoted
from trivet.features.aggregates import UNKNOWN_TIME
from trivet.features.computed import Method
from trivet.features.feature import Feature
from trivet.features.shape import METHOD, Declared, shape_of

FOR_PEOPLE = frozenset({"mutable", "reason", "sensitive", "title", "unit"})  # which no value depends on


def columns_of(feature_set: Declared) -> dict[str, str]:
    """Return the hash of each feature of a FeatureSet, in their order. Raises `ImproperlyConfigured`."""
    shape = shape_of(feature_set)
    found = {}
    for name, feature in shape.features.items():
        kind = shape.kinds[name]
        said = {"of": shape.table._meta.label_lower, "datatype": kind.datatype, "nullable": kind.is_nullable}
        said |= {"kind": type(feature).__name__, "arguments": _arguments(feature)}
        if isinstance(feature, Method):
            said["source"] = _source(getattr(feature_set, METHOD + name))
        found[name] = _hash(said)
    return found


def hash_of(columns: Mapping[str, str]) -> str:
    """Return the hash of a FeatureSet of the hashes of its features, whatever their order."""
    return _hash(dict(columns))


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return which features are not what they were, each in words."""
    said = [(name, "has changed") for name in now if name in then and then[name] != now[name]]
    said += [(name, "is new") for name in now if name not in then]
    said += [(name, "is gone") for name in then if name not in now]
    return [f"{quoted(name)} {what}" for name, what in said]


def _hash(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def _arguments(feature: Feature) -> dict[str, Any]:
    said = {field.name: getattr(feature, field.name) for field in fields(feature) if field.name not in FOR_PEOPLE}
    return {name: "unknown" if value is UNKNOWN_TIME else _plain(value) for name, value in said.items()}


def _plain(value: Any) -> Any:
    """Return what is said to a feature as data in which equal things are equal, in any process and any release of Django."""
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, Q):
        return ["Q", value.connector, value.negated, [_plain(child) for child in value.children]]
    if isinstance(value, type):
        return value._meta.label_lower if issubclass(value, Model) else value.__name__
    if hasattr(value, "_constructor_args"):  # expressions and fields of Django: what they were made with
        arguments, named = value._constructor_args
        return [type(value).__name__, _plain(arguments), _plain(named)]
    query = getattr(value, "query", value)
    if isinstance(query, Query):
        parts = (query.where, query.order_by, query.annotations, query.values_select, query.low_mark, query.high_mark)
        return ["Query", query.model._meta.label_lower if query.model else None, [_part(part) for part in parts]]
    return [type(value).__name__, str(value)]


def _part(value: Any) -> Any:
    """Return a part of a query as data: conditions by what they compare, so that a query within another counts, too."""
    if isinstance(value, Node):
        return [type(value).__name__, value.connector, value.negated, [_part(child) for child in value.children]]
    if isinstance(value, Lookup):
        return [type(value).__name__, _part(value.lhs), _part(value.rhs)]
    if isinstance(value, dict):
        return {str(name): _part(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_part(one) for one in value]
    if isinstance(value, Query | BaseExpression) and not isinstance(value, Col):
        return _plain(value)
    return [type(value).__name__, str(value)]


def _source(method: Callable[..., Any]) -> str:
    """Return the code of a method without comments, layout and docstring, none of which changes what it returns."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (OSError, SyntaxError) as error:
        where = f"{method.__module__}.{method.__qualname__}"
        raise ImproperlyConfigured(f"the code of {where} cannot be read: write it as a method in a module.") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
