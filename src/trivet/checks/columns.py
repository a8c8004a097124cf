"""What `manage.py check` says of columns that predictions are written into."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  (Django's name)

from trivet.checks.schema import asked_database
from trivet.core.decisions import gives_score
from trivet.features import findings
from trivet.features.predicted_field import columns_of_models


def check_predicted_fields(**_: Any) -> list[CheckMessage]:
    """E017: a PredictedField is of a model of which nothing says what a row of its table is asked with."""
    hint = "How a column and a Predictor go together: docs/how-to/score-a-table.md."
    return [Error(problem, hint=hint, id="trivet.E017") for problem in findings.predicted_fields()]


def check_predicted_outputs(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """W017: a PredictedField is of a model whose champion gives no number for a row (`check --database`).

    A warning, for `migrate` checks too, and what the registry has changes without the code.
    """
    versions = apps.get_model("trivet", "ModelVersion")
    columns = list(columns_of_models())
    database = asked_database(versions, databases) if columns else None
    if database is None:
        return []
    champions = versions._default_manager.using(database).filter(aliases__name="champion").select_related("model")
    silent = {one.model.name: one for one in champions if not gives_score(one.read_signature())}
    return [
        Warning(
            f"{table._meta.label}.{field.name} is of {silent[field.predictor]}, which gives no number for a row.",
            hint="Nothing can be scored with it. A column takes a probability or a number: of two classes, or one target.",
            id="trivet.W017",
        )
        for table, field in columns
        if field.predictor in silent
    ]
