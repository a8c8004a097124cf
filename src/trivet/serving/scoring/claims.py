"""Claims: one process at a time walks a run; one that was killed is gone on with at once, one that hangs after a while."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

from django.db import IntegrityError, connections, router, transaction
from django.utils import timezone

from trivet.control.scoring.models import RunState, ScoringRun
from trivet.core.errors import Conflict, Refused
from trivet.core.holders import this_holder
from trivet.serving.scoring.asked import Asked

INSIDE = (
    "score was called inside a transaction, which would hold every row until its end: call it outside, or from a task."
)
GONE_ON_WITH = timedelta(
    hours=12
)  # after which the same is asked anew: what a night left is not all that the next one is for
SAID_SECONDS = 5.0  # between two signs of life


def check_no_transaction(asked: Asked) -> None:
    """Raise `Refused` inside a transaction of the rows' database, where that is another than the runs', which look themselves."""
    is_another = asked.writes_to != router.db_for_write(ScoringRun)
    if is_another and connections[asked.writes_to].in_atomic_block:
        raise Refused(INSIDE)


def begin(asked: Asked, *, actor: str, batch_size: int, where: dict[str, str] | None) -> ScoringRun:
    """Return the run that is to do what is asked, claimed: the unfinished one that was begun for the same, or a new one.

    An unfinished one that asked for something else, or of which nobody has heard for twelve hours, is abandoned. Raises
    `Conflict`, which names the holder, while another process writes the same column.
    """
    for run in ScoringRun.objects.into(asked.target.label, asked.target.value.name).unfinished():
        is_old = timezone.now() - run.seen_at > GONE_ON_WITH
        if run.question == asked.digest and not is_old:
            return claim(run)
        _end_another(run, "nobody went on with it" if is_old else "something else was asked for")
    run = ScoringRun(
        model=asked.model,
        version=asked.version,
        table=asked.target.label,
        field=asked.target.value.name,
        features_hash=asked.features.hash,
        question=asked.digest,
        where=where,
        only_stale=asked.only_stale,
        stale_before=asked.stale_before,
        limit=asked.limit,
        batch_size=batch_size,
        total=asked.count(),
        actor=actor,
        holder=this_holder(),
        claim=uuid.uuid4(),
    )
    try:
        with _transaction():
            run.save(force_insert=True)
    except IntegrityError:
        raise Conflict(f"somebody else began to score {run.target} just now.") from None
    return run


def claim(run: ScoringRun) -> ScoringRun:
    """Take an unfinished run over, and return it; raises `Conflict` while its holder lives."""
    _check_free(run)
    before, run.claim, run.holder = run.claim, uuid.uuid4(), this_holder()
    run.state, run.seen_at, run.problem = RunState.RUNNING, timezone.now(), ""
    try:
        with _transaction():
            taken = ScoringRun.objects.filter(pk=run.pk, claim=before).update(
                claim=run.claim, holder=run.holder, state=run.state, seen_at=run.seen_at, problem=""
            )
    except IntegrityError:
        taken = 0
    if not taken:
        raise Conflict(f"somebody else took {run} over just now.")
    run.refresh_from_db()
    return run


def hold(run: ScoringRun) -> None:
    """Say that its holder lives. Raises `Conflict` where that is another one by now."""
    now = timezone.now()
    mine = ScoringRun.objects.filter(pk=run.pk, claim=run.claim, state=RunState.RUNNING)
    if not mine.update(seen_at=now):
        raise Conflict(f"{run} was taken over, or cancelled; here it stops.")
    run.seen_at = now


def say_alive(run: ScoringRun) -> None:
    """The same, where it was not said lately."""
    if timezone.now() - run.seen_at > timedelta(seconds=SAID_SECONDS):
        hold(run)


def let_go(run: ScoringRun, state: RunState, problem: str = "") -> None:
    """End the run, or leave it for somebody who goes on; where another one has it by now, nothing changes."""
    run.state, run.problem, now = state, problem, timezone.now()
    run.ended_at = None if state == RunState.INTERRUPTED else now
    ScoringRun.objects.filter(pk=run.pk, claim=run.claim).update(
        state=state,
        problem=problem,
        ended_at=run.ended_at,
        seen_at=now,
        holder="",
        longest_seconds=run.longest_seconds,
    )


@contextmanager
def _transaction() -> Iterator[None]:
    """Be a transaction of one's own; raises `Refused` inside another one, in which every page would wait for its end."""
    own = transaction.atomic(router.db_for_write(ScoringRun), durable=True)
    try:
        own.__enter__()
    except RuntimeError:
        raise Refused(INSIDE) from None
    with ExitStack() as ends:
        ends.push(own)
        yield


def _end_another(run: ScoringRun, problem: str) -> None:
    """Give up a run that nobody walks any more."""
    _check_free(run)
    ScoringRun.objects.filter(pk=run.pk, claim=run.claim).update(
        state=RunState.ABANDONED, ended_at=timezone.now(), holder="", problem=problem
    )


def _check_free(run: ScoringRun) -> None:
    now = timezone.now()
    if run.is_held(now):
        silent = (now - run.seen_at).total_seconds()
        raise Conflict(
            f"{run} is under way: {run.actor} began it at {run.began_at:%Y-%m-%d %H:%M} UTC, process"
            f" {run.holder.split(':')[1]}, {run.handled:,} of {run.total:,} rows done, last seen {silent:.0f} s ago."
        )
