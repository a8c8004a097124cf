"""The shape of a FeatureSet: its model and its features, found right, or what is wrong with it."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model

from trivet.core.errors import InvalidRequest, did_you_mean, quoted
from trivet.core.signature import Input
from trivet.features.aggregates import UNKNOWN_TIME, Related, relation_of
from trivet.features.columns import Boolean, Category, Column
from trivet.features.computed import DATATYPES, Method
from trivet.features.feature import Feature, Kind
from trivet.features.given import Given
from trivet.features.todo import TODO

Declared = type[Any]  # a FeatureSet, which stands above this module

META = ("abstract", "fields", "model", "sensitive")
UNFILLED, PATH, NAME = (
    "E011",
    "E012",
    "E018",
)  # of checks: what is to be written; is not on the model; is no name or value
METHOD = "get_"


@dataclass(frozen=True)
class Shape:
    """A FeatureSet in which nothing is wrong."""

    name: str
    table: type[Model]
    features: Mapping[str, Feature]
    kinds: Mapping[str, Kind]

    @cached_property
    def methods(self) -> Mapping[str, Method]:
        """The features that a method makes of a row."""
        return {name: one for name, one in self.features.items() if isinstance(one, Method)}

    @cached_property
    def aliases(self) -> Mapping[str, str]:
        """By which name of a query the database is asked for each feature that no method makes and nobody supplies."""
        return {
            f"trivet_{place}": name
            for place, (name, feature) in enumerate(self.features.items())
            if not isinstance(feature, Method | Given)
        }

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The features as inputs of a signature."""
        return tuple(feature.input(name, self.kinds[name]) for name, feature in self.features.items())

    def check_model(self, model: type[Model]) -> None:
        """Raise `InvalidRequest` where rows of `model` are none of this FeatureSet's."""
        if not issubclass(model._meta.concrete_model or model, self.table._meta.concrete_model or self.table):
            raise InvalidRequest(f"{self.name} is of {self.table.__name__}, not of {model.__name__}.")


def shape_of(feature_set: Declared) -> Shape:
    """Return the shape of a FeatureSet. Raises `ImproperlyConfigured` with what is wrong with it."""
    known = vars(feature_set).get("_shape")
    if known is None:
        for _, problem in problems(feature_set):
            raise ImproperlyConfigured(problem)
        known = _found(feature_set)
        feature_set._shape = known  # of this class alone, not of those that inherit
    return typing.cast("Shape", known)


def is_abstract(feature_set: Declared) -> bool:
    """True for a class that is only inherited from."""
    meta = vars(feature_set).get("Meta")
    return bool(isinstance(meta, type) and vars(meta).get("abstract"))


def names_of(feature_set: Declared) -> tuple[str, ...]:
    """Return the names of the features that are written, whether or not something is wrong with them."""
    fields = _meta(feature_set).get("fields", ())
    names = fields if _is_list_of_texts(fields) else ()
    written = [name for name, feature in feature_set.declared.items() if not isinstance(feature, TODO)]
    return tuple(dict.fromkeys([*names, *written]))


