"""Work for later, as tasks of Django: `from trivet import tasks; tasks.score.enqueue("churn", "customers.Customer")`.

They run where the workers of the project's `TASKS` run, by the backend that `TRIVET_TASKS` names; each takes and returns what
JSON has. On Django 5.2, which has no tasks, it takes the package `django-tasks`; without it this can be imported all the same,
since Celery and others import the `tasks` of every app, and to enqueue is an `ImportError`.
For any other queue write the one line of the task yourself: `trivet.score(...)` and `trivet.predict(...)` are plain calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from django.utils import timezone

from trivet import conf
from trivet.features.joining import join_all
from trivet.serving.predict import predict as predict_now
from trivet.serving.scoring.conditions import find_table, rows_where
from trivet.serving.scoring.one_row import refresh as refresh_now
from trivet.serving.scoring.scoring import BATCH_SIZE, walk


class Missing:
    """What stands in place of a task where there are none: whatever is wanted of it, the remedy is named."""

    def enqueue(self, *_: Any, **__: Any) -> NoReturn:
        """Raise `ImportError`."""
        raise ImportError(
            "trivet.tasks takes Django 6.0 or newer, or the package django-tasks (pip install django-tasks)."
        )

    aenqueue = using = call = acall = enqueue


def _without(**_: Any) -> Callable[[Any], Any]:
    return lambda _function: Missing()


try:
    from django.tasks import task
except ImportError:  # Django 5.2
    try:
        from django_tasks import task  # type: ignore[import-not-found, no-redef]  # the backport
    except ImportError:
        task = _without  # type: ignore[assignment]  # of the one thing that is made of it here


@task(backend=conf.TASKS())
def score(
    model: str,
    table: str,
    *,
    where: Mapping[str, str] | None = None,
    to: str = "",
    only_stale: bool = True,
    limit: int | None = None,
    user: str = "",
) -> dict[str, Any]:
    """Score rows of `table` ("customers.Customer") as `trivet score` does; return the run's number and counts.

    `where` holds lookups and texts, as `--where` does; `user` is the name of who is recorded. A run that was killed goes on
    behind its last rows when the same is enqueued again. Raises what `trivet.score` raises.
    """
    conditions = dict(where or {})
    rows = rows_where(find_table(table), conditions)
    run = walk(
        rows,
        model,
        to=to,
        only_stale=only_stale,
        batch_size=BATCH_SIZE,
        limit=limit,
        user=user or None,
        where=conditions,
    )
    return {"run": run.pk, "done": run.done, "errors": run.errors, "total": run.total}


@task(backend=conf.TASKS())
def predict(model: str, table: str, key: int | str, *, user: str = "") -> dict[str, Any]:
    """Ask `model` about the row of `table` with the primary key `key`; return the id, value, decision and version of the answer.

    It is in the log as any other. Raises what `trivet.predict` raises.
    """
    row = find_table(table)._default_manager.get(pk=key)
    said = predict_now(model, row, user=user or None)
    value = dict(said.value) if isinstance(said.value, Mapping) else said.value
    return {"id": str(said.id), "value": value, "decision": said.decision, "version": said.version}


@task(backend=conf.TASKS())
def refresh(table: str, key: int | str, field: str, *, using: str = "", user: str = "") -> bool:
    """Have a PredictedField of one row say what its model says now; False where that is gone, or knows better already.

    It is what a column with `refresh="on_commit"` enqueues when a row is saved. `using` is the alias of the row's database.
    Raises what `trivet.predict` raises; the column then stays as it is.
    """
    return refresh_now(find_table(table), key, field, using=using or None, user=user or None)


@task(backend=conf.TASKS())
def reconcile(model: str = "") -> dict[str, int]:
    """Look through the tables of Outcomes, of all models or one, as a keeper does each night; return the counts of labels."""
    counts: dict[str, int] = {}
    for step in join_all(timezone.now(), model=model, actor="process:tasks"):
        for (_, result), labels in step.counts.items():
            counts[result] = counts.get(result, 0) + labels
    return counts
