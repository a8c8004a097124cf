"""Aggregates: features of the many rows that belong to one, each asked for in a subquery of its own.

Joined aggregates multiply each other's rows. A subquery is about one relation, so each number is what it would be alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar, NamedTuple

from django.core.exceptions import FieldError, ValidationError
from django.db.models import (
    Aggregate,
    Avg as SqlAvg,
    Count as SqlCount,
    DateField,
    Exists as SqlExists,
    Max as SqlMax,
    Min as SqlMin,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum as SqlSum,
    Value,
)
from django.db.models.expressions import CombinedExpression
from django.utils import timezone

from trivet.core.errors import quoted
from trivet.features.as_of import AsOf, Moment, placed
from trivet.features.feature import NUMBERS, Feature, Kind, datatype_of
from trivet.features.paths import Path, is_to_many, leaves, resolved

UNKNOWN_TIME: Any = object()  # of `at`, where nobody says anything; None says that the rows have no time


class Relation(NamedTuple):
    """The relation that an aggregate is over: whose rows, how these name the one they belong to, and the column of them."""

    name: str  # "orders", or "account__orders"
    rows: type[Model]
    belongs: str  # the lookup of the rows
    owner: str  # what it equals in the row that features are of
    column: str  # of the rows; empty where only they are named
    ending: Path | None  # where the column is


@dataclass(frozen=True, eq=False)
class Related(Feature):
    """What every aggregate may say. `path` is a relation to many rows, and a column of these after it: "orders__total".

    `where` is a condition on these rows; it may mention `f.as_of`. `default` is the value where there are none, which is
    otherwise missing. `at` is the time at which such a row came to be: one that came after `as_of` does not count. It is also
    known from a window in `where` that begins before `as_of`, as `Q(placed_at__gte=f.as_of - timedelta(days=90))`, from `by` of
    `f.Newest`, and from other features over the same relation. `at=None` says that the rows have no time.
    """

    path: str
    _: KW_ONLY
    where: Q | None = None
    default: Any = None
    at: str | None = UNKNOWN_TIME

    needs_column: ClassVar[bool] = True

    def source_problems(self, table: type[Model]) -> Iterator[str]:
        """Yield what is wrong with the relation, its column, its condition and its time."""
        found = relation_of(table, self.path)
        if isinstance(found, str):
            yield found
            return
        yield from self.column_problems(found)
        where: Any = self.where  # of whatever type somebody wrote
        if isinstance(where, Q):
            yield from _condition_problems(found.rows, where)
        elif where is not None:
            yield f"where is {quoted(str(where))}: Q(...)."
        if self.default is not None and self.missing != "pass":
            yield "has default and missing, which say the same: one of them."
        if self.said_time is not UNKNOWN_TIME and self.said_time is not None:
            yield from _time_problems(found.rows, self.said_time)

    def column_problems(self, relation: Relation) -> Iterator[str]:
        """Yield what is wrong with the column."""
        name = relation.rows.__name__
        if not self.needs_column:
            if relation.column:
                yield f"{quoted(self.path)} names a column of {name}, and the rows are meant: {quoted(relation.name)}."
        elif relation.ending is None:
            yield f"{quoted(self.path)} names no column of {name}: {quoted(relation.name + '__column')}."
        elif relation.ending.rest:
            yield f"{quoted(relation.column)} of {name} is no field."
        else:
            yield from self.field_problems(relation.ending.field, relation)

    def field_problems(self, field: Any, relation: Relation) -> Iterator[str]:
        """Yield why nothing is made of this column."""
        if datatype_of(field) not in NUMBERS:
            yield f"{quoted(relation.column)} of {relation.rows.__name__} is a {type(field).__name__}, not a number."

    @property
    def event_time(self) -> Any:
        """The column that says when a row came to be, None for rows without a time, `UNKNOWN_TIME` where nobody says."""
        return self.said_time

    @property
    def said_time(self) -> Any:
        """The same, as `at` or a window in `where` says it."""
        if self.at is UNKNOWN_TIME and isinstance(self.where, Q):
            return next(_windows(self.where), UNKNOWN_TIME)
        return self.at

    def at_last(self, at: Any) -> Related:
        """Return this feature of rows that came to be at `at`, with its default as what a missing value becomes."""
        return replace(self, at=at, default=None, missing=self.missing if self.default is None else self.default)

    def rows(self, table: type[Model], moment: Moment) -> Any:  # a QuerySet of them
        """Return the rows that count, in a subquery about one row of `table`."""
        relation = known_relation(table, self.path)
        rows: Any = QuerySet(relation.rows).filter(**{relation.belongs: OuterRef(relation.owner)}).order_by()
        if isinstance(self.event_time, str):
            ending = resolved(relation.rows, self.event_time)
            rows = rows.filter(moment.is_after(self.event_time, ending.field if isinstance(ending, Path) else None))
        return rows if self.where is None else rows.filter(placed(self.where, moment.outside))


@dataclass(frozen=True, eq=False)
class _Aggregate(Related):
    """One number of many rows."""

    function: ClassVar[type[Aggregate]]

    def expression(self, table: type[Model], moment: Moment) -> Any:
        """Return the number of the rows that count, in a subquery of its own."""
        relation = known_relation(table, self.path)
        made = self.function(relation.column or "pk")
        return Subquery(self.rows(table, moment).values(relation.belongs).annotate(trivet=made).values("trivet"))

    def raw_kind(self, table: type[Model]) -> Kind:
        """Return the column's datatype, missing where there are no rows."""
        ending = known_relation(table, self.path).ending
        return Kind((datatype_of(ending.field) if ending else None) or "FP64", is_nullable=True)