def problems(feature_set: Declared) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a FeatureSet: the id of a check and a sentence that names class, feature and remedy."""
    place = place_of(feature_set)
    at_first = list(_problems_of_names(feature_set))
    yield from ((NAME, f"{place}{problem}") for problem in at_first)
    table = _table(feature_set)
    if isinstance(table, str):
        yield PATH, f"{place}.Meta.model {table}"
        return
    if at_first:
        return
    for name, feature in _features(feature_set).items():
        found = list(feature.problems(table))
        if not found:
            found = list(_finished(name, feature, feature_set).fitting_problems(table))
        id_ = UNFILLED if isinstance(feature, TODO) else PATH
        yield from ((id_, f"{place}.{name}: {problem}") for problem in found)


def untimed(feature_set: Declared) -> Iterator[str]:
    """Yield which features count rows of which nothing says when they came to be, in a FeatureSet that is otherwise right."""
    shape = shape_of(feature_set)
    for name, feature in shape.features.items():
        if isinstance(feature, Related) and feature.event_time is UNKNOWN_TIME:
            yield (
                f"{place_of(feature_set)}.{name}: nothing says when a row of {quoted(feature.path)} came to be, so an export"
                " counts also those that came after its as_of."
            )


def without_past(feature_set: Declared) -> list[str]:
    """Return the features that are what stands in the row now, whatever moment is asked for."""
    return [name for name, one in shape_of(feature_set).features.items() if type(one) in (Boolean, Category, Column)]


def place_of(feature_set: Declared) -> str:
    """Return how code names a FeatureSet."""
    return f"{feature_set.__module__}.{feature_set.__qualname__}"


def _problems_of_names(feature_set: Declared) -> Iterator[str]:
    meta = _meta(feature_set)
    for name in meta:
        if name not in META:
            yield f".Meta has no {quoted(name)}.{did_you_mean(name, META)} Known: {', '.join(META)}."
    for name in ("fields", "sensitive"):
        if not _is_list_of_texts(meta.get(name, ())):
            yield f".Meta.{name} is {quoted(str(meta[name]))}: a list of names."
            return
    names = list(_features(feature_set))
    for name in meta.get("sensitive", ()):
        if name not in names:
            yield f".Meta.sensitive: there is no feature {quoted(name)}.{did_you_mean(name, names)}"
    yield from _problems_of_attributes(feature_set)
    for name, feature in feature_set.declared.items():
        if isinstance(feature, Method):
            yield from _problems_of_method(feature_set, name)
    if not names and not is_abstract(feature_set):
        yield " has no features."


def _problems_of_attributes(feature_set: Declared) -> Iterator[str]:
    own = dir(_base(feature_set))
    for name, value in vars(feature_set).items():
        if name in own and isinstance(value, Feature):
            yield f".{name} is a name of FeatureSet itself: another one for the feature."
        elif isinstance(value, type) and issubclass(value, Feature):
            yield f".{name} is the class f.{value.__name__}: f.{value.__name__}(...)."
        elif name.startswith(METHOD) and callable(value):
            of = name.removeprefix(METHOD)
            if not isinstance(feature_set.declared.get(of), Method):
                yield f".{name} is of no feature: {of} = f.Method(needs=[...])."


def _problems_of_method(feature_set: Declared, name: str) -> Iterator[str]:
    method = getattr(feature_set, METHOD + name, None)
    if not callable(method):
        yield f".{name} is made by a method that is not there: def {METHOD}{name}(self, row)."
    elif len(inspect.signature(method).parameters) != 2:
        yield f".{METHOD}{name} takes {inspect.signature(method)}: (self, row)."
    elif isinstance(said := _returned(method).type, str):
        yield f".{METHOD}{name} returns {quoted(said)}: bool, int, float or str, or one of them or None."


class _Returned(NamedTuple):
    """What a method says it returns: its type, or a text where no feature has that, and whether it may be None."""

    type: type | str
    is_nullable: bool


def _returned(method: Any) -> _Returned:
    try:
        said = typing.get_type_hints(method).get("return", Any)
    except (NameError, TypeError) as error:
        return _Returned(str(error), is_nullable=True)
    if said is Any:
        return _Returned(float, is_nullable=True)
    every = typing.get_args(said) if typing.get_origin(said) in (typing.Union, types.UnionType) else (said,)
    given = [one for one in every if one is not type(None)]
    is_known = len(given) == 1 and given[0] in DATATYPES
    return _Returned(given[0] if is_known else str(said), len(given) < len(every))


def _found(feature_set: Declared) -> Shape:
    table = _table(feature_set)
    if isinstance(table, str):
        raise ImproperlyConfigured(table)
    features = {name: _finished(name, one, feature_set) for name, one in _features(feature_set).items()}
    features = dict(_with_times(features, table))
    kinds = {name: feature.kind(table) for name, feature in features.items()}
    return Shape(place_of(feature_set).rpartition(".")[2], table, features, kinds)


def _finished(name: str, feature: Feature, feature_set: Declared) -> Feature:
    """Return a feature with what is said of it elsewhere in its FeatureSet."""
    if isinstance(feature, Method) and feature.gives is None:
        said = _returned(getattr(feature_set, METHOD + name))
        missing = feature.missing if said.is_nullable or feature.fills else "reject"
        feature = replace(feature, gives=said.type if isinstance(said.type, type) else float, missing=missing)
    if isinstance(feature, Related):
        feature = feature.at_last(feature.at)
    if name in _meta(feature_set).get("sensitive", ()):
        feature = replace(feature, sensitive=True)
    return feature


def _with_times(features: Mapping[str, Feature], table: type[Model]) -> Iterable[tuple[str, Feature]]:
    """Return features in which those over a relation know when its rows came to be, if one of them does."""
    times: dict[str, Any] = {}
    for feature in features.values():
        if isinstance(feature, Related) and isinstance(feature.event_time, str):
            times.setdefault(_relation_name(table, feature), feature.event_time)
    for name, feature in features.items():
        if isinstance(feature, Related):
            time = feature.event_time
            yield (
                name,
                feature.at_last(times.get(_relation_name(table, feature), time) if time is UNKNOWN_TIME else time),
            )
        else:
            yield name, feature


def _relation_name(table: type[Model], feature: Related) -> str:
    found = relation_of(table, feature.path)
    return found if isinstance(found, str) else found.name


def _features(feature_set: Declared) -> dict[str, Feature]:
    """Return the features by name: columns of `Meta.fields`, then what is declared."""
    return {**{name: Column(name) for name in _meta(feature_set).get("fields", ())}, **feature_set.declared}


def _table(feature_set: Declared) -> type[Model] | str:
    """Return the model of a FeatureSet, or what is wrong with that."""
    said = _meta(feature_set).get("model")
    if said is None:
        return 'is not said: a model of Django, as Customer or "customers.Customer".'
    try:
        said = apps.get_model(said) if isinstance(said, str) else said
    except (LookupError, ValueError) as error:
        return f"is {quoted(said)}: {error}"
    if not isinstance(said, type) or not issubclass(said, Model) or said._meta.abstract:
        return f"is {quoted(str(said))}, no model of Django with a table."
    return said


def _meta(feature_set: Declared) -> dict[str, Any]:
    """Return what the inner class `Meta` says, and those of classes it inherits from; of `abstract` its own word only."""
    meta = getattr(feature_set, "Meta", None)
    lines = [vars(one) for one in reversed(meta.__mro__) if one is not object] if isinstance(meta, type) else []
    return {name: value for line in lines for name, value in line.items() if not name.startswith("_")}


def _base(feature_set: Declared) -> type:
    """Return FeatureSet itself."""
    return feature_set.__mro__[-2]


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
