"""Reading: the features of rows, whoever asks for them, by the same queries and through the same steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.db.models import F, Manager, QuerySet

from trivet.core.errors import InvalidRequest, TrivetError, quoted
from trivet.features.as_of import Moment, moment_of
from trivet.features.computed import fetching
from trivet.features.given import Given, Supplied, Supply
from trivet.features.paths import resolved
from trivet.features.rows import by_database, chunks, is_paged, key_of, places_of
from trivet.features.shape import METHOD, Declared, Shape
from trivet.features.statement import Statement, statement_of

CHUNK_ROWS = 2000  # read by one query: their keys stand in it
LARGEST_CHUNK = 20_000  # of a query: SQLite takes 32,766 values in one


@dataclass(frozen=True)
class Row:
    """One row: its primary key, its features by name, and what came along."""

    key: Any
    values: dict[str, Any]
    also: dict[str, Any]


@dataclass(frozen=True)
class RefusedRow:
    """One row of which a feature refuses the value, and what it says."""

    key: Any
    message: str


class MethodRaised(RuntimeError):
    """The method of a feature raised what is the cause of this, which says of which row."""


class Reading:
    """One way to read features: of which shape, as of which moment, and what comes along.

    Raises `InvalidRequest` for a moment that is none, for what comes along and is no column, and for what is given and is no
    `f.Given`, or is not and has to be.
    """

    def __init__(
        self,
        shape: Shape,
        as_of: Any,
        maker: Declared,
        also: Sequence[str] = (),
        given: Supplied = None,
    ) -> None:
        self._shape, self._maker, self._also = shape, maker, tuple(also)
        self._supply = Supply(shape.name, shape.features, given)
        self._moment: Moment = moment_of(as_of, shape.table)
        for path in self._also:
            found = resolved(shape.table, path)
            if isinstance(found, str) or found.rest or found.is_to_many:
                raise InvalidRequest(
                    f"also: {found if isinstance(found, str) else f'{quoted(path)} is no column of a row.'}"
                )
            if path in shape.features:
                raise InvalidRequest(
                    f"also: {quoted(path)} is a feature of {shape.name}, whose value is there under that name."
                )

    @property
    def condition(self) -> str:
        """What a row has to have beside being there, in words."""
        return f" whose {self._moment.path} is there" if self._moment.path else ""

    def of_queryset(self, queryset: Any, chunk_rows: int) -> Iterator[Row]:
        """Yield the rows of a QuerySet in the order of their keys, a page after another, each by two queries."""
        if isinstance(chunk_rows, bool) or not isinstance(chunk_rows, int) or not 1 <= chunk_rows <= LARGEST_CHUNK:
            raise InvalidRequest(f"chunk_rows is {quoted(str(chunk_rows))}: 1 to {LARGEST_CHUNK:,} rows at a time.")
        rows = QuerySet(self._shape.table) if queryset is None else queryset
        rows = rows.all() if isinstance(rows, Manager) else rows
        if not is_paged(rows):
            for using, listed in by_database(places_of(self._shape, rows)).items():
                for some in chunks(sorted(listed), chunk_rows):
                    yield from self.of_keys(some, using)
            return
        self._shape.check_model(rows.model)
        if self._moment.path:
            rows = rows.filter(**{f"{self._moment.path}__isnull": False})
        key = key_of(self._shape).attname
        keys_of = rows.order_by(key).values_list(key, flat=True)
        keys = list(keys_of[:chunk_rows])
        while keys:
            yield from self.of_keys(keys, rows.db)
            keys = list(keys_of.filter(**{f"{key}__gt": keys[-1]})[:chunk_rows])

    def of_keys(self, keys: Sequence[Any], using: str | None) -> Iterator[Row]:
        """Yield the rows with some keys, in the order of these, by one query; those that are gone are left out."""
        for instance, line, alias in self._read(keys, using):
            yield self._row(instance, line, alias)

    def of_each_key(self, keys: Sequence[Any], using: str | None) -> Iterator[Row | RefusedRow]:
        """Yield what `of_keys` does, and in the place of a row that a feature refuses, or whose method raises, why."""
        for instance, line, alias in self._read(keys, using):
            key = line["pk"] if instance is None else instance.pk
            try:
                yield self._row(instance, line, alias)
            except InvalidRequest as error:
                yield RefusedRow(key, told_of(self._shape, error))
            except MethodRaised as error:
                yield RefusedRow(key, str(error))

    def _read(self, keys: Sequence[Any], using: str | None) -> Iterator[tuple[Any, dict[str, Any], str]]:
        """Yield what the database says of each row: its instance, where methods read one, its values and its database."""
        if len(keys) == 1 and self._moment.fixed is not None and not self._also:
            alias = using or router.db_for_read(self._shape.table)
            statement = statement_of(self._maker, self._shape, alias)
            if statement is not None:
                yield from self._by_statement(statement, keys[0], self._moment.fixed, alias)
                return
        yield from self._by_query(keys, using)

    def _by_statement(
        self, statement: Statement, key: Any, moment: datetime, using: str
    ) -> Iterator[tuple[Any, dict[str, Any], str]]:
        line = statement.line(key, moment, using)
        if line is None:
            return
        instance = None
        if self._shape.methods:
            pk, table = key_of(self._shape).attname, self._shape.table
            given = {**{name: line[name] for name in statement.columns}, pk: line["pk"]}
            names = [field.attname for field in table._meta.concrete_fields if field.attname in given]
            instance = table.from_db(using, names, [given[name] for name in names])
        yield instance, line, using

    def _by_query(self, keys: Sequence[Any], using: str | None) -> Iterator[tuple[Any, dict[str, Any], str]]:
        rows: Any = QuerySet(self._shape.table, using=using).filter(pk__in=keys)
        if self._moment.path:
            rows = rows.filter(**{f"{self._moment.path}__isnull": False})
        table, features = self._shape.table, self._shape.features
        asked = {alias: features[name].expression(table, self._moment) for alias, name in self._shape.aliases.items()}
        asked |= {f"trivet_also_{place}": F(path) for place, path in enumerate(self._also)}
        if self._moment.path:
            asked["trivet_as_of"] = self._moment.here
        rows = rows.order_by("pk").annotate(**asked)
        if self._shape.methods:
            rows = fetching(table, rows, list(self._shape.methods.values()))
            found = [(row, {alias: getattr(row, alias) for alias in asked}) for row in rows]
        else:
            found = [(None, line) for line in rows.values("pk", *asked)]
        yield from ((instance, line, rows.db) for instance, line in found)

    def _row(self, instance: Any, line: dict[str, Any], using: str) -> Row:
        key = line["pk"] if instance is None else instance.pk
        moment = line["trivet_as_of"] if self._moment.fixed is None else self._moment.fixed
        raw = {
            name: self._shape.features[name].read(line[alias], moment) for alias, name in self._shape.aliases.items()
        }
        raw |= {name: self._made(name, instance, moment, using) for name in self._shape.methods}
        also = {path: line[f"trivet_also_{place}"] for place, path in enumerate(self._also)}
        return Row(key, self._settled(key, raw), also)

    def _settled(self, key: Any, raw: dict[str, Any]) -> dict[str, Any]:
        shape = self._shape
        try:
            said = raw | self._supply.of(key)
            return {
                name: (one.given if isinstance(one, Given) else one.settled)(name, said[name], shape.kinds[name])
                for name, one in shape.features.items()
            }
        except InvalidRequest as error:
            where = f"{shape.name}, {shape.table.__name__} {key}"
            raise InvalidRequest(f"{where}: {error.message}", code=error.code, field=error.field) from error

    def _made(self, name: str, instance: Any, moment: datetime, using: str) -> Any:
        """Return what the method of a feature returns for a row, which may not ask the database."""

        def refuse(*_: Any) -> NoReturn:
            raise ImproperlyConfigured(
                f"{self._shape.name}.{METHOD}{name} asks the database, which it would once for each row. Name the"
                f" columns and relations that it reads: {name} = f.Method(needs=[...])."
            )

        with connections[using].execute_wrapper(refuse):
            try:
                return getattr(self._maker(moment), METHOD + name)(instance)
            except (TrivetError, ImproperlyConfigured):
                raise
            except Exception as error:
                said = "" if self._shape.features[name].sensitive else f": {error}"
                raise MethodRaised(
                    f"{self._shape.name}.{METHOD}{name} raised {type(error).__name__} for"
                    f" {self._shape.table.__name__} {instance.pk}{said}"
                ) from error


def told_of(shape: Shape, error: InvalidRequest) -> str:
    """Return why a row was refused, for who may see its key: without the value of a feature that is sensitive."""
    feature = shape.features.get(error.field or "")
    if feature is None or not feature.sensitive:
        return error.message
    return f"{shape.name}: {quoted(error.field)} is refused; it is sensitive, so its value is not told."
