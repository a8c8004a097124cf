"""Computed: features that an expression of Django or a method of the FeatureSet makes of a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from django.core.exceptions import FieldError, ValidationError
from django.db.models import F, Model, QuerySet
from django.db.models.expressions import BaseExpression
from django.utils import timezone

from trivet.core.errors import quoted
from trivet.features.aggregates import links
from trivet.features.as_of import Moment, placed
from trivet.features.feature import PLAIN, Feature, Kind, datatype_of, plain_of
from trivet.features.paths import Path, is_to_many, resolved

DATATYPES = {plain: datatype for datatype, plain in PLAIN.items()}


@dataclass(frozen=True, eq=False)
class Expression(Feature):
    """What an expression of Django gives for the row; it may mention `f.as_of`. It may be missing, unless `missing` is said."""

    expr: Any

    def source_problems(self, table: type[Model]) -> Iterator[str]:
        """Yield why it cannot be asked for, or gives nothing for a model."""
        if not isinstance(self.expr, BaseExpression | F):
            yield f"is made of {quoted(str(self.expr))}: an expression of Django."
            return
        try:
            query = self._asking(table)
            made = query.annotations["trivet"]
            field = made.output_field
        except (FieldError, ValidationError, TypeError, ValueError, AttributeError) as error:
            yield f"{table.__name__} cannot be asked for that: {error}."
            return
        if made.contains_aggregate or made.contains_over_clause or _joins_many(query):
            yield "joins many rows, which multiplies those of others: f.Count, f.Sum, f.Avg, f.Min, f.Max or Subquery(...)."
        if datatype_of(field) is None:
            yield f"gives a {type(field).__name__}, not a number, a truth or a text."

    def raw_kind(self, table: type[Model]) -> Kind:
        """Return the datatype of what it gives."""
        made = self._asking(table).annotations["trivet"]
        return Kind(datatype_of(made.output_field) or "BYTES", is_nullable=True)

    def expression(self, table: type[Model], moment: Moment) -> Any:  # noqa: ARG002
        """Return it, with the moment in its place."""
        return placed(self.expr, moment.here)

    def _asking(self, table: type[Model]) -> Any:
        """Return the query that asks for it, as `trivet`."""
        return QuerySet(table).annotate(trivet=placed(self.expr, Moment(timezone.now()).here)).query


def _joins_many(query: Any) -> bool:
    """Return whether a row of the table is many of a query."""
    fields = [getattr(join, "join_field", None) for join in query.alias_map.values()]
    return any(field is not None and (field.one_to_many or field.many_to_many) for field in fields)


@dataclass(frozen=True, eq=False)
class Method(Feature):
    """What the method `get_NAME(self, row)` of the FeatureSet returns for a row, None for nothing; `self.as_of` is the moment.

    `needs` are the columns and relations that it reads, which are fetched for all rows together; reading another one is an
    error, since it would ask the database once for each row. `gives` is the type of that: bool, int, float or str; by
    default what the method says it returns (`-> bool`), and a number where it says nothing.
    """

    _: KW_ONLY
    needs: Sequence[str] = ()
    gives: type | None = None

    def source_problems(self, table: type[Model]) -> Iterator[str]:
        """Yield which of `needs` is not there, and a type that no feature has."""
        if not isinstance(self.needs, list | tuple) or not all(isinstance(path, str) for path in self.needs):
            yield f"needs is {quoted(str(self.needs))}: a list of paths."
            return
        for path in self.needs:
            found = resolved(table, path)
            if isinstance(found, str):
                yield f"needs: {found}"
            elif found.rest:
                yield f"needs: {quoted(path)} of {table.__name__} is no field."
        if self.gives is not None and self.gives not in DATATYPES:
            yield f"gives is {quoted(str(self.gives))}: bool, int, float or str."

    def raw_kind(self, table: type[Model]) -> Kind:  # noqa: ARG002
        """Return the datatype of its type; it may return None."""
        return Kind(DATATYPES[self.gives or float], is_nullable=True)

    def expression(self, table: type[Model], moment: Moment) -> None:
        """Return None: the database is asked for what it needs."""

    def settled(self, name: str, value: Any, kind: Kind) -> Any:
        """Return what the method returned, as `Feature.settled` does: a value of its type, also where that has no missing one."""
        return super().settled(name, plain_of(name, value, Kind(DATATYPES[self.gives or float])), kind)


def fetching(table: type[Model], rows: Any, methods: Sequence[Method]) -> Any:  # QuerySets
    """Return `rows` as instances that have what some methods need, and nothing else."""
    columns, joined, others, whole = ["pk"], [], [], []
    for path in (path for method in methods for path in method.needs):
        found = resolved(table, path)
        fields = found.fields if isinstance(found, Path) else ()
        many = next((place for place, field in enumerate(fields) if is_to_many(field)), len(fields))
        ones, names = fields[:many], [field.name for field in fields]
        columns += ["__".join(names[: place + 1]) for place in range(len(ones))]
        if depth := _joins(path, ones, is_at_end=many == len(fields)):
            joined.append("__".join(names[:depth]))
        if ones and depth == len(fields):
            whole.append("__".join([*names, ""]))
        if many < len(fields):
            others.append("__".join(_attribute(field) for field in fields[: _joins(path, fields)]))
            columns.append("__".join([*names[:many], (links(fields[many]) or ("", "pk"))[1]]))
    rows = rows.only(*(column for column in columns if not column.startswith(tuple(whole))))
    if joined:
        rows = rows.select_related(*joined)
    return rows.prefetch_related(*others)


def _joins(path: str, fields: Sequence[Any], *, is_at_end: bool = True) -> int:
    """Return through how many relations `fields` lead, of which the key alone, as `plan_id`, at the end of `path` is none."""
    relations = [field for field in fields if field.is_relation]
    is_key = is_at_end and path.rpartition("__")[2] == getattr(fields[-1], "attname", None)
    return len(relations) - (1 if is_key and fields[-1].is_relation else 0)


def _attribute(field: Any) -> str:
    """Return under which name an instance has what a relation leads to: `parcel_set`, where queries say `parcel`."""
    name = field.get_accessor_name() if field.auto_created and not field.concrete else field.name
    return str(name)