@dataclass(frozen=True, eq=False)
class Count(_Aggregate):
    """How many rows there are."""

    function = SqlCount
    needs_column = False

    def read(self, raw: Any, moment: Any) -> Any:  # noqa: ARG002
        """Return the number: of no rows, zero."""
        return raw or 0

    def raw_kind(self, table: type[Model]) -> Kind:  # noqa: ARG002
        """Return a whole number, which is never missing."""
        return Kind("INT64")


@dataclass(frozen=True, eq=False)
class Sum(_Aggregate):
    """The sum of a column of the rows."""

    function = SqlSum


@dataclass(frozen=True, eq=False)
class Avg(_Aggregate):
    """The mean of a column of the rows."""

    function = SqlAvg

    def raw_kind(self, table: type[Model]) -> Kind:  # noqa: ARG002
        """Return a number, missing where there are no rows."""
        return Kind("FP64", is_nullable=True)


@dataclass(frozen=True, eq=False)
class Min(_Aggregate):
    """The smallest value of a column of the rows."""

    function = SqlMin


@dataclass(frozen=True, eq=False)
class Max(_Aggregate):
    """The largest value of a column of the rows."""

    function = SqlMax


@dataclass(frozen=True, eq=False)
class Exists(Related):
    """Whether there are rows."""

    needs_column = False

    def expression(self, table: type[Model], moment: Moment) -> Any:
        """Return whether one counts."""
        return SqlExists(self.rows(table, moment))

    def raw_kind(self, table: type[Model]) -> Kind:  # noqa: ARG002
        """Return a truth, which is never missing."""
        return Kind("BOOL")


@dataclass(frozen=True, eq=False)
class Newest(Related):
    """What stands in a column of the newest row, the one whose `by` is latest; of several, the one with the largest key."""

    _: KW_ONLY
    by: str

    def source_problems(self, table: type[Model]) -> Iterator[str]:
        """Yield also what is wrong with `by`."""
        yield from super().source_problems(table)
        found = relation_of(table, self.path)
        if not isinstance(found, str):
            yield from _time_problems(found.rows, self.by, "by")

    def field_problems(self, field: Any, relation: Relation) -> Iterator[str]:
        """Yield why nothing is made of this column."""
        if datatype_of(field) is None:
            name = relation.rows.__name__
            yield f"{quoted(relation.column)} of {name} is a {type(field).__name__}, not a number, a truth or a text."

    @property
    def event_time(self) -> Any:
        """When a row came to be: its `by`, where nothing else is said."""
        return self.by if self.said_time is UNKNOWN_TIME else self.said_time

    def expression(self, table: type[Model], moment: Moment) -> Any:
        """Return the column of the newest row that counts."""
        rows = self.rows(table, moment).filter(**{f"{self.by}__isnull": False}).order_by(f"-{self.by}", "-pk")
        return Subquery(rows.values(known_relation(table, self.path).column)[:1])

    def raw_kind(self, table: type[Model]) -> Kind:
        """Return the column's datatype, missing where there are no rows."""
        ending = known_relation(table, self.path).ending
        return Kind((datatype_of(ending.field) if ending else None) or "FP64", is_nullable=True)


