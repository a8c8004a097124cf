"""The second person: who approves a proposal, or declines it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import router
from django.utils import timezone

from trivet.control.registry.actions.change import Change, changing
from trivet.control.registry.actions.conflict import unchanged_since
from trivet.control.registry.actions.finding import find_model
from trivet.control.registry.actions.move import Move, decode_move
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.actions.refusals import record_refusal
from trivet.control.registry.actions.traffic import check_proofs, make, prove_move
from trivet.control.registry.models import REFUSAL, ApiKey, Event, Proposal, ProposalState
from trivet.control.registry.permissions import can
from trivet.core.errors import NotFound, Refused, quoted

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

    from trivet.control.registry.permissions import Actor


def approve(*, proposal: int, actor: Actor, reason: str = "") -> Event:
    """Make the move of a proposal, as the second person who wants it; return the move's Event, which names both.

    It takes a user with the permission `approve`, who is not the one who proposed it. Whoever proposed it must still be
    one who may promote. Raises `Refused` for a proposal that is decided or has expired, and `Conflict` where the model
    has changed since it was made; what keeps a version from traffic keeps it from being approved. Sends the signals of
    the move.
    """
    waiting = _find(proposal, actor)
    model = waiting.model.name
    move = decode_move(waiting.action, waiting.move)
    if isinstance(actor, str):
        raise Refused(f"who approves a proposal is a user of the project: `trivet approve {proposal} --as USER`.")
    name = permitted(actor, "approve", to="approve", model=model, version=move.version)
    try:
        proven = prove_move(model, move)
        with changing() as change:
            row = _open(change, proposal)
            _check_second(change, row, actor)
            found = unchanged_since(change, row.generation, find_model(change, model))
            check_proofs(found, proven)
            event = make(
                change,
                found,
                move,
                actor=row.proposer,
                reason=row.reason,
                proposal=row.pk,
                approved_by=name,
                why=reason,
            )
            _decide(row, ProposalState.APPROVED, by=name)
            return event
    except Refused as refusal:
        _record_refusal(waiting, move, actor=name, refusal=refusal)
        raise


def decline(*, proposal: int, actor: Actor, reason: str = "") -> Proposal:
    """Close a proposal: withdrawn by whoever made it, declined by somebody who may approve."""
    waiting = _find(proposal, actor)
    is_own = not isinstance(actor, str) and waiting.proposed_by_id == actor.pk
    model, version = waiting.model.name, decode_move(waiting.action, waiting.move).version
    if is_own and not isinstance(actor, str):
        name = f"user:{actor.get_username()}"
    else:
        name = permitted(actor, "approve", to="decline", model=model, version=version)
    with changing() as change:
        row = _open(change, proposal)
        state = ProposalState.WITHDRAWN if is_own or name == row.proposer else ProposalState.DECLINED
        _decide(row, state, by=name)
        after = {"proposal": row.pk, "state": state.value}
        change.record("decline", actor=name, model=model, version=version, after=after, reason=reason)
        return row


def _find(number: int, actor: Actor) -> Proposal:
    """Return a proposal; for who may not know of its model there is none."""
    rows = Proposal.objects.using(router.db_for_write(Proposal)).select_related("model", "proposed_by")
    found = rows.filter(pk=number).first()
    if found is None or not (isinstance(actor, str) or can(actor, "view", found.model.name)):
        raise NotFound(f"no proposal {quoted(number)}.")
    return found


def _open(change: Change, number: int) -> Proposal:
    row = change.rows(Proposal).select_related("model", "proposed_by").get(pk=number)
    if row.state != ProposalState.OPEN:
        raise Refused(f"proposal {number} is decided: {row.state} by {row.decided_by}.")
    if row.expires_at <= timezone.now():
        raise Refused(f"proposal {number} has expired; propose it again.")
    return row


def _check_second(change: Change, row: Proposal, second: AbstractBaseUser) -> None:
    """Raise `Refused` where the two persons are one, or the first may not promote any more.

    A key's proposal is its owner's, and that of whoever made the key: they have seen it.
    """
    kind, _, name = row.proposer.partition(":")
    key = change.rows(ApiKey).filter(pk=name).select_related("owner").first() if kind == "key" else None
    is_same_name = kind != "key" and name == second.get_username()  # `cli:ben` is ben at a shell
    has_key = key is not None and (key.owner_id == second.pk or key.created_by == f"user:{second.get_username()}")
    if is_same_name or has_key or second.pk == row.proposed_by_id:
        raise Refused(f"proposal {row.pk} is yours: somebody else who may approve has to.")
    first = row.proposed_by if key is None else key
    if kind in ("user", "key") and (first is None or not can(first, "promote", row.model.name)):
        raise Refused(f"proposal {row.pk} was made by {name}, who may not promote any more; propose it anew.")


def _decide(row: Proposal, state: ProposalState, *, by: str) -> None:
    row.state, row.decided_by, row.decided_at = state, by, timezone.now()
    row.save(update_fields=["state", "decided_by", "decided_at"])


def _record_refusal(row: Proposal, move: Move, *, actor: str, refusal: Refused) -> None:
    after = {"action": "approve", "proposal": row.pk}
    record_refusal(
        REFUSAL, actor=actor, model=row.model.name, version=move.version, after=after, reason=refusal.message
    )
