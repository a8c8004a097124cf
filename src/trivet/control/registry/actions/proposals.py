"""Proposals: moves of traffic that one person wants and a second one has to approve."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from trivet.control.registry.actions.change import Change
from trivet.control.registry.actions.move import Move, encode_move
from trivet.control.registry.models import Proposal, ProposalState, RegisteredModel

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor

VALID_FOR = timedelta(days=7)  # chosen: over a week-end, and not over a holiday in which everything has changed


def propose(change: Change, model: RegisteredModel, move: Move, by: Actor, *, actor: str, reason: str) -> Proposal:
    """Write down what `by`, called `actor` in Events, wants. It waits until it is decided, expires, or the model changes.

    What they have proposed already, and waits, is not written a second time.
    """
    wanted = encode_move(move)
    mine = change.rows(Proposal).filter(model=model, action=move.action, proposer=actor, generation=model.generation)
    for row in mine.filter(state=ProposalState.OPEN, expires_at__gt=timezone.now()):
        if row.move == wanted:
            return row
    row = change.rows(Proposal).create(
        model=model,
        action=move.action,
        move=wanted,
        generation=model.generation,
        proposer=actor,
        proposed_by_id=None if isinstance(by, str) else by.pk,
        reason=reason,
        expires_at=timezone.now() + VALID_FOR,
    )
    after = {"proposal": row.pk, "action": move.action, "move": row.move}
    change.record("propose", actor=actor, model=model.name, version=move.version, after=after, reason=reason)
    return row
