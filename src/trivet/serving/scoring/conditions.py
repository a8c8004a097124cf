"""Conditions: which rows of a table are meant, as texts, so that a run can keep them and ask the same rows again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldError, ValidationError
from django.db.models import Model, QuerySet

from trivet.core.errors import InvalidRequest, NotFound, did_you_mean, quoted

_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def find_table(label: str) -> type[Model]:
    """Return the Django model that `app.Model` names; raises `NotFound` with the closest match."""
    known = {model._meta.label: model for model in apps.get_models()}
    by_word = {name.lower(): model for name, model in known.items()}
    if label.lower() not in by_word:
        raise NotFound(f"there is no model {quoted(label)} in this project.{did_you_mean(label, known)}")
    return by_word[label.lower()]


def rows_where(table: type[Model], conditions: Mapping[str, str]) -> QuerySet[Any]:
    """Return the rows of a table that meet all conditions: lookups of Django, as plan__slug and joined_at__lt, to a text.

    A text is what the column makes of it; of `in` it is several, between commas, and of `isnull` true or false. Raises
    `InvalidRequest` for what the table cannot be asked.
    """
    rows: QuerySet[Any] = table._default_manager.all()
    for lookup, text in conditions.items():
        try:
            rows = rows.filter(**{lookup: _value(lookup, text)})
        except (FieldError, ValidationError, TypeError, ValueError) as error:
            said = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
            names = [field.name for field in table._meta.get_fields()]
            closest = did_you_mean(lookup.partition("__")[0], names) if isinstance(error, FieldError) else ""
            raise InvalidRequest(
                f"{table.__name__} cannot be asked for {quoted(f'{lookup}={text}')}: {said}{closest}"
            ) from None
    return rows


def _value(lookup: str, text: str) -> Any:
    word = lookup.rpartition("__")[2]
    if word == "in":
        return text.split(",")
    if word == "isnull":
        if text.lower() not in _TRUTHS:
            raise ValueError("isnull is true or false.")
        return _TRUTHS[text.lower()]
    return text
