"""The walk: a page of keys, what the model says of them, one short transaction, a signal; and again from behind it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from trivet import signals
from trivet.control.scoring.models import RunState, ScoringRun
from trivet.core.errors import Conflict, InvalidRequest, Refused
from trivet.serving.predict import caller_of
from trivet.serving.scoring.answers import answer
from trivet.serving.scoring.asked import Asked, asked
from trivet.serving.scoring.claims import begin, check_no_transaction, claim, let_go, say_alive
from trivet.serving.scoring.writing import write

logger = logging.getLogger(__name__)

BATCH_SIZE = 2000  # rows that are read and predicted at once
Tell = Callable[[ScoringRun], None]
RowsWhere = Callable[[dict[str, str]], Any]  # conditions to a QuerySet


def score(
    queryset: Any,
    model: str,
    *,
    to: str = "",
    only_stale: bool = False,
    batch_size: int = BATCH_SIZE,
    limit: int | None = None,
    user: Any = None,
) -> ScoringRun:
    """Write what `model` says of each row of a QuerySet into the column `to`, and return the run: `done`, `total`, `errors`.

    `to` is a `PredictedField` of the model, with its version and time, or any other FloatField with null=True, then that
    column alone. `only_stale` leaves out rows that the same version wrote, with the same features and not longer ago than
    `Meta.max_age`. Rows are walked through by primary key, `batch_size` at a time, and written in short transactions,
    so no lock is held for long; one version answers for all of them. A row that is refused is kept with the run
    (`run.problems`) and stays as it is.

    A run that was killed or interrupted goes on behind the last rows that it wrote when the same is asked again within twelve
    hours: no row is written twice and none left out. Each transaction sends `rows_scored`. `user` is recorded as the caller.

    Raises `Conflict` while another process writes that column, and what `predict` raises, `InvalidRequest` of rows excepted.
    Blocks until all rows are done. It may not be called inside a transaction, which would hold all rows until its end.
    """
    return walk(queryset, model, to=to, only_stale=only_stale, batch_size=batch_size, limit=limit, user=user)


def walk(
    queryset: Any,
    model: str,
    *,
    to: str,
    only_stale: bool,
    batch_size: int,
    limit: int | None,
    user: Any,
    where: dict[str, str] | None = None,
    tell: Tell = lambda _run: None,
) -> ScoringRun:
    """The same, for a door: `where` is what it made the QuerySet of, and `tell` is called after each page."""
    if batch_size < 1:
        raise InvalidRequest(f"batch_size is {batch_size}: at least 1.")
    wanted = asked(queryset, model, to=to, only_stale=only_stale, limit=limit)
    check_no_transaction(wanted)
    run = begin(wanted, actor=caller_of(user), batch_size=batch_size, where=where)
    return _carried_out(run, replace(wanted, stale_before=run.stale_before), user, tell)


def resume(run: ScoringRun, rows_where: RowsWhere, *, user: Any, tell: Tell) -> ScoringRun:
    """Go on with a run that was interrupted or killed, with the conditions that it keeps, and the version it began with.

    Raises `Refused` for one that has ended, that code began, or of which the features have changed; `Conflict` while it runs.
    """
    if run.state not in (RunState.RUNNING, RunState.INTERRUPTED):
        raise Refused(f"{run} is {run.state}: begin a new one.")
    if run.where is None:
        raise Refused(f"{run} was begun by code, which knows its rows: call trivet.score with the same again.")
    wanted = asked(
        rows_where(run.where),
        f"{run.model}@{run.version}" if run.version else run.model,
        to=run.field,
        only_stale=run.only_stale,
        limit=run.limit,
    )
    check_no_transaction(wanted)
    if wanted.digest != run.question:
        raise Refused(f"{run} asked something else: its features or columns have changed since. Begin a new one.")
    return _carried_out(claim(run), replace(wanted, stale_before=run.stale_before), user, tell)


def _carried_out(run: ScoringRun, wanted: Asked, user: Any, tell: Tell) -> ScoringRun:
    """Walk to the end, and leave the run so that somebody can go on where that fails."""
    try:
        tell(run)
        while _page(run, wanted, user):
            tell(run)
    except BaseException as error:
        if not isinstance(error, Conflict):
            let_go(run, RunState.INTERRUPTED, str(error) or type(error).__name__)
        raise
    let_go(run, RunState.FINISHED)
    return run


def _page(run: ScoringRun, wanted: Asked, user: Any) -> bool:
    """Do the next page; False at the end."""
    began = time.monotonic()
    size = run.batch_size if run.limit is None else min(run.batch_size, max(run.limit - run.handled, 0))
    keys = wanted.page(run.cursor, size) if size else []
    if not keys:
        return False
    page = answer(wanted, keys, user=user, alive=partial(say_alive, run))
    for written in write(run, wanted, page, time.monotonic() - began):
        if written:
            signals.rows_scored.send_robust(sender=ScoringRun, run=run, queryset_model=wanted.target.table, pks=written)
    return True
