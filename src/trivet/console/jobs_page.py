"""Jobs: the runs that score tables, how far each is, and what kept rows from their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _, gettext_lazy

from trivet.console.figures import Moment, count, moment
from trivet.console.words import Text, actor
from trivet.control.registry.permissions import models_open_to
from trivet.control.scoring.models import RunState, ScoringRun

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

RUNS_SHOWN = 50
PROBLEMS_SHOWN = 100
STATES: Mapping[str, Text] = {
    RunState.RUNNING: gettext_lazy("under way"),
    RunState.INTERRUPTED: gettext_lazy("interrupted"),
    RunState.FINISHED: gettext_lazy("done"),
    RunState.ABANDONED: gettext_lazy("given up"),
}
KILLED: Text = gettext_lazy("killed: its process is gone")
TONES = {RunState.RUNNING: "live", RunState.INTERRUPTED: "warning"}  # of the mark that has the state


@dataclass(frozen=True)
class RunRow:
    """One run. `share` is how much of it is done, in percent; `command` how somebody goes on with it, where that is one."""

    number: int
    model: str
    version: int
    target: str
    tone: str
    state_words: str
    is_under_way: bool
    share: str
    done: str
    total: str
    errors: str
    gone: str
    left: str
    who: str
    began: Moment
    ended: Moment | None
    command: str
    is_of_code: bool  # and has not ended: whoever called goes on by calling again


@dataclass(frozen=True)
class ProblemRow:
    """A row that was not scored: its key, and why."""

    key: str
    message: str


@dataclass(frozen=True)
class JobsPage:
    """The page. Of one run alone `is_single`, with its problems for who may see values; else the latest, the newest first."""

    runs: tuple[RunRow, ...]
    is_single: bool = False
    problem: str = ""
    problems: tuple[ProblemRow, ...] = ()
    hides_problems: bool = False
    is_moving: bool = False  # so that looking again shows something else


def jobs_page(viewer: AbstractBaseUser, now: datetime) -> JobsPage:
    """Return the latest runs of the models that `viewer` may know of, in a constant number of queries."""
    known = models_open_to(viewer)
    found = ScoringRun.objects.all() if known is None else ScoringRun.objects.filter(model__in=known)
    rows = tuple(_row(run, now) for run in found.order_by("-pk")[:RUNS_SHOWN])
    return JobsPage(rows, is_moving=any(row.is_under_way for row in rows))


def job_page(run: ScoringRun, now: datetime, *, sees_inputs: bool) -> JobsPage:
    """Return the page of one run; what rows hold, and why it was interrupted, is for who `sees_inputs`."""
    row = _row(run, now)
    problems = run.problems.all()[:PROBLEMS_SHOWN] if sees_inputs else ()
    return JobsPage(
        (row,),
        is_single=True,
        problem=run.problem if sees_inputs else "",
        problems=tuple(ProblemRow(one.key, one.message) for one in problems),
        hides_problems=bool(run.errors or run.problem) and not sees_inputs,
        is_moving=row.is_under_way,
    )


def _row(run: ScoringRun, now: datetime) -> RunRow:
    is_held = run.is_held(now)
    is_lost = run.state == RunState.RUNNING and not is_held
    is_open = is_lost or run.state == RunState.INTERRUPTED
    share = 100.0 if run.state == RunState.FINISHED else 100 * min(run.handled / run.total, 1.0) if run.total else 0.0
    return RunRow(
        number=run.pk,
        model=run.model,
        version=run.version,
        target=run.target,
        tone="warning" if is_lost else TONES.get(RunState(run.state), ""),
        state_words=str(KILLED if is_lost else STATES[run.state]),
        is_under_way=is_held,
        share=f"{share:.1f}",
        done=count(run.done),
        total=count(run.total),
        errors=count(run.errors) if run.errors else "",
        gone=count(run.gone) if run.gone else "",
        left=_left(run) if is_held else "",
        who=actor(run.actor),
        began=moment(run.began_at, now),
        ended=moment(run.ended_at, now) if run.ended_at else None,
        command=_command(run) if is_open and run.where is not None else "",
        is_of_code=is_open and run.where is None,
    )


def _left(run: ScoringRun) -> str:
    """Return how long it still takes, in words; nothing before its first rows."""
    if run.eta is None:
        return ""
    minutes, seconds = divmod(round(run.eta.total_seconds()), 60)
    if minutes:
        return _("about %(minutes)s min left") % {"minutes": count(minutes)}
    return _("about %(seconds)s s left") % {"seconds": seconds}


def _command(run: ScoringRun) -> str:
    return f"trivet score {run.model} {run.table} --resume {run.pk}"
