"""Rows: which of a model's somebody means, by a QuerySet, a manager or a list, and the database that each is in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from django.db.models import Manager, Model, QuerySet

from trivet.core.errors import InvalidRequest, quoted
from trivet.features.shape import Shape


class Place(NamedTuple):
    """Where a row is: the alias of its database, None where nothing says, and its key in the table of the FeatureSet."""

    using: str | None
    key: Any


def places_of(shape: Shape, rows: Any) -> list[Place]:
    """Return where the rows of a QuerySet, a manager or a list are, in its order. Raises `InvalidRequest` for what is none."""
    rows = rows.all() if isinstance(rows, Manager) else rows
    if isinstance(rows, QuerySet) and rows._result_cache is None:  # an evaluated one has its keys
        shape.check_model(rows.model)
        return [Place(rows.db, key) for key in rows.values_list(key_of(shape).attname, flat=True)]
    if isinstance(rows, type) or not isinstance(rows, Iterable):
        raise InvalidRequest(
            f"{shape.name}: rows are a QuerySet or a list of {shape.table.__name__}, not {quoted(str(rows))}."
        )
    return [_place_of(shape, row) for row in rows]


def is_paged(rows: Any) -> bool:
    """True for rows that a query reads a page of: all in the order of their keys, as of no slice, union or list."""
    return isinstance(rows, QuerySet) and not (
        rows.query.is_sliced or rows.query.combinator or rows.query.distinct_fields
    )


def key_of(shape: Shape) -> Any:
    """Return the field with the key of the FeatureSet's own table, which a model that inherits from two may not have as `pk`."""
    return shape.table._meta.pk


def by_database(places: Iterable[Place]) -> dict[str | None, list[Any]]:
    """Return the keys of rows in each database, each once."""
    found: dict[str | None, dict[Any, None]] = defaultdict(dict)
    for place in places:
        found[place.using][place.key] = None
    return {using: list(keys) for using, keys in found.items()}


def chunks(keys: Sequence[Any], chunk_rows: int) -> Iterator[Sequence[Any]]:
    """Yield keys, so many at a time."""
    for start in range(0, len(keys), chunk_rows):
        yield keys[start : start + chunk_rows]


def _place_of(shape: Shape, row: Any) -> Place:
    if not isinstance(row, Model):
        raise InvalidRequest(f"{shape.name}: a row is a {shape.table.__name__}, not {quoted(type(row).__name__)}.")
    shape.check_model(type(row))
    key = getattr(row, key_of(shape).attname)
    if key is None:
        raise InvalidRequest(f"{shape.name}: {quoted(str(row))} is not saved, so the database knows nothing of it.")
    return Place(row._state.db, key_of(shape).to_python(key))  # of one that was just made it may be a text
