"""Paths: where a name such as `plan__slug` leads from a model, through relations to a field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model, Q

from trivet.core.errors import did_you_mean, quoted


class Path(NamedTuple):
    """Where a path leads: the fields it goes through, and what follows the last of them, which may be lookups."""

    fields: tuple[Any, ...]  # of whatever type, also the other ends of relations
    rest: tuple[str, ...]

    @property
    def field(self) -> Any:
        """The field at its end."""
        return self.fields[-1]

    @property
    def is_to_many(self) -> bool:
        """True where a row has several at its end."""
        return any(is_to_many(field) for field in self.fields)

    @property
    def is_nullable(self) -> bool:
        """True where a row may have nothing at its end. The other end of a one-to-one relation may be missing."""
        return any(field.null for field in self.fields)


def is_to_many(field: Any) -> bool:
    """True where a row has several of `field`: the other end of a foreign key, or either end of a many-to-many relation."""
    return bool(field.one_to_many or field.many_to_many)


def resolved(table: type[Model], path: Any) -> Path | str:
    """Return where `path` leads, or what is wrong with it."""
    if not isinstance(path, str):  # as a class or a field, which somebody wrote in its place
        return f"{quoted(str(path))} is no path of a field."
    parts, model = path.split("__"), table
    fields: list[Any] = []
    for place, part in enumerate(parts):
        try:
            following: Any = model._meta.pk if part == "pk" else model._meta.get_field(part)
        except FieldDoesNotExist:
            last = fields[-1] if fields else None
            is_lookup = last is not None and (last.get_lookup(part) or last.get_transform(part))
            return Path(tuple(fields), tuple(parts[place:])) if is_lookup else no_field(model, part)
        fields.append(following)
        if not isinstance(following.related_model, type):
            return Path(tuple(fields), tuple(parts[place + 1 :]))
        model = following.related_model
    return Path(tuple(fields), ())


def no_field(model: type[Model], name: str) -> str:
    """Return the sentence for a name that `model` has no field of, with the closest one."""
    known = [field.name for field in model._meta.get_fields()]
    return f"{model.__name__} has no field {quoted(name)}.{did_you_mean(name, known)}"


def leaves(condition: Q) -> Iterator[str]:
    """Yield the paths that a condition is about; expressions have none."""
    for child in condition.children:
        if isinstance(child, Q):
            yield from leaves(child)
        elif isinstance(child, tuple):
            yield child[0]
