"""A feature: one value of a row, from the database's word to the one a model is trained on and asked with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from django.db.models import (
    BooleanField,
    CharField,
    DecimalField,
    Field,
    FloatField,
    GenericIPAddressField,
    IntegerField,
    Model,
    TextField,
    UUIDField,
)

from trivet.core.datatypes import INTEGER_BOUNDS, MISSABLE
from trivet.core.errors import InvalidRequest, quoted
from trivet.core.signature import Input, Outside
from trivet.features.as_of import Moment

PLAIN: dict[str, type] = {"BOOL": bool, "INT64": int, "FP64": float, "BYTES": str}  # datatype → a value in Python
LEAST_INTEGER, LARGEST_INTEGER = INTEGER_BOUNDS["INT64"]
NUMBERS = frozenset({"INT64", "FP64"})
DATATYPES_OF_FIELDS: tuple[tuple[tuple[type[Field], ...], str], ...] = (
    ((BooleanField,), "BOOL"),
    ((IntegerField,), "INT64"),
    ((FloatField, DecimalField), "FP64"),
    ((CharField, TextField, UUIDField, GenericIPAddressField), "BYTES"),
)


@dataclass(frozen=True)
class Kind:
    """What a feature's values are: a datatype, and whether one may be missing."""

    datatype: str
    is_nullable: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Feature:
    """What every feature may say beside what it is.

    `missing` is what a missing value becomes: "pass" leaves it, "reject" refuses the row, anything else stands in its place.
    `low` and `high` bound a number; one outside is left ("flag"), refused ("reject") or moved to the bound ("clip").
    `unit`, `title` and `reason` are for people. `sensitive` values are not shown; `mutable` ones may be varied in a what-if.
    """

    missing: Any = "pass"
    low: float | None = None
    high: float | None = None
    outside: Outside = "flag"
    unit: str = ""
    title: str = ""
    reason: str = ""
    sensitive: bool = False
    mutable: bool = False

    def problems(self, table: type[Model]) -> Iterator[str]:
        """Yield what is wrong with what is said, of rows of `table`."""
        yield from self.source_problems(table)
        if self.outside not in get_args(Outside):
            yield f"outside is {quoted(str(self.outside))}: 'flag', 'clip' or 'reject'."
        for name, bound in (("low", self.low), ("high", self.high)):
            if bound is not None and not _is_number(bound):
                yield f"{name} is {quoted(str(bound))}: a number."

    def fitting_problems(self, table: type[Model]) -> Iterator[str]:
        """Yield what does not fit the values there are, once `problems` has found nothing."""
        datatype = self.raw_kind(table).datatype
        if (self.low is not None or self.high is not None) and datatype not in NUMBERS:
            yield f"low and high are of numbers, and this is {in_words(datatype)}."
        if self.low is not None and self.high is not None and self.low > self.high:
            yield f"low is {self.low:g}, above high, {self.high:g}."
        if self.fills and not _is_plain(self.missing, datatype):
            yield f"{quoted(str(self.missing))} would stand for a missing value, and is not {in_words(datatype)}."
        elif self.fills and datatype in NUMBERS and self.outside != "flag" and self.is_outside(self.missing):
            yield (
                f"{quoted(str(self.missing))} would stand for a missing value, and is outside {_span(self.low, self.high)},"
                f" where outside={self.outside!r} lets none be: a value within, or outside='flag'."
            )
        if self.outside == "clip" and self.kind(table).datatype == "INT64":
            for name, bound in (("low", self.low), ("high", self.high)):
                if bound is not None and bound != int(bound):
                    yield f"{name} is {bound:g}, and whole numbers are moved to it: a whole number."

    def source_problems(self, table: type[Model]) -> Iterator[str]:
        """Yield what is wrong with where it takes its values from."""
        raise NotImplementedError

    def raw_kind(self, table: type[Model]) -> Kind:
        """Return what is read, before `missing` has its say."""
        raise NotImplementedError

    def expression(self, table: type[Model], moment: Moment) -> Any:
        """Return what is asked of the database for each row; None where nothing is."""
        raise NotImplementedError

    def read(self, raw: Any, moment: datetime) -> Any:  # noqa: ARG002  (what is relative to it needs it)
        """Return the value of what the database said of a row, whose moment is `moment`; None for a missing one."""
        return raw

    @property
    def fills(self) -> bool:
        """True where `missing` is a value that stands in the place of missing ones."""
        return not isinstance(self.missing, str) or self.missing not in ("pass", "reject")

    def kind(self, table: type[Model]) -> Kind:
        """Return what its values are. One that may be missing is FP64 where its own datatype has no form of that."""
        raw = self.raw_kind(table)
        if not raw.is_nullable or self.missing != "pass":
            return Kind(raw.datatype)
        return Kind(raw.datatype if raw.datatype in MISSABLE else "FP64", is_nullable=True)

    def input(self, name: str, kind: Kind) -> Input:
        """Return the feature as an input of a signature."""
        return Input(
            name=name,
            datatype=kind.datatype,
            shape=(-1, 1),
            nullable=kind.is_nullable,
            low=self.low,
            high=self.high,
            outside=self.outside,
            unit=self.unit,
            title=self.title,
        )

    def settled(self, name: str, value: Any, kind: Kind) -> Any:
        """Return a value, or None, as it is trained on and asked with. Raises `InvalidRequest` for one that is refused."""
        plain = plain_of(name, value, kind)
        if plain is not None:
            return self.bounded(name, plain)
        if self.fills:
            return plain_of(name, self.missing, kind)
        if not kind.is_nullable:
            raise InvalidRequest(f"{quoted(name)} is missing.", code="NULL_NOT_ALLOWED", field=name)
        return None

    def given(self, name: str, value: Any, kind: Kind) -> Any:
        """Return what somebody gave for it, as JSON or a form has that, as `settled` does. Raises `InvalidRequest`."""
        if isinstance(value, str):
            value = value.strip() or None
        return self.settled(name, value if value is None else _taken(name, value, kind.datatype), kind)

    def is_outside(self, value: Any) -> bool:
        """Return whether a value that is there is below `low` or above `high`."""
        return (self.low is not None and value < self.low) or (self.high is not None and value > self.high)

    def bounded(self, name: str, value: Any) -> Any:
        """Return a value that is there, within its bounds where these move it."""
        if self.outside == "flag" or not self.is_outside(value):
            return value
        if self.outside == "reject":
            raise InvalidRequest(
                f"{quoted(name)} is {quoted(str(value))}, outside {_span(self.low, self.high)}.",
                code="OUT_OF_RANGE",
                field=name,
            )
        bound = self.low if self.low is not None and value < self.low else self.high
        return type(value)(bound)


