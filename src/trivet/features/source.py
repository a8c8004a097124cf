"""Sources: the rows that an Outcome names, asked in one query for what they say of some entities."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import BooleanField, Exists, Field, Model, OneToOneField, OuterRef, Q, QuerySet, Value
from django.utils import timezone

from trivet.features.entities import entities_of, prefix_of, shares_key
from trivet.features.outcome import Outcome, Truth

LARGEST_KEY = 2**63 - 1  # that a database compares with a column of whole numbers


class Source:
    """The table of the Outcome of a model. Raises what `Outcome.table` does, and `FieldDoesNotExist` for its key."""

    def __init__(self, outcome: Outcome, model: str) -> None:
        self._outcome, self.table = outcome, outcome.table
        self._beside: type[Model] | None = None  # whose rows a one-to-one field is of
        entities = entities_of(self.table, model) if outcome.key == "pk" else self.table
        key: Any = entities._meta.pk if outcome.key == "pk" else self.table._meta.get_field(outcome.key)
        self._column = key.attname
        if isinstance(key, OneToOneField) and outcome.key != "pk":
            self._beside = entities = key.related_model
            owner = entities_of(entities, model)
            entities = owner if shares_key(entities, owner) else entities
            key = entities._meta.pk
        self._key: Field = key
        self.prefix = prefix_of(entities)

    def entity_key(self, row: Model) -> str:
        """Return the key of the entity that a row of the table is about."""
        return f"{self.prefix}{getattr(row, self._column)}"

    def truths(self, entity_keys: Collection[str], now: datetime, using: str | None = None) -> dict[str, Truth]:
        """Return what rows say of those of `entity_keys` that are there; of one that is gone nothing is known."""
        wanted = {value: key for key in entity_keys if (value := self._value(key)) is not None}
        if not wanted:
            return {}
        fields = [self._column, "trivet_holds", "trivet_known"]
        fields += [path for path in (self._outcome.value, self._outcome.at) if path is not None]
        rows = self._rows(self.table, using).filter(**{f"{self._column}__in": list(wanted)})
        found = {wanted[line[0]]: self._truth(line, now) for line in self._annotated(rows).values_list(*fields)}
        if self._beside is not None and len(found) < len(wanted):
            others = [value for value, key in wanted.items() if key not in found]
            there = self._rows(self._beside, using).filter(pk__in=others).values_list("pk", flat=True)
            found |= {wanted[value]: Truth(None) for value in there}
        return found

    @staticmethod
    def _rows(model: type[Model], using: str | None) -> Any:  # a QuerySet of it
        """Return all rows, also those that the model's own manager would leave out."""
        return QuerySet(model, using=using)

    def _annotated(self, rows: Any) -> Any:
        return rows.annotate(
            trivet_holds=self._holds(self._outcome.when), trivet_known=self._holds(self._outcome.known)
        )

    def _holds(self, condition: Q | None) -> Any:
        """Return whether `condition` holds as `filter` would have it: never for a null, and once however many rows it joins."""
        if condition is None:
            return Value(True, output_field=BooleanField())
        return Exists(QuerySet(self.table).filter(condition, pk=OuterRef("pk")))

    def _value(self, entity_key: str) -> Any:
        """Return what stands in the key's column for `entity_key`; None where that is no key of this table as it is written."""
        if not entity_key.startswith(self.prefix):
            return None
        text = entity_key.removeprefix(self.prefix)
        try:
            value = self._key.to_python(text)
        except ValidationError:
            return None
        if isinstance(value, int) and abs(value) > LARGEST_KEY:
            return None
        return value if str(value) == text else None

    def _truth(self, line: tuple[Any, ...], now: datetime) -> Truth:
        _, said, is_known, *rest = line
        value: Any = None
        if self._outcome.value is not None:
            value = _plain(rest.pop(0)) if is_known else None
        elif is_known and (said or self._outcome.known is not None):
            value = bool(said)
        return Truth(value, _moment(rest[0], now) if rest else None)


def _plain(value: Any) -> Any:
    """Return a column's value as a label; None for what is none, as the empty text of a CharField that is blank."""
    if isinstance(value, Decimal):
        value = float(value)
    if value == "":
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _moment(value: date | datetime | None, now: datetime) -> datetime | None:
    """Return the instant that a column says; a date is its end, and today is now."""
    if value is None or isinstance(value, datetime):
        return value
    end = datetime.combine(value + timedelta(days=1), time())
    end = timezone.make_aware(end) if timezone.is_aware(now) else end
    return min(end, now) if end - timedelta(days=1) <= now else end
