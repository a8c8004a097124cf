"""Writing: one page, its cursor and its counts in one short transaction, so that a kill leaves all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from django.db import connections, router, transaction
from django.db.models import QuerySet
from django.utils import timezone

from trivet.control.scoring.models import MAX_ERRORS_KEPT, ScoringError, ScoringRun
from trivet.serving.scoring.answers import Page
from trivet.serving.scoring.asked import Asked
from trivet.serving.scoring.claims import hold


def write(run: ScoringRun, asked: Asked, page: Page, seconds: float) -> list[Any]:
    """Write the numbers of a page, move the run behind it, and return the keys that were written.

    Where the rows are in another database than the run, they are committed first: a kill in between writes them once more.
    Raises `Conflict` when somebody else has taken the run over.
    """
    runs = router.db_for_write(ScoringRun)
    with transaction.atomic(runs, durable=True), transaction.atomic(asked.writes_to, savepoint=False):
        hold(run)  # the first statement: it waits for whoever writes, and lets one that was taken over write nothing
        began = time.monotonic()
        there = _lock(asked, list(page.values))
        _update(asked, page, there)
        _keep_errors(run, page)
        run.cursor = str(page.keys[-1])
        run.done += len(there)
        run.errors += len(page.refused)
        run.gone += len(page.keys) - len(there) - len(page.refused)
        run.seconds += seconds
        run.save(using=runs, update_fields=["cursor", "done", "errors", "gone", "seconds", "longest_seconds"])
    run.longest_seconds = max(
        run.longest_seconds, time.monotonic() - began
    )  # with the commit, so the next page writes it
    return there


def _lock(asked: Asked, keys: Sequence[Any]) -> list[Any]:
    """Return which of `keys` are still there, in their order, and let nobody else change them until the page is written."""
    has_no_key = connections[asked.writes_to].features.has_select_for_no_key_update
    rows: Any = QuerySet(asked.target.table, using=asked.writes_to).filter(pk__in=keys).order_by("pk")
    return list(rows.select_for_update(no_key=has_no_key).values_list("pk", flat=True))


def _update(asked: Asked, page: Page, keys: Sequence[Any]) -> None:
    """Write the columns and no others: the same statement for each row, since only its number and its key differ."""
    connection = connections[asked.writes_to]
    fields: Sequence[Any] = asked.target.fields
    table = fields[0].model._meta
    key: Any = table.pk
    name = connection.ops.quote_name
    columns = ", ".join(f"{name(field.column)} = %s" for field in fields)
    statement = f"UPDATE {name(table.db_table)} SET {columns} WHERE {name(key.column)} = %s"  # noqa: S608  (names of fields)
    beside = [
        field.get_db_prep_save(value, connection)
        for field, value in zip(fields[1:], (asked.version, timezone.now()), strict=False)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            statement, [(page.values[one], *beside, key.get_db_prep_save(one, connection)) for one in keys]
        )


def _keep_errors(run: ScoringRun, page: Page) -> None:
    room = max(MAX_ERRORS_KEPT - run.errors, 0)
    kept = list(page.refused.items())[:room]
    ScoringError.objects.bulk_create(ScoringError(run=run, key=str(key), message=said) for key, said in kept)
