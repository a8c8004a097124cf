"""`verify --log`: are the log and the history what was written, and does the spool agree?"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from trivet.cli.verb import DONE, USAGE, WRONG, Out
from trivet.control.predictions.auditing import LogAudit, audit_log
from trivet.control.registry.history import Break, Head, HistoryAudit, audit_history
from trivet.core.chain import NOTHING
from trivet.serving.keeper import spool_root
from trivet.serving.spool_audit import SpoolAudit, audit_spool

HEAD = re.compile(r"(0|[1-9]\d{0,18})\.([0-9a-f]{64})\.(0|[1-9]\d{0,18})\.([0-9a-f]{64})")


@dataclass(frozen=True)
class _Expected:
    """Where both chains ended at some time before."""

    events: Head
    log: Head


def verify_log(options: argparse.Namespace, out: Out) -> int:
    """Follow both chains, hold the spool against the log, and compare with a head that was kept elsewhere."""
    expected = None
    if options.expect is not None:  # an empty one is a head that got lost on the way here
        if (found := HEAD.fullmatch(options.expect)) is None:
            out.problem("trivet verify: --expect takes a head as `trivet verify --log` prints it.")
            return USAGE
        events, of_events, links, of_links = found.groups()
        expected = _Expected(Head(int(events), of_events), Head(int(links), of_links))
    history = audit_history(at=expected.events.number if expected else 0)
    log = audit_log(at=expected.log.number if expected else 0)
    spool = audit_spool(spool_root())
    breaks = [broken for broken in (history.broken, log.broken, spool.broken) if broken is not None]
    if expected is not None and not breaks:
        breaks = _unexpected(expected, history, log)
    head = f"{history.head.number}.{history.head.sha256}.{log.head.number}.{log.head.sha256}"
    out.document(_facts(history, log, spool, breaks, head), "\n".join(_lines(history, log, spool, breaks, head)))
    return WRONG if breaks else DONE


def _unexpected(expected: _Expected, history: HistoryAudit, log: LogAudit) -> list[Break]:
    """Return where the chains do not go through the head that was kept."""
    found = []
    for noun, wanted, head, on_the_way in (
        ("Event", expected.events, history.head, history.on_the_way),
        ("link", expected.log, log.head, log.on_the_way),
    ):
        place = f"{noun} {wanted.number}"
        if head.number < wanted.number:
            text = f"{noun}s {head.number + 1} to {wanted.number} are gone, and the head was moved back"
            found.append(Break(f"{noun} {head.number + 1}", "truncated", text))
        elif wanted.number and on_the_way != wanted.sha256:
            text = f"the chain up to {place} is not the one that was there when that head was kept"
            found.append(Break(place, "not as expected", text))
        elif not wanted.number and wanted.sha256 != NOTHING:
            found.append(Break(place, "not as expected", f"no chain of {noun}s begins so"))
    return found


def _lines(history: HistoryAudit, log: LogAudit, spool: SpoolAudit, breaks: list[Break], head: str) -> list[str]:
    if breaks:
        return [f"the log is NOT in order: {one.kind}: {one.text}" for one in breaks]
    older = f", {log.older} older than the chain" if log.older else ""
    erased = f", inputs of {log.erased} erased" if log.erased else ""
    return [
        f"{history.events} Events in one chain",
        f"{log.rows} predictions in {log.links} links of one chain{older}{erased}",
        f"{spool.shipped} records of the spool are in the log, {spool.waiting} wait to be shipped: requests, each with one"
        " prediction or many, or labels, of the files that are still kept",
        f"head {head}",
    ]


def _facts(
    history: HistoryAudit, log: LogAudit, spool: SpoolAudit, breaks: list[Break], head: str
) -> dict[str, object]:
    return {
        "events": history.events,
        "predictions": log.rows,
        "links": log.links,
        "older_than_the_chain": log.older,
        "erased": log.erased,
        "spool": {"shipped": spool.shipped, "waiting": spool.waiting},
        "head": head,
        "breaks": [{"place": one.place, "kind": one.kind, "text": one.text} for one in breaks],
        "sound": not breaks,
    }
