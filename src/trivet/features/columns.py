"""Columns: features that stand in the row itself, or in one that a foreign key leads to."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, get_args

import msgspec
from django.conf import settings
from django.db.models import BooleanField, DateField, DateTimeField, F, Model
from django.utils import timezone

from trivet.core.errors import InvalidRequest, quoted
from trivet.core.signature import Input, Unknown
from trivet.features.as_of import Moment, day_of
from trivet.features.feature import Feature, Kind, datatype_of
from trivet.features.paths import Path, resolved

PARTS = ("hour", "weekday", "month")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, eq=False)
class Column(Feature):
    """What stands in a column: a number, a truth or a text, by the field's own type. The path may go through foreign keys."""

    path: str

    def source_problems(self, table: type[Model]) -> Iterator[str]:
        """Yield what is wrong with the path."""
        found = resolved(table, self.path)
        if isinstance(found, str):
            yield found
        elif found.is_to_many:
            yield (
                f"{quoted(self.path)} of {table.__name__} goes to many rows. One value of them is f.Newest, or f.Count,"
                " f.Sum, f.Avg, f.Min, f.Max, f.Exists."
            )
        elif found.rest:
            yield f"{quoted(self.path)} of {table.__name__} is no field."
        elif found.field.is_relation and not self._is_key(found):
            yield f"{quoted(self.path)} of {table.__name__} is a relation: name a column behind it, as {self.path + '__pk'!r}."
        else:
            yield from self.field_problems(found.field, table)

    def field_problems(self, field: Any, table: type[Model]) -> Iterator[str]:
        """Yield why a feature of this sort takes nothing from `field`."""
        if datatype_of(self._column(field)) is None:
            yield (
                f"{quoted(self.path)} of {table.__name__} is a {type(field).__name__}, not a number, a truth or a text."
                + (" Time is f.DaysSince, f.HoursSince or f.Part." if isinstance(field, DateField) else "")
            )

    def raw_kind(self, table: type[Model]) -> Kind:
        """Return the field's datatype, and whether it, or a foreign key before it, may be empty."""
        path = self.ending(table)
        return Kind(datatype_of(self._column(path.field)) or "BYTES", path.is_nullable)

    def expression(self, table: type[Model], moment: Moment) -> Any:  # noqa: ARG002  (a column has no past)
        """Return the column."""
        return F(self.path)

    def ending(self, table: type[Model]) -> Path:
        """Return where the path leads; it was found before."""
        found = resolved(table, self.path)
        if isinstance(found, str):
            raise TypeError(found)
        return found

    def _is_key(self, found: Path) -> bool:
        """True where the path names a foreign key's own column, as `plan_id`."""
        return self.path.rpartition("__")[2] == getattr(found.field, "attname", None)

    @staticmethod
    def _column(field: Any) -> Any:
        return field.target_field if field.is_relation else field


@dataclass(frozen=True, eq=False)
class Category(Column):
    """A text of a known set. `unknown` is what happens to another: refused, taken as missing, or passed on."""

    _: KW_ONLY
    choices: Sequence[str] | None = None
    unknown: Unknown = "reject"

    def source_problems(self, table: type[Model]) -> Iterator[str]:
        """Yield what is wrong with the path, the choices, and what is done with others."""
        yield from super().source_problems(table)
        said: Any = self.choices  # of whatever type somebody wrote
        is_list = isinstance(said, list | tuple) and said and all(isinstance(one, str) for one in said)
        if said is not None and (not is_list or len(set(said)) < len(said)):
            yield f"choices is {quoted(str(said))}: a list of different texts."
        if self.unknown not in get_args(Unknown):
            yield f"unknown is {quoted(str(self.unknown))}: 'reject', 'missing' or 'pass'."

    def fitting_problems(self, table: type[Model]) -> Iterator[str]:
        """Yield what is wrong with what fills in for a missing one."""
        yield from super().fitting_problems(table)
        if self.fills and self.choices is not None and self.missing not in self.choices:
            yield f"missing is {quoted(str(self.missing))}, which is none of choices."

    def raw_kind(self, table: type[Model]) -> Kind:
        """Return a text, missing also where one of no choice is taken for that."""
        loses = self.choices is not None and self.unknown == "missing"
        return Kind("BYTES", self.ending(table).is_nullable or loses)

    def input(self, name: str, kind: Kind) -> Input:
        """Return the feature as an input, with its choices."""
        categories = tuple(self.choices) if self.choices is not None else None
        return msgspec.structs.replace(super().input(name, kind), categories=categories, unknown=self.unknown)

    def settled(self, name: str, value: Any, kind: Kind) -> Any:
        """Return a choice, or None. Raises `InvalidRequest` for what is refused."""
        if value is None or self.choices is None or str(value) in self.choices or self.unknown == "pass":
            return super().settled(name, value, kind)
        if self.unknown == "missing":
            return super().settled(name, None, kind)
        raise InvalidRequest(
            f"{quoted(name)} is {quoted(str(value))}. Known: {', '.join(self.choices)}."
            ' To accept unseen values declare unknown="missing".',
            code="UNKNOWN_CATEGORY",
            field=name,
        )