def relation_of(table: type[Model], path: str) -> Relation | str:
    """Return the relation to many rows that `path` goes through, or what is wrong with it."""
    found = resolved(table, path)
    if isinstance(found, str):
        return found
    many = [place for place, field in enumerate(found.fields) if is_to_many(field)]
    if not many:
        return f"{quoted(path)} of {table.__name__} goes to no more than one row: f.Column."
    if len(many) > 1:
        return (
            f"{quoted(path)} of {table.__name__} goes to many rows of many rows. One relation at a time: f.Expression."
        )
    place, parts = many[0], path.split("__")
    relation = found.fields[place]
    ends = links(relation)
    if ends is None:
        return (
            f"{quoted('__'.join(parts[: place + 1]))} of {table.__name__} is a {type(relation).__name__}: f.Expression."
        )
    column = parts[place + 1 :]
    return Relation(
        name="__".join(parts[: place + 1]),
        rows=relation.related_model,
        belongs=ends[0],
        owner="__".join([*parts[:place], ends[1]]),
        column="__".join(column),
        ending=Path(found.fields[place + 1 :], found.rest) if column else None,
    )


def known_relation(table: type[Model], path: str) -> Relation:
    """Return the relation of a path in which nothing was found wrong."""
    found = relation_of(table, path)
    if isinstance(found, str):
        raise TypeError(found)
    return found


def links(relation: Any) -> tuple[str, str] | None:
    """Return how rows at the other end name the one they belong to, and what of it that is; None where no column does."""
    if relation.one_to_many and relation.auto_created and not relation.field.many_to_many:
        return relation.field.name, relation.field.target_field.name
    if relation.many_to_many:
        return (relation.field.name if relation.auto_created else relation.related_query_name()), "pk"
    return None


def _windows(condition: Q) -> Iterator[str]:
    """Yield the columns that a condition wants to be later than a moment counted back from `as_of`."""
    if condition.negated or condition.connector != Q.AND:
        return
    for child in condition.children:
        if isinstance(child, Q):
            yield from _windows(child)
        elif isinstance(child, tuple) and child[0].endswith(("__gte", "__gt")) and _is_before_as_of(child[1]):
            yield child[0].rpartition("__")[0]


def _is_before_as_of(value: Any) -> bool:
    if not isinstance(value, CombinedExpression) or value.connector != "-":
        return False
    left, right = value.get_source_expressions()
    back = right.value if isinstance(right, Value) else None
    return isinstance(left, AsOf) and isinstance(back, timedelta) and back > timedelta()


def _condition_problems(rows: type[Model], condition: Q) -> Iterator[str]:
    """Yield what is wrong with a condition on related rows."""
    problems = []
    for path in leaves(condition):
        found = resolved(rows, path)
        if isinstance(found, str):
            problems.append(f"where: {found}")
        elif found.is_to_many:
            problems.append(
                f"where: {quoted(path)} of {rows.__name__} goes to many rows, so that some would count twice."
            )
    yield from problems
    if not problems:
        try:
            QuerySet(rows).filter(placed(condition, Moment(timezone.now()).here))
        except (FieldError, ValidationError, TypeError, ValueError) as error:
            yield f"where: {rows.__name__} cannot be asked for that: {error}."


def _time_problems(rows: type[Model], path: str, name: str = "at") -> Iterator[str]:
    found = resolved(rows, path) if isinstance(path, str) else f"{quoted(str(path))} is no path of a field."
    if isinstance(found, str):
        yield f"{name}: {found}"
    elif found.rest or found.is_to_many or not isinstance(found.field, DateField):
        kind = type(found.field).__name__
        yield f"{name}: {quoted(path)} of {rows.__name__} is a {kind}, not a date or a time of each row."
