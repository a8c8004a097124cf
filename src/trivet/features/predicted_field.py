"""PredictedField: what a model says of each row, as a column of the row's own table."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db.models import DateTimeField, FloatField, Model, PositiveIntegerField

from trivet.core.errors import did_you_mean, quoted

MANUAL, ON_COMMIT, NIGHTLY = "manual", "on_commit", "nightly"
REFRESHES = (MANUAL, ON_COMMIT, NIGHTLY)


class PredictedField(FloatField):
    """A column with what a model said of the row: `churn_risk = PredictedField("churn")`.

    Beside it stand `churn_risk_version`, the number of the version that said it, and `churn_risk_at`, when; all three are
    None until they are written, and in no form. `refresh` is when: "manual", when somebody asks by `trivet.score` or
    `trivet score`; "on_commit", also when a row was saved and committed, by a task (`trivet.tasks`, never inside `save()`;
    what `update()` and bulk writes change is not seen); "nightly", also each night, by a process that the keeper begins.

    The value is the probability of the class that is asked about, or the number, as in the log. It may have an index
    (`db_index=True`). To migrations they are three plain columns, so a project whose migrations have run does without Trivet.

    Raises `ValueError` for a `refresh` that is not known.
    """

    def __init__(self, predictor: str = "", *, refresh: str = MANUAL, **options: Any) -> None:
        if refresh not in REFRESHES:
            raise ValueError(
                f"PredictedField({predictor!r}): refresh is {quoted(str(refresh))}."
                f"{did_you_mean(str(refresh), REFRESHES)} Known: {', '.join(REFRESHES)}."
            )
        super().__init__(**{**options, "null": True, "blank": True, "editable": False})
        self.predictor, self.refresh = predictor, refresh
        self._version = PositiveIntegerField(null=True, blank=True, editable=False)  # made here to stand behind it
        self._at = DateTimeField(null=True, blank=True, editable=False)

    @property
    def version_name(self) -> str:
        """The name of the column with the version."""
        return f"{self.name}_version"

    @property
    def at_name(self) -> str:
        """The name of the column with the time."""
        return f"{self.name}_at"

    def contribute_to_class(self, cls: type[Model], name: str, private_only: bool = False) -> None:
        """Add the three columns."""
        super().contribute_to_class(cls, name, private_only)
        for beside, field in ((self.version_name, self._version), (self.at_name, self._at)):
            copy.copy(field).contribute_to_class(cls, beside)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        """Return a plain column of numbers: the others are found beside it."""
        name, _, arguments, options = super().deconstruct()
        return name, "django.db.models.FloatField", list(arguments), dict(options)

    def clone(self) -> Any:  # a FloatField, which Django's stubs would not let it be
        """Return the plain column, as the state of migrations has it."""
        _, _, arguments, options = self.deconstruct()
        return FloatField(*arguments, **options)


def columns_of_models() -> Iterator[tuple[type[Model], PredictedField]]:
    """Yield the PredictedFields of all models of the project, each with the model whose table has it."""
    for model in apps.get_models():
        yield from ((model, field) for field in model._meta.local_fields if isinstance(field, PredictedField))