def datatype_of(field: Any) -> str | None:
    """Return the datatype of what stands in a column; None for what a model takes nothing of."""
    if field.is_relation:
        return None
    return next((datatype for types, datatype in DATATYPES_OF_FIELDS if isinstance(field, types)), None)


def plain_of(name: str, value: Any, kind: Kind) -> Any:
    """Return `value` as a plain one of the kind's datatype; None for a missing one, of which NaN is one.

    Nothing is rounded and no text is read as a number or a truth. Raises `InvalidRequest` for what is no such value.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    try:
        plain = PLAIN[kind.datatype](value)
    except (TypeError, ValueError, OverflowError):
        plain = None
    if plain is None or not _is_same(plain, value, kind.datatype):
        raise InvalidRequest(f"{quoted(name)} is {quoted(str(value))}, not {in_words(kind.datatype)}.", field=name)
    return plain


def _is_same(plain: Any, value: Any, datatype: str) -> bool:
    """Return whether `plain` says what `value` did: a number may lose digits beyond those of FP64, a text is any."""
    if datatype == "BYTES":
        return True
    if isinstance(value, str | bytes):
        return False
    if datatype == "INT64" and not LEAST_INTEGER <= plain <= LARGEST_INTEGER:
        return False
    return datatype == "FP64" or bool(plain == value)


def _taken(name: str, value: Any, datatype: str) -> Any:
    """Return a value from outside as one of `datatype`: texts are read where they are written as such, nothing is rounded."""
    if isinstance(value, float) and math.isnan(value):
        return None
    words = {"true": True, "false": False, "on": True, "1": True, "0": False}
    taken: Any = None
    if datatype == "BYTES":
        taken = value if isinstance(value, str) else None
    elif datatype == "BOOL":
        taken = words.get(value.lower()) if isinstance(value, str) else value if isinstance(value, bool) else None
    elif not isinstance(value, bool) and isinstance(value, int | float | str):
        taken = _number(value, whole=datatype == "INT64")
    if taken is None:
        raise InvalidRequest(f"{quoted(name)} is {quoted(str(value))}, not {in_words(datatype)}.", field=name)
    return taken


def _number(value: float | str, *, whole: bool) -> float | None:
    """Return the number that is given or written; None where there is none that is finite, or whole where it has to be."""
    try:
        number = (
            int(value) if isinstance(value, str) and whole else float(value) if not isinstance(value, int) else value
        )
        is_finite = math.isfinite(number)
    except (ValueError, OverflowError):  # a whole number of hundreds of digits is finite and fits nowhere
        return None
    if not is_finite or (whole and (number != int(number) or not LEAST_INTEGER <= number <= LARGEST_INTEGER)):
        return None
    return int(number) if whole else float(number)


def _is_plain(value: Any, datatype: str) -> bool:
    if datatype == "FP64":
        return _is_number(value)
    if datatype == "INT64" and type(value) is int:
        return LEAST_INTEGER <= value <= LARGEST_INTEGER
    return type(value) is PLAIN[datatype]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def in_words(datatype: str) -> str:
    return {"BOOL": "a truth", "INT64": "a whole number", "FP64": "a number", "BYTES": "a text"}[datatype]


def _span(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"at most {high:g}" if low is None and high is not None else f"at least {low:g}"
    return f"{low:g} to {high:g}"
