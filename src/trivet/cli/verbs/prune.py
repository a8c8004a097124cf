"""The verb `prune`: what may go from the log and the storage; a plan, until --apply."""

from __future__ import annotations

import argparse
from typing import Any

from trivet.cli.person import actor_of
from trivet.cli.verb import DONE, USAGE, Out
from trivet.control.predictions.pruning import beyond_retention, forget, prune_log, retention_ends, rows_of_entity
from trivet.control.registry.bundle_pruning import prune_bundles, superfluous_bundles
from trivet.core.errors import quoted


def prune(options: argparse.Namespace, out: Out) -> int:
    """Say what would go, and with --apply let it go."""
    if not (options.bundles or options.log or options.forget):
        out.problem("trivet prune: say what: --bundles, --log or --forget ENTITY.")
        return USAGE
    facts: dict[str, Any] = {"applied": options.apply}
    lines: list[str] = []
    for is_wanted, step in ((options.bundles, _bundles), (options.log, _log), (options.forget, _forget)):
        if is_wanted:
            step(options, facts, lines)
    if not options.apply:
        lines.append("nothing is done yet: add --apply to do it")
    out.document(facts, "\n".join(lines))
    return DONE


def _bundles(options: argparse.Namespace, facts: dict[str, Any], lines: list[str]) -> None:
    found = superfluous_bundles(keep=options.keep)
    if options.apply and found:
        found = prune_bundles(keep=options.keep, actor=actor_of(options), reason=options.reason)
    facts["bundles"] = {"digests": sorted(found.digests), "retired": [str(version) for version in found.versions]}
    versions = ", ".join(str(version) for version in found.versions)
    retired = f"; retired: {versions}" if versions else ""
    lines.append(f"{_would(options, 'delete')} {len(found.digests)} bundles{retired}")


def _log(options: argparse.Namespace, facts: dict[str, Any], lines: list[str]) -> None:
    before = retention_ends()
    if before is None:
        facts["log"] = {"before": None, "rows": 0}
        lines.append("TRIVET_LOG_RETENTION_DAYS is None: the log is kept")
        return
    rows = sum(beyond_retention(before))
    if options.apply:
        events = prune_log(before, actor=actor_of(options), reason=options.reason)
        rows = sum(event.after["rows"] + event.after["older"] for event in events)
    facts["log"] = {"before": before.isoformat(), "rows": rows}
    lines.append(f"{_would(options, 'delete')} {rows} predictions from before {before:%Y-%m-%d}")


def _forget(options: argparse.Namespace, facts: dict[str, Any], lines: list[str]) -> None:
    rows = rows_of_entity(options.forget).count()
    if options.apply:
        event = forget(options.forget, actor=actor_of(options), reason=options.reason)
        rows = event.after["rows"] + event.after["older"]
    facts["forget"] = {"rows": rows}
    if not rows:
        lines.append(f"no prediction in the log is about {quoted(options.forget)}: is that how it is written there?")
    lines.append(
        f"{_would(options, 'erase')} inputs and entity of {rows} predictions;"
        " what waits in spools is shipped without them"
    )


def _would(options: argparse.Namespace, verb: str) -> str:
    return f"{verb}d" if options.apply else f"would {verb}"
