"""Targets: the column of a project's table that a run writes, and what stands beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, FloatField, Model

from trivet.core.errors import InvalidRequest, did_you_mean, quoted
from trivet.core.signature import enumerate_names
from trivet.features.entities import shares_key
from trivet.features.predicted_field import PredictedField


@dataclass(frozen=True)
class Target:
    """A column of numbers, and, of a PredictedField, the two beside it. `table` is the model whose rows are walked through."""

    table: type[Model]
    value: FloatField
    version: Field | None = None
    at: Field | None = None

    @property
    def label(self) -> str:
        """The table, as app.model."""
        return self.table._meta.label_lower

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that are written."""
        return tuple(field.name for field in self.fields)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns: the number, and of a PredictedField the version and the time."""
        return tuple(field for field in (self.value, self.version, self.at) if field is not None)


def find_target(table: type[Model], model: str, to: str = "") -> Target:
    """Return the column `to` of a table; without a name that of its only PredictedField of `model`.

    Raises `InvalidRequest` for a name that is no such column, or where none is said and there is not one.
    """
    table = table._meta.concrete_model or table
    name = table.__name__
    if len(getattr(table._meta, "pk_fields", ())) > 1:
        raise InvalidRequest(f"{name} has a primary key of several columns; a table is walked through by one.")
    own = [field.name for field in _predicted(table) if field.predictor == model]
    if not to and len(own) != 1:
        found = f"{enumerate_names(own)} are" if own else "nothing is"
        raise InvalidRequest(f"{found} a PredictedField of {quoted(model)} on {name}: say which column (to, --to).")
    try:
        field = table._meta.get_field(to or own[0])
    except FieldDoesNotExist:
        known = [one.name for one in table._meta.fields if isinstance(one, FloatField)]
        raise InvalidRequest(f"{name} has no field {quoted(to)}.{did_you_mean(to, known)}") from None
    check_key(table, field.model, f"{name}.{field.name} is a column of")
    if isinstance(field, PredictedField):
        if field.predictor != model:
            raise InvalidRequest(f"{name}.{field.name} is of {quoted(field.predictor)}, not of {quoted(model)}.")
        beside = (table._meta.get_field(one) for one in (field.version_name, field.at_name))
        return Target(table, field, *(one for one in beside if isinstance(one, Field)))
    if not isinstance(field, FloatField) or not field.null:
        raise InvalidRequest(
            f"{name}.{field.name} is no column that may be written: trivet.PredictedField({quoted(model)}), or a FloatField"
            " with null=True."
        )
    return Target(table, field)


def check_key(table: type[Model], owner: type[Model], said: str) -> None:
    """Raise `InvalidRequest` where a row of `table` has another key than its part in the table of `owner`, one of its parents."""
    if not shares_key(table, owner):
        raise InvalidRequest(
            f"{said} {owner.__name__}, of which the key is another than that of {table.__name__}: score"
            f" {owner.__name__} itself."
        )


def _predicted(table: type[Model]) -> Iterator[PredictedField]:
    return (field for field in table._meta.fields if isinstance(field, PredictedField))
