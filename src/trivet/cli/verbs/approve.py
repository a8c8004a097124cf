"""The verb `approve`: be the second person who wants a move of traffic, or close what was proposed."""

from __future__ import annotations

import argparse
from typing import Any

from trivet.cli.person import actor_of, person_of
from trivet.cli.verb import DONE, USAGE, Out
from trivet.cli.verbs.traffic import tell_once_live, traffic_in_words
from trivet.control.registry import actions
from trivet.control.registry.models import Proposal
from trivet.control.registry.permissions import models_open_to


def approve(options: argparse.Namespace, out: Out) -> int:
    """List what waits, approve a proposal, or close it."""
    if options.proposal is None:
        if options.decline:
            out.problem("trivet approve: which proposal? `trivet approve` lists them.")
            return USAGE
        return _list(options, out)
    if options.decline:
        row = actions.decline(proposal=options.proposal, actor=actor_of(options), reason=options.reason)
        out.document(_facts(row), f"proposal {row.pk} of {row.model.name} is {row.state}")
        return DONE
    event = actions.approve(proposal=options.proposal, actor=actor_of(options), reason=options.reason)
    words = f"proposed by {event.actor}, approved by {event.after['approved_by']}"
    facts = {**event.after, "proposed_by": event.actor}
    return tell_once_live(event, out, facts, f"{event.model} {traffic_in_words(event.after)} · {words}")


def _list(options: argparse.Namespace, out: Out) -> int:
    person = person_of(options)
    known = None if person is None else models_open_to(person)
    rows = Proposal.objects.waiting().select_related("model")
    waiting = list(rows if known is None else rows.filter(model__name__in=known))
    if not waiting and not options.as_json:
        out.say("nothing waits for a second person.")
        return DONE
    table = [
        (str(row.pk), row.model.name, row.in_words, row.proposer, f"{row.expires_at:%Y-%m-%d %H:%M}", row.reason)
        for row in waiting
    ]
    out.table([_facts(row) for row in waiting], ("NUMBER", "MODEL", "WANTED", "BY", "UNTIL", "WHY"), table)
    return DONE


def _facts(row: Proposal) -> dict[str, Any]:
    return {
        "number": row.pk,
        "model": row.model.name,
        "action": row.action,
        **row.move,
        "proposer": row.proposer,
        "proposed_at": row.proposed_at.isoformat(timespec="seconds"),
        "expires_at": row.expires_at.isoformat(timespec="seconds"),
        "reason": row.reason,
        "state": row.state,
        "decided_by": row.decided_by,
    }
