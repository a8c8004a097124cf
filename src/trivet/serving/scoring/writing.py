"""Writing: rows, the run's cursor and its counts in one short transaction, so that a kill leaves all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db import OperationalError, connections, router, transaction
from django.db.models import QuerySet
from django.utils import timezone

from trivet.control.scoring.models import MAX_ERRORS_KEPT, ScoringError, ScoringRun
from trivet.core.errors import Unavailable, quoted
from trivet.serving.scoring.answers import Page
from trivet.serving.scoring.asked import Asked
from trivet.serving.scoring.claims import hold

LOCKING_MILLISECONDS = 300  # that a page waits for rows of others before it lets its own go; of each of its statements
FIRST_PAUSE_SECONDS = 0.05  # before it is tried again, then twice as long each time
PATIENCE_SECONDS = 60.0
LONG_SECONDS = 0.1  # that a transaction may hold its rows; what is left of the page then waits for the next one
SLICE_ROWS = 100  # between two looks at the clock
HELD = ("57014", "55P03", "40P01", "40001")  # PostgreSQL: canceled, lock not available, deadlock, serialization failure


def write(run: ScoringRun, asked: Asked, page: Page, seconds: float) -> Iterator[list[Any]]:
    """Write the numbers of a page, and move the run behind them; yield the keys of each transaction when it is committed.

    It takes one transaction, or more where one would hold its rows for long. Where others hold one of the rows, everything is
    let go and tried again a little later, so that nobody waits for the rest. Where the rows are in another database than the
    run, they are committed first: a kill in between writes them once more. `seconds` is what it took so far.
    Raises `Conflict` when somebody else has taken the run over, and `Unavailable` when a row is held for a minute.
    """
    rest: Sequence[Any] = page.keys
    while rest:
        began = time.monotonic()
        written, handled = _patiently(run, asked, page, rest, seconds)
        yield written
        rest = rest[handled:]
        seconds = time.monotonic() - began


def _patiently(run: ScoringRun, asked: Asked, page: Page, keys: Sequence[Any], seconds: float) -> tuple[list[Any], int]:
    given_up, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS
    while True:
        try:
            return _written(run, asked, page, keys, seconds)
        except OperationalError as error:
            if not _is_held_by_others(error):
                raise
            if time.monotonic() > given_up:
                raise Unavailable(
                    f"rows of {asked.target.label} behind {quoted(run.cursor)} are held by another transaction: {error}"
                ) from error
        time.sleep(pause)
        pause *= 2


def _written(run: ScoringRun, asked: Asked, page: Page, keys: Sequence[Any], seconds: float) -> tuple[list[Any], int]:
    """Write as many of `keys` as one transaction has time for; return which were written, and how many are done with."""
    runs = router.db_for_write(ScoringRun)
    written: list[Any] = []
    with transaction.atomic(runs, durable=True), transaction.atomic(asked.writes_to, savepoint=False):
        hold(run)  # the first statement: it waits for whoever writes, and lets one that was taken over write nothing
        began = time.monotonic()
        handled = 0
        while handled < len(keys) and (not handled or time.monotonic() - began < LONG_SECONDS):
            part = keys[handled : handled + SLICE_ROWS]
            there = _lock(asked, [key for key in part if key in page.values])
            _update(asked, page, there)
            written += there
            handled += len(part)
        refused = {key: page.refused[key] for key in keys[:handled] if key in page.refused}
        _keep_errors(run, refused)
        moved = {
            "cursor": str(keys[handled - 1]),
            "done": run.done + len(written),
            "errors": run.errors + len(refused),
            "gone": run.gone + handled - len(written) - len(refused),
            "seconds": run.seconds + seconds,
            "longest_seconds": run.longest_seconds,  # of those before: this one's is known when it is committed
            "seen_at": timezone.now(),  # not before the time in any of its rows: by it rows of other features are found stale
        }
        ScoringRun.objects.filter(pk=run.pk).update(**moved)
    for name, value in moved.items():  # now that it is so
        setattr(run, name, value)
    run.longest_seconds = max(run.longest_seconds, time.monotonic() - began)
    return written, handled


def _is_held_by_others(error: OperationalError) -> bool:
    """True where it failed for want of a lock, or was chosen as the victim of a deadlock."""
    return getattr(error.__cause__, "sqlstate", "") in HELD or "database is locked" in str(error)


def _lock(asked: Asked, keys: Sequence[Any]) -> list[Any]:
    """Return which of `keys` are still there, in their order, and let nobody else change them until the page is written."""
    connection = connections[asked.writes_to]
    if connection.vendor == "postgresql":  # who waits for one row holds those before it meanwhile
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {LOCKING_MILLISECONDS}")
    has_no_key = connection.features.has_select_for_no_key_update
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


def _keep_errors(run: ScoringRun, refused: Mapping[Any, str]) -> None:
    kept = list(refused.items())[: max(MAX_ERRORS_KEPT - run.errors, 0)]
    ScoringError.objects.bulk_create(ScoringError(run=run, key=str(key), message=said) for key, said in kept)
