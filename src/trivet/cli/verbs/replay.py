"""The verb `replay`: what another version says of logged inputs. Nobody is answered, and nothing is recorded."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from django.utils import timezone

from trivet.cli.progress import Progress
from trivet.cli.values import duration_of
from trivet.cli.verb import DONE, USAGE, WRONG, Out, split_version
from trivet.control.registry.models import ModelVersion, RegisteredModel
from trivet.core.errors import quoted
from trivet.serving.replay.replay import Mover, Replay, Scores, Spread, replay

MOVERS_SHOWN = 5
WHOLE = 100  # percent


def replay_log(options: argparse.Namespace, out: Out) -> int:
    """Print how far a version agrees with what was answered."""
    name, word = split_version(options.model)
    if word is None:
        RegisteredModel.objects.named(name)  # raises where there is none
        out.problem(f"trivet replay: which version of {name} is asked? {name}@challenger, or a number: {name}@2.")
        return USAGE
    most = options.max_moved
    if most is not None and not 0 <= most <= WHOLE:
        out.problem("trivet replay: --max-moved takes a share of the decisions in percent, 0 to 100.")
        return USAGE
    progress = Progress(is_wanted=not options.quiet)
    try:
        found = replay(
            ModelVersion.objects.resolve(name, word),
            since=timezone.now() - duration_of("--since", options.since),
            against=ModelVersion.objects.resolve(name, options.against) if options.against else None,
            limit=options.limit,
            tell=progress.tell_rows,
        )
    finally:
        progress.end()
    problem = _problem(found, most)
    out.document(_facts(found, problem), "\n".join([*_lines(found), *([problem] if problem else [])]))
    return WRONG if problem else DONE


def _problem(found: Replay, most: float | None) -> str:
    """Return why the version is not as like as was asked for; "" where it is, or nobody asked."""
    if most is None:
        return ""
    if not found.decided:
        return "NOT within --max-moved: no decision could be compared."
    share = WHOLE * found.moved / found.decided
    return f"NOT within --max-moved {most:g}: {share:.3g} % of the decisions moved." if share > most else ""


def _lines(found: Replay) -> list[str]:
    older = ", the newest of more" if found.is_limited else ""
    derived = f", {found.derived:,} of them with features as of their time" if found.derived else ""
    lines = [
        f"{found.model} {found.version} beside {found.model} {found.against}: {found.logged:,} rows logged since"
        f" {found.since:%Y-%m-%d %H:%M}{older}; nobody was answered",
        f"compared        {found.compared:,}{derived}",
        f"not comparable  {found.logged - found.compared:,}",
        *(f"  {rows:,}: {why}" for why, rows in found.not_comparable),
    ]
    if not found.compared:
        return lines
    if found.agreement is not None:
        agreed = f"{WHOLE * found.agreement:.4g} % of {found.decided:,} decisions; {found.moved:,} moved"
        lines.append(f"agreement       {agreed}")
    return [*lines, *_about_scores(found), *_movers(found), f"speed           {_speed(found)}"]


def _about_scores(found: Replay) -> list[str]:
    if found.scores_differ_in_meaning:
        return ["scores          are not of the same thing in both versions, so they are not compared"]
    return _scores(found, found.scores) if found.scores is not None else []


def _scores(found: Replay, scores: Scores) -> list[str]:
    return [
        f"scores          mean |difference| {scores.mean_difference:.4g}, largest {scores.max_difference:.4g}",
        f"  {found.model} {found.against}: {_spread(scores.before)}",
        f"  {found.model} {found.version}: {_spread(scores.after)}",
    ]


def _spread(spread: Spread) -> str:
    return f"mean {spread.mean:.4g}; 5 25 50 75 95 %: {' '.join(f'{one:.4g}' for one in spread.quantiles)}"


def _movers(found: Replay) -> list[str]:
    if not found.movers:
        return ["movers          none"]
    return ["largest movers", *(f"  {_mover(mover)}" for mover in found.movers[:MOVERS_SHOWN])]


def _mover(mover: Mover) -> str:
    sides = []
    for score, decision in ((mover.before, mover.decision_before), (mover.after, mover.decision_after)):
        sides.append(" ".join(filter(None, [_shown(decision), f"{score:.4g}" if score is not None else ""])))
    about = f"  {_shown(mover.entity)}" if mover.entity else ""
    return f"{mover.prediction_id}{about}  {' → '.join(sides)}"


def _shown(text: str) -> str:
    """Return what a caller may have chosen so that it does nothing to a terminal."""
    return text if text.isprintable() else quoted(text)


def _speed(found: Replay) -> str:
    speed = found.speed
    parts = []
    if speed.version is not None:
        parts.append(f"{found.model} {found.version} {speed.version:.3g} µs a row, measured now")
    if speed.against is not None:
        parts.append(f"{found.model} {found.against} {speed.against:.3g} µs, by its probe")
    if speed.logged_request is not None:
        parts.append(f"{speed.logged_request:,.0f} µs a logged request, all of it (median)")
    return "; ".join(parts)


def _facts(found: Replay, problem: str) -> dict[str, Any]:
    movers = [asdict(mover) | {"moved": mover.has_moved, "difference": mover.difference} for mover in found.movers]
    reasons = [{"why": why, "rows": rows} for why, rows in found.not_comparable]
    facts = asdict(found) | {"agreement": found.agreement, "movers": movers, "not_comparable": reasons}
    return facts | {"problem": problem}
