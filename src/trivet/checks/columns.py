"""What `manage.py check` says of columns that predictions are written into."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  (Django's name)
from django.core.exceptions import ImproperlyConfigured

from trivet import conf
from trivet.checks.schema import asked_database
from trivet.core.decisions import gives_score
from trivet.features import findings
from trivet.features.predicted_field import ON_COMMIT, columns_of_models
from trivet.features.predictor import name_of, predictors


def check_predicted_fields(**_: Any) -> list[CheckMessage]:
    """E017: a PredictedField is of a model of which nothing says what a row of its table is asked with."""
    hint = "How a column and a Predictor go together: docs/how-to/score-a-table.md."
    return [Error(problem, hint=hint, id="trivet.E017") for problem in findings.predicted_fields()]


def check_declared_outputs(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """W019: a Predictor declares an output that the champion of its model does not give (`check --database`)."""
    versions = apps.get_model("trivet", "ModelVersion")
    outputs = {name_of(predictor): predictor.output for predictor in predictors if predictor.output is not None}
    database = asked_database(versions, databases) if outputs else None
    if database is None:
        return []
    champions = versions._default_manager.using(database).filter(aliases__name="champion", model__name__in=outputs)
    return [
        Warning(
            f"{one} does not fit output = f.{type(outputs[one.model.name]).__name__} of its Predictor: {problem}.",
            hint="Correct the Predictor, or push a version that answers so.",
            id="trivet.W019",
        )
        for one in champions.select_related("model")
        if (problem := findings.unfit_output(outputs[one.model.name], one.read_signature()))
    ]


def check_task_backend(**_: Any) -> list[CheckMessage]:
    """W005: a column follows its rows by tasks, and these run in the request that saves, or cannot run at all."""
    columns = [
        f"{table._meta.label}.{field.name}" for table, field in columns_of_models() if field.refresh == ON_COMMIT
    ]
    problem = _problem_of_tasks() if columns else ""
    hint = "A backend with workers in TASKS, which TRIVET_TASKS names: docs/how-to/score-a-table.md."
    return [
        Warning(f'{column} has refresh="on_commit", and {problem}.', hint=hint, id="trivet.W005")
        for column in columns
        if problem
    ]


def _problem_of_tasks() -> str:
    """Return why tasks would not run elsewhere; empty where they do, or where that does not matter yet."""
    if find_spec("django.tasks") is None and find_spec("django_tasks") is None:
        return "this Django has no tasks: install django-tasks"
    try:
        backend = settings.TASKS.get(conf.TASKS(), {}).get("BACKEND", "") if hasattr(settings, "TASKS") else ""
    except ImproperlyConfigured:
        return ""  # E002 tells
    runs_here = backend == "" or backend.endswith(".ImmediateBackend")
    return (
        "tasks run in the request that saves a row, which waits for the model"
        if runs_here and not settings.DEBUG
        else ""
    )


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