@dataclass(frozen=True, eq=False)
class Boolean(Column):
    """A truth, of a BooleanField."""

    def field_problems(self, field: Any, table: type[Model]) -> Iterator[str]:
        """Yield that it is no truth."""
        if not isinstance(field, BooleanField):
            yield f"{quoted(self.path)} of {table.__name__} is a {type(field).__name__}, not a BooleanField."


@dataclass(frozen=True, eq=False)
class DaysSince(Column):
    """Days from a time in the row to `as_of`, below zero for one that is still to come. Of a date: whole days."""

    _: KW_ONLY
    unit: str = "days"
    length = DAY

    def field_problems(self, field: Any, table: type[Model]) -> Iterator[str]:
        """Yield that it is no time."""
        if not isinstance(field, DateField):
            yield f"{quoted(self.path)} of {table.__name__} is a {type(field).__name__}, not a date or a time."

    def raw_kind(self, table: type[Model]) -> Kind:
        """Return a number, missing where the time is."""
        return Kind("FP64", self.ending(table).is_nullable)

    def read(self, raw: Any, moment: datetime) -> Any:
        """Return how long before `moment` it was."""
        if raw is None:
            return None
        if not isinstance(raw, datetime):
            return (day_of(moment) - raw) / self.length
        return (moment - raw) / self.length


@dataclass(frozen=True, eq=False)
class HoursSince(DaysSince):
    """Hours from a time in the row to `as_of`, below zero for one that is still to come."""

    _: KW_ONLY
    unit: str = "hours"
    length = HOUR


@dataclass(frozen=True, eq=False)
class Part(Column):
    """The `hour` (0 to 23), `weekday` (0 is Monday) or `month` (1 to 12) of a time, in a time zone: by default the project's."""

    part: str
    _: KW_ONLY
    time_zone: str | None = None

    def source_problems(self, table: type[Model]) -> Iterator[str]:
        """Yield what is wrong with the path, the part or the time zone."""
        yield from super().source_problems(table)
        if self.part not in PARTS:
            yield f"{quoted(str(self.part))} is no part of a time: {', '.join(PARTS)}."
        try:
            self.zone()
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError):
            yield f"time_zone is {quoted(str(self.time_zone))}: a name such as 'Europe/Berlin'."
        if self.time_zone is not None and not settings.USE_TZ:
            yield (
                f"time_zone is {quoted(str(self.time_zone))}, and with USE_TZ = False nothing says in which one a time"
                " stands: leave time_zone out, or set USE_TZ = True."
            )

    def field_problems(self, field: Any, table: type[Model]) -> Iterator[str]:
        """Yield that it is no time that has this part."""
        kind = DateTimeField if self.part == "hour" else DateField
        if not isinstance(field, kind):
            yield f"{quoted(self.path)} of {table.__name__} is a {type(field).__name__}, which has no {self.part}."
        elif self.time_zone is not None and not isinstance(field, DateTimeField):
            yield f"{quoted(self.path)} of {table.__name__} is a day, the same in every time zone: leave time_zone out."

    def raw_kind(self, table: type[Model]) -> Kind:
        """Return a whole number, missing where the time is."""
        return Kind("INT64", self.ending(table).is_nullable)

    def zone(self) -> tzinfo:
        """Return the time zone that it is the part in."""
        return zoneinfo.ZoneInfo(self.time_zone) if self.time_zone is not None else timezone.get_default_timezone()

    def read(self, raw: Any, moment: datetime) -> Any:  # noqa: ARG002  (a part is of the time alone)
        """Return the part."""
        if raw is None:
            return None
        if isinstance(raw, datetime) and settings.USE_TZ:
            raw = raw.astimezone(self.zone())
        return raw.weekday() if self.part == "weekday" else getattr(raw, self.part)
