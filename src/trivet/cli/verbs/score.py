"""The verb `score`: what a model says of each row of a table, written into its columns; a plan, until --apply."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Any

from trivet.cli.person import person_of
from trivet.cli.progress import Progress, duration_in_words
from trivet.cli.verb import DONE, INTERRUPTED, USAGE, WRONG, Out, split_version
from trivet.control.scoring.models import ScoringRun
from trivet.core.errors import InvalidRequest, NotFound, PermissionDenied, TrivetError, quoted
from trivet.core.parent import end_with
from trivet.serving.process import stop_process
from trivet.serving.scoring.asked import asked
from trivet.serving.scoring.conditions import find_table, rows_where
from trivet.serving.scoring.plan import Plan, plan
from trivet.serving.scoring.scoring import BATCH_SIZE, resume, walk

PROBLEMS_SHOWN = 5


def score(options: argparse.Namespace, out: Out) -> int:
    """Say what a run would do; with --apply or --resume do it."""
    if options.supervisor is not None:
        end_with(options.supervisor, signal.SIGTERM)
    if options.resume is not None and (options.where or options.to or options.all or options.limit is not None):
        out.problem(
            "trivet score: a run that is gone on with has its own --where, --to, --all and --limit: leave them out."
        )
        return USAGE
    table, person = find_table(options.table), person_of(options)
    wanted = f"{table._meta.app_label}.change_{table._meta.model_name}"
    if person is not None and not person.has_perm(wanted):  # type: ignore[attr-defined]  # of whatever class
        raise PermissionDenied(f"to write into rows of {table.__name__} takes {wanted!r}.")
    try:
        if options.resume is None and not options.apply:
            return _plan(options, out, table, person)
        return _apply(options, out, table, person)
    finally:
        stop_process()  # ships what was recorded, where no keeper runs


def _plan(options: argparse.Namespace, out: Out, table: Any, person: Any) -> int:
    rows = rows_where(table, _conditions(options))
    is_all = options.all
    found = plan(asked(rows, options.model, to=options.to, only_stale=not is_all, limit=options.limit), user=person)
    out.document({"applied": False, **asdict(found)}, "\n".join(_lines(found, is_all=is_all)))
    return DONE


def _lines(found: Plan, *, is_all: bool) -> list[str]:
    stale = "" if is_all else f" ({found.rows:,} there; only stale ones, --all for every row)"
    about = duration_in_words(timedelta(seconds=found.seconds))
    lines = [f"would score {found.to_do:,} rows{stale}, about {about}, writes {', '.join(found.columns)}"]
    lines += [f"  {key}  {number:.6g}  {_shown(features)}" for key, features, number in found.samples]
    if found.spread is not None:
        least, mean, largest = found.spread
        lines.append(f"of the first {found.asked:,}: least {least:.6g}, mean {mean:.6g}, largest {largest:.6g}")
    if found.constant:
        lines.append(f"the same in all of them: {', '.join(found.constant)}")
    if found.refused:
        lines.append(f"{len(found.refused):,} of them are refused:")
        lines += [f"  {key}  {said}" for key, said in found.refused[:PROBLEMS_SHOWN]]
    return [*lines, "nothing is written yet: add --apply to do it"]


def _shown(features: Mapping[str, Any]) -> str:
    named = [
        f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}" for name, value in features.items()
    ]
    return ", ".join(named)


def _apply(options: argparse.Namespace, out: Out, table: Any, person: Any) -> int:
    progress, runs = Progress(is_wanted=not options.quiet), list[ScoringRun]()

    def tell(run: ScoringRun) -> None:
        if not runs and run.handled:
            out.say(f"{run}: goes on behind {run.handled:,} of {run.total:,} rows")
        runs[:] = [run]
        progress.tell(run)

    try:
        run = _begun(options, table, person, tell)
    except (KeyboardInterrupt, TrivetError) as error:
        progress.end()
        if runs:
            out.problem(
                f"trivet score: {runs[0]} stopped after {runs[0].handled:,} of {runs[0].total:,} rows. {_way_on(runs[0])}"
            )
        if isinstance(error, TrivetError):
            raise
        return INTERRUPTED
    progress.end()
    problems = list(run.problems.all()[:PROBLEMS_SHOWN])
    out.document({"applied": True, **_facts(run)}, "\n".join([_summary(run), *(f"  {one}" for one in problems)]))
    return WRONG if run.errors else DONE


def _begun(options: argparse.Namespace, table: Any, person: Any, tell: Any) -> ScoringRun:
    """Walk the run that is meant to its end."""
    if options.resume is not None:
        run = ScoringRun.objects.numbered(options.resume)
        if (run.model, run.table) != (split_version(options.model)[0], table._meta.label_lower):
            raise NotFound(f"{run} is none of {quoted(options.model)} and {table.__name__}.")
        return resume(run, partial(rows_where, table), user=person, tell=tell)
    conditions = _conditions(options)
    return walk(
        rows_where(table, conditions),
        options.model,
        to=options.to,
        only_stale=not options.all,
        batch_size=options.batch_size or BATCH_SIZE,
        limit=options.limit,
        user=person,
        where=conditions,
        tell=tell,
    )


def _conditions(options: argparse.Namespace) -> dict[str, str]:
    conditions: dict[str, str] = {}
    for pair in options.where:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InvalidRequest(f"--where {quoted(pair)} is not NAME=VALUE.", code="BAD_PARAMETER")
        if name in conditions:
            raise InvalidRequest(
                f"--where says {quoted(name)} twice; all conditions hold together.", code="BAD_PARAMETER"
            )
        conditions[name] = text
    return conditions


def _way_on(run: ScoringRun) -> str:
    return f"To go on: trivet score {run.model} {run.table} --resume {run.pk}"


def _summary(run: ScoringRun) -> str:
    errors = f", {run.errors:,} with errors" if run.errors else ""
    gone = f", {run.gone:,} deleted meanwhile" if run.gone else ""
    version = f" by {run.model} {run.version}" if run.version else ""
    return f"{run}: {run.done:,} of {run.total:,} rows scored{version} in {run.seconds:.1f} s{errors}{gone}"


def _facts(run: ScoringRun) -> dict[str, Any]:
    names = (
        "state",
        "model",
        "version",
        "table",
        "field",
        "done",
        "total",
        "errors",
        "gone",
        "seconds",
        "longest_seconds",
    )
    problems = [{"key": one.key, "message": one.message} for one in run.problems.all()]
    return {"run": run.pk, **{name: getattr(run, name) for name in names}, "problems": problems}
