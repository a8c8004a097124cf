"""Statements: the query of one row's features, which Django makes once, to be asked again with another key and moment.

To make a query of some subqueries costs Django many milliseconds, a hundred times what the database then needs. So it is made
for three keys and three moments that differ in every part. Where the SQL is the same, and each parameter that is not is the
key, the moment or its day, as the database takes these, the others stay as they are. Of any other query there is no statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID
from weakref import WeakKeyDictionary

from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import CharField, IntegerField, QuerySet, UUIDField
from django.utils import timezone

from trivet.features.as_of import Moment, day_of
from trivet.features.paths import Path, resolved
from trivet.features.shape import Declared, Shape

MOMENTS = (  # before, in and after summer time, with nothing in common
    datetime(2001, 2, 3, 4, 5, 6, 123457, tzinfo=UTC),
    datetime(2013, 7, 18, 13, 26, 37, 580213, tzinfo=UTC),
    datetime(2019, 11, 27, 20, 49, 58, 908639, tzinfo=UTC),
)
KEYS: tuple[tuple[type[Any], tuple[Any, ...]], ...] = (
    (IntegerField, (12347, 23456, 31063)),  # a small one takes them, too
    (UUIDField, tuple(UUID(int=number << 64 | number) for number in (12347, 23456, 31063))),
    (CharField, ("k", "l", "m")),
)
MOST = 64  # that are kept of one FeatureSet: they differ by time zone, which may be a person's own

FORMS: dict[str, Callable[[Any, Any, datetime, Any], Any]] = {  # as the database takes them
    "key": lambda field, key, _moment, connection: field.get_db_prep_value(key, connection),
    "moment": lambda _field, _key, moment, connection: connection.ops.adapt_datetimefield_value(moment),
    "day": lambda _field, _key, moment, connection: connection.ops.adapt_datefield_value(day_of(moment)),
}

_Forms = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Statement:
    """One query: its SQL, its parameters with the places of those that change, and the expressions that it selects."""

    _query: Any  # of Django, which is only read
    _sql: str
    _parameters: tuple[Any, ...]
    _changing: tuple[tuple[int, str], ...]
    _selected: tuple[Any, ...]
    _names: tuple[str, ...]
    _key: Any  # the field
    columns: tuple[str, ...]  # that methods read, in the order of the model's

    def line(self, key: Any, moment: datetime, using: str) -> dict[str, Any] | None:
        """Return what the database says of the row with a key, by name; None where there is no such row."""
        connection = connections[using]
        with connection.cursor() as cursor:
            cursor.execute(self._sql, self._filled(key, moment, connection))
            found = cursor.fetchone()
        if found is None:
            return None
        values = list(found)
        for place, converters, expression in self._converters(connection):
            for convert in converters:
                values[place] = convert(values[place], expression, connection)
        return dict(zip(self._names, values, strict=True))

    def _filled(self, key: Any, moment: datetime, connection: Any) -> list[Any]:
        """Return the parameters for a key and a moment."""
        parameters = list(self._parameters)
        for place, form in self._changing:
            parameters[place] = FORMS[form](self._key, key, moment, connection)
        return parameters

    def _converters(self, connection: Any) -> list[tuple[int, Sequence[Callable[..., Any]], Any]]:
        """Return what makes values of what a connection brings. They are bound to it, so it keeps them, and they end with it."""
        kept = vars(connection).setdefault("_trivet_converters", WeakKeyDictionary())
        if self not in kept:
            found = self._query.get_compiler(connection=connection).get_converters(self._selected)
            kept[self] = [(place, converters, expression) for place, (converters, expression) in found.items()]
        return cast("list[tuple[int, Sequence[Callable[..., Any]], Any]]", kept[self])


def statement_of(feature_set: Declared, shape: Shape, using: str) -> Statement | None:
    """Return the statement of a FeatureSet for a database, made at the first time; None where it has none.

    An expression may depend on the time zones of the connection and of the request, so each has its own. Thread-safe: two that
    make one at once make the same.
    """
    known = vars(feature_set).get("_statements")
    if known is None:
        known = feature_set._statements = {}  # of this class alone
    place = (using, connections[using].timezone_name, settings.USE_TZ, timezone.get_current_timezone())
    if place not in known:
        if len(known) >= MOST:
            known.clear()
        known[place] = _made(shape, using)
    made: Statement | None = known.get(place)
    return made


def _made(shape: Shape, using: str) -> Statement | None:
    columns = _columns(shape)
    key = shape.table._meta.pk
    keys = next((keys for kind, keys in KEYS if isinstance(_ending(key), kind)), None)
    if columns is None or keys is None:
        return None
    moments = [one if settings.USE_TZ else one.replace(tzinfo=None) for one in MOMENTS]
    queries = [_asking(shape, one, moment, columns, using).query for one, moment in zip(keys, moments, strict=True)]
    compilers = [query.get_compiler(using) for query in queries]
    try:
        compiled = [compiler.as_sql() for compiler in compilers]
    except EmptyResultSet:
        return None
    forms = [_forms(key, one, moment, connections[using]) for one, moment in zip(keys, moments, strict=True)]
    changing = _changing([parameters for _, parameters in compiled], forms)
    if changing is None or len({sql for sql, _ in compiled}) > 1:
        return None
    query = queries[0]
    return Statement(
        query,
        compiled[0][0],
        tuple(compiled[0][1]),
        changing,
        tuple(expression for expression, _, _ in compilers[0].select),
        tuple(query.selected),
        key,
        columns,
    )


def _asking(shape: Shape, key: Any, moment: datetime, columns: Sequence[str], using: str) -> Any:
    """Return the QuerySet of the row with a key: its features as of a moment, and what methods read."""
    asked = {
        alias: shape.features[name].expression(shape.table, Moment(moment)) for alias, name in shape.aliases.items()
    }
    rows: Any = QuerySet(shape.table, using=using).filter(pk=key).order_by()
    return rows.annotate(**asked).values("pk", *columns, *asked)


def _columns(shape: Shape) -> tuple[str, ...] | None:
    """Return the columns of the row itself that methods read; None where one reads another row."""
    wanted = set()
    for path in (path for method in shape.methods.values() for path in method.needs):
        found = resolved(shape.table, path)
        if not isinstance(found, Path) or found.rest or len(found.fields) != 1:
            return None
        (field,) = found.fields
        if field.is_relation and path != getattr(field, "attname", None):
            return None
        wanted.add(field.attname)
    return tuple(field.attname for field in shape.table._meta.concrete_fields if field.attname in wanted)


def _changing(parameters: Sequence[Sequence[Any]], forms: Sequence[_Forms]) -> tuple[tuple[int, str], ...] | None:
    """Return which parameters are not the same in all queries, and what each is; None where one is nothing that is known."""
    if len({len(one) for one in parameters}) > 1:
        return None
    changing = []
    for place, values in enumerate(zip(*parameters, strict=True)):
        if all(_is_same(value, values[0]) for value in values[1:]):
            continue
        form = next((form for form in forms[0] if _are_form(values, forms, form)), None)
        if form is None:
            return None
        changing.append((place, form))
    return tuple(changing)


def _are_form(values: Sequence[Any], forms: Sequence[_Forms], form: str) -> bool:
    return all(_is_same(value, one[form]) for value, one in zip(values, forms, strict=True))


def _is_same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _forms(field: Any, key: Any, moment: datetime, connection: Any) -> dict[str, Any]:
    return {name: form(field, key, moment, connection) for name, form in FORMS.items()}


def _ending(field: Any) -> Any:
    """Return the field that a key is of, where it is also a foreign key."""
    while field.remote_field:
        field = field.target_field
    return field
