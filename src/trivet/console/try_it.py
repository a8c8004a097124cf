"""The form in which a person asks a model, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.translation import gettext as _

from trivet.console import form
from trivet.console.answer import Answer
from trivet.console.samples import recorded_rows
from trivet.console.subject import Subject
from trivet.core.examples import made_up_row

MANY_FIELDS = 32


@dataclass(frozen=True)
class TryIt:
    """The form, and what became of it."""

    model: str
    version: int
    query: str
    fields: tuple[form.Field, ...]
    source: str
    next_row: int | None
    answer: Answer | None = None
    problem: str = ""

    @property
    def has_many_fields(self) -> bool:
        """True when the fields are better small."""
        return len(self.fields) > MANY_FIELDS


def fresh_form(shown: Subject, row_number: int) -> TryIt | None:
    """Return the form filled with a recorded row, or with a made-up one; None where rows have no form."""
    if shown.version is None or shown.signature is None or not form.can_be_filled_in(shown.signature):
        return None
    recorded = recorded_rows(shown.version.digest)
    if recorded:
        place = row_number % len(recorded)
        row = recorded[place]
        source = _("Filled with recorded row %(number)s of %(count)s.") % {"number": place + 1, "count": len(recorded)}
        next_row = (place + 1) % len(recorded) if len(recorded) > 1 else None
    else:
        row, next_row = made_up_row(shown.signature), None
        source = _("Filled with values made up from the signature: this version recorded no rows.")
    return TryIt(
        model=shown.model.name,
        version=shown.version.number,
        query=shown.query,
        fields=form.fields(shown.signature, form.texts(row), {}),
        source=source,
        next_row=next_row,
    )


def filled_form(
    shown: Subject, values: Mapping[str, str], errors: Mapping[str, str], *, answer: Answer | None, problem: str
) -> TryIt | None:
    """Return the form as it was sent, with what became of it."""
    if shown.version is None or shown.signature is None:
        return None
    return TryIt(
        model=shown.model.name,
        version=shown.version.number,
        query=shown.query,
        fields=form.fields(shown.signature, values, errors),
        source="",
        next_row=0 if recorded_rows(shown.version.digest) else None,
        answer=answer,
        problem=problem,
    )
