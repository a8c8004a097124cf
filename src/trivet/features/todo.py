"""To do: the place of a feature that a person has still to write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Model

from trivet.features.feature import Feature


@dataclass(frozen=True, eq=False)
class TODO(Feature):
    """What `trivet inspect --write` leaves to a person, with what is known of it. `manage.py check` refuses it (E011)."""

    hint: str = ""

    def source_problems(self, table: type[Model]) -> Iterator[str]:
        """Yield that it is to be filled."""
        known = f" ({self.hint})" if self.hint else ""
        yield f"is an f.TODO{known}: put a feature of {table.__name__} in its place, or f.Given(...) for what no table has."
