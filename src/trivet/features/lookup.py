"""Lookups: the features of rows that somebody gives, or names by their primary keys, in the same order."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connections, router
from django.db.models import IntegerField, QuerySet
from django.db.models.query import ModelIterable

from trivet.core.errors import InvalidRequest, NotFound, quoted
from trivet.features.given import Supplied
from trivet.features.reading import CHUNK_ROWS, Reading, Row
from trivet.features.rows import Place, by_database, chunks, key_of
from trivet.features.shape import Declared, Shape, shape_of


def is_key(value: Any) -> bool:
    """True for what may be a primary key: a whole number, a text or a UUID."""
    return isinstance(value, numbers.Integral | str | UUID) and not isinstance(value, bool)


def gives_instances(rows: Any) -> bool:
    """True for a QuerySet of instances, as opposed to one of `values` or `values_list`."""
    return isinstance(rows, QuerySet) and issubclass(rows._iterable_class, ModelIterable)


def places_named(shape: Shape, keys: Iterable[Any]) -> list[Place]:
    """Return the places of the rows with some primary keys. Raises `InvalidRequest` for what is no key of such a row."""
    return [Place(None, _key(shape, key)) for key in keys]


def looked_up(
    feature_set: Declared, places: Sequence[Place], as_of: Any = None, *, given: Supplied = None
) -> list[Row]:
    """Return the rows at some places, in their order. Raises `NotFound` for one that is gone, and what a feature refuses."""
    shape = shape_of(feature_set)
    reading = Reading(shape, as_of, feature_set, given=given)
    found: dict[Place, Row] = {}
    for using, keys in by_database(places).items():
        for some in chunks(_storable(shape, keys, using), CHUNK_ROWS):
            found.update((Place(using, row.key), row) for row in reading.of_keys(some, using))
    for place in places:
        if place not in found:
            raise NotFound(
                f"{shape.name}: there is no {shape.table.__name__} {quoted(str(place.key))}{reading.condition}."
            )
    return [found[place] for place in places]


def _key(shape: Shape, key: Any) -> Any:
    try:
        return key_of(shape).to_python(key)
    except ValidationError:
        raise InvalidRequest(
            f"{shape.name}: {quoted(str(key))} is no primary key of a {shape.table.__name__}."
        ) from None


def _storable(shape: Shape, keys: list[Any], using: str | None) -> list[Any]:
    """Return those of `keys` that a column of whole numbers may hold: a database may refuse to look for others."""
    field = key_of(shape)
    while field.remote_field:
        field = field.target_field
    if not isinstance(field, IntegerField):
        return keys
    ops = connections[using or router.db_for_read(shape.table)].ops
    low, high = ops.integer_field_range(field.get_internal_type())
    return [key for key in keys if (low is None or low <= key) and (high is None or key <= high)]
