"""Outcomes: where in a project's own tables it stands what a prediction came true as."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db.models import Model, Q

from trivet.core.errors import quoted


@dataclass(frozen=True)
class Outcome:
    """Finds the labels of a model's predictions in rows of your own tables, when one is saved and again each night.

    With `when` the label is True for a row that the condition holds of; with `value`, the path of a field, it is what stands
    there. `says` is what False and True are called, as `says=("stayed", "churned")` for a model whose classes are words: the
    labels are these words then. Without it True means the class that is called so, as true, 1 or yes, and of two words neither.
    `known` says of which rows it is known already: of those `when` does not hold of, the label is then False. Without it
    such a row says nothing yet, as does an empty `value`.

    A prediction is about a row of `model` (a class, or "app.Model") if its entity key is "app.model:" and what stands in the
    row's field `key`, which is unique. A one-to-one field stands for the entity at its other end.

    `at` is the path of a date or time at which it became true. It is a label of the predictions that were made before it, by
    at most `matures`: how late labels may come. Without `at` the time is when it was seen. A prediction of which nothing was
    said until it is older than `matures` gets the label `absent_means`, as False, and none where that is None.

    For example `Outcome(value="arr_delay", model="flights.Flight", matures=timedelta(days=2))`, or
    `Outcome(Q(left_at__isnull=False), at="left_at", model=Customer, matures=timedelta(days=90), absent_means=False)`.

    Making one raises nothing and asks no database: `manage.py check` says what is wrong with it (E013).
    """

    when: Q | None = None
    _: KW_ONLY
    value: str | None = None
    known: Q | None = None
    at: str | None = None
    model: type[Model] | str | None = None
    key: str = "pk"
    matures: timedelta | None = None
    absent_means: Any = None  # a label: a truth, a number or a text
    says: tuple[str, str] | None = None  # what False and True are called

    @property
    def table(self) -> type[Model]:
        """The model whose rows say it. Raises `LookupError`, `ValueError` or `TypeError` where there is no such model."""
        if self.model is None:
            raise LookupError("no model is named")
        table = apps.get_model(self.model) if isinstance(self.model, str) else self.model
        if not isinstance(table, type) or not issubclass(table, Model):
            raise TypeError(f"{quoted(str(table))} is no model of Django")
        return table

    @property
    def is_open(self) -> bool:
        """True where a row that says nothing may still say it, however late: nothing tells when that is over."""
        return self.value is None and self.known is None


@dataclass(frozen=True, slots=True)
class Truth:
    """What a row says now: `value` is None where it says nothing, `at` where it does not say when that became true."""

    value: Any  # a label
    at: datetime | None = None


def label_of(
    outcome: Outcome, made_at: datetime, truth: Truth, now: datetime, *, is_labelled: bool
) -> tuple[Any, datetime] | None:
    """Return what a row that says `truth` makes of a prediction made at `made_at`, and when that was true; None for nothing.

    `is_labelled`: its table has said something of that prediction before.
    """
    matured = made_at + (outcome.matures or timedelta())
    if truth.value is not None and truth.at is not None and truth.at < made_at:
        return None  # it was known before it was asked
    if truth.value is not None and (truth.at is None or truth.at <= min(matured, now)):
        is_settled = outcome.is_open and truth.at is None and is_labelled and matured <= now
        return None if is_settled else (_called(outcome, truth.value), truth.at or now)
    if outcome.absent_means is not None and matured <= now:
        return _called(outcome, outcome.absent_means), matured
    return None


def _called(outcome: Outcome, value: Any) -> Any:
    """Return the label for what a row says: of False and True the words for them, where there are any."""
    return value if outcome.says is None or not isinstance(value, bool) else outcome.says[value]
