"""Subjects: what a caller asks about, rows of a table or named features, as a model is asked with them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model

from trivet.core.errors import InvalidRequest, NotFound, quoted
from trivet.core.signature import Signature
from trivet.features.entities import entity_key_of, prefix_of
from trivet.features.feature_set import FeatureSet
from trivet.features.lookup import gives_instances, is_key, looked_up, places_named
from trivet.features.predictor import Predictor, name_of, predictor_of
from trivet.features.rows import places_of
from trivet.features.shape import shape_of


@dataclass(frozen=True)
class Target:
    """Who is asked: the name of a model, a version or an alias where one is said, and its Predictor where code has one."""

    name: str
    selector: str
    predictor: type[Predictor] | None = None  # None: that of the name, if there is one


@dataclass(frozen=True)
class Subjects:
    """Rows as a model is asked with them, and whom each is about: no keys where nobody says."""

    features: list[dict[str, Any]]
    entity_keys: list[str]
    of_feature_set: bool = False

    def part(self, start: int, rows: int) -> Subjects:
        """Return so many rows, from `start` on."""
        if not start and len(self.features) <= rows:
            return self
        end = start + rows
        return replace(self, features=self.features[start:end], entity_keys=self.entity_keys[start:end])

    def read_by(self, signature: Signature) -> list[dict[str, Any]]:
        """Return what a version of this signature was sent: of what a FeatureSet knows, what it reads."""
        if not self.of_feature_set:
            return self.features
        names = frozenset(signature.field_names)
        return [{name: value for name, value in row.items() if name in names} for row in self.features]


def target_of(model: str | type[Predictor]) -> Target:
    """Return who is meant: "churn", "churn@3", "churn@challenger" or a Predictor. Raises `InvalidRequest` for anything else."""
    if isinstance(model, str):
        name, _, selector = model.partition("@")
        return Target(name, selector)
    if isinstance(model, type) and issubclass(model, Predictor):
        return Target(name_of(model), "", model)
    raise InvalidRequest(f"a model is a name or a Predictor, not {quoted(str(model))}.")


def subjects_of(target: Target, rows: Iterable[Any], entity_keys: Iterable[Any]) -> Subjects:
    """Return what is asked about: mappings and dataclasses as they stand, rows of a table as the FeatureSet has them.

    As many queries for many rows as for one. Raises `InvalidRequest`, `NotFound` for a row that is not there, and what the
    database raises.
    """
    if isinstance(rows, Mapping) or hasattr(rows, "to_dict"):
        raise InvalidRequest(
            f"{target.name}: rows are a list of mappings, not {quoted(type(rows).__name__)}; of a DataFrame"
            ' to_dict("records"), of one row predict.'
        )
    rows = rows if gives_instances(rows) else list(rows)
    said = [entity_key_of(key, target.name) for key in entity_keys]
    if not needs_database(rows):
        features = [_features(row) for row in rows]
        own: list[str] = []
    else:
        features, own = _of_table(target, rows)
    if said and len(said) != len(features):
        raise InvalidRequest(f"{target.name}: {len(said)} entity_keys for {len(features)} rows.", code="COUNT_MISMATCH")
    keys = [key or default for key, default in zip(said, own, strict=True)] if said and own else said or own
    return Subjects(features, keys, of_feature_set=bool(own))


def needs_database(rows: Any) -> bool:
    """True where the features of `rows` are in a table, or may be: they are neither mappings nor dataclasses."""
    return not isinstance(rows, list | tuple) or any(isinstance(row, Model) or is_key(row) for row in rows)


def _of_table(target: Target, rows: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the features of rows of a table, and their entity keys."""
    feature_set = feature_set_of(target, rows.model.__name__ if gives_instances(rows) else type(rows[0]).__name__)
    shape = shape_of(feature_set)
    try:
        places = places_named(shape, rows) if _are_keys(target, rows) else places_of(shape, rows)
        found = looked_up(feature_set, places)
    except InvalidRequest as error:
        raise InvalidRequest(f"{target.name}: {error.message}", code=error.code, field=error.field) from error
    except NotFound as error:
        raise NotFound(f"{target.name}: {error.message}", code=error.code) from error
    prefix = prefix_of(shape.table)
    return [row.values for row in found], [f"{prefix}{row.key}" for row in found]


def feature_set_of(target: Target, about: str) -> type[FeatureSet]:
    """Return the FeatureSet of the Predictor of a model, which was asked about one `about`.

    Raises `InvalidRequest` where it has none, and `ImproperlyConfigured` where what it has is no FeatureSet.
    """
    predictor = target.predictor or predictor_of(target.name)
    if predictor is None or predictor.features is None:
        where = f"{predictor.__name__} has no features" if predictor else "it has no Predictor"
        raise InvalidRequest(
            f"{target.name}: asked about {quoted(about)}, and {where}. In an app's ml.py: features = …, a FeatureSet of"
            " that model; or ask about a mapping of named features."
        )
    said: Any = predictor.features  # of whatever type somebody wrote
    if not isinstance(said, type) or not issubclass(said, FeatureSet):
        raise ImproperlyConfigured(
            f"{predictor.__module__}.{predictor.__qualname__}.features is {quoted(str(said))}: a FeatureSet, the class itself."
        )
    return said


def _are_keys(target: Target, rows: Any) -> bool:
    """True where all rows are primary keys, False where all are instances. Raises `InvalidRequest` for a mixture."""
    if gives_instances(rows):
        return False
    sorts = {"instances" if isinstance(row, Model) else "keys" if is_key(row) else "mappings" for row in rows}
    if len(sorts) > 1:
        raise InvalidRequest(f"{target.name}: {' and '.join(sorted(sorts))} in one call: one call for each sort.")
    return sorts == {"keys"}


def _features(row: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        row = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    if not isinstance(row, Mapping):
        raise InvalidRequest(
            "a row is a mapping or a dataclass of named features, a saved instance or its primary key, not"
            f" {quoted(type(row).__name__)}."
        )
    return {str(name): _plain(name, value) for name, value in row.items()}


def _plain(name: Any, value: Any) -> Any:
    """Return `value` as JSON would have brought it: what is checked later goes by the exact type."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return str.__str__(value)  # np.str_, SafeString; the latter's own str() is itself
    if not isinstance(value, int | float | None) and hasattr(value, "tolist"):
        value = value.tolist()  # a NumPy scalar
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        value = float(value)
        if math.isnan(value):
            return None
        if math.isinf(value):
            raise InvalidRequest(f"{quoted(str(name))} is infinite.", code="NOT_FINITE", field=str(name))
    return value
