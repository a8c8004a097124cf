"""The page of a proposal: what somebody wants, for a second person to approve or decline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from trivet.console.figures import Moment, moment
from trivet.console.move_page import RouteLine
from trivet.console.words import actor
from trivet.control.registry.models import Proposal, ProposalState, Route
from trivet.control.registry.permissions import can

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser


@dataclass(frozen=True)
class ProposalLine:
    """One that waits, on its model's page."""

    number: int
    words: str
    proposer: str
    proposed: Moment
    reason: str


@dataclass(frozen=True)
class ProposalPage:
    """The page. Who may do neither sees what is wanted, and why they cannot decide it."""

    number: int
    model: str
    words: str
    proposer: str
    proposed: Moment
    expires: Moment
    reason: str
    before: tuple[RouteLine, ...]
    after: tuple[RouteLine, ...]
    besides: tuple[str, ...]
    may_approve: bool
    may_close: bool
    is_own: bool
    closed: str
    problem: str


def waiting(model: str, now: datetime) -> tuple[ProposalLine, ...]:
    """Return what waits for a second person."""
    rows = Proposal.objects.waiting(now).filter(model__name=model)
    return tuple(
        ProposalLine(row.pk, row.in_words, actor(row.proposer), moment(row.proposed_at, now), row.reason)
        for row in rows
    )


def proposal_page(row: Proposal, viewer: AbstractBaseUser, now: datetime, *, problem: str = "") -> ProposalPage:
    """Return the page of `row` as `viewer` sees it."""
    model, move = row.model.name, row.move
    before = dict(Route.objects.filter(model=row.model).order_by("-weight").values_list("version__number", "weight"))
    is_own = row.proposed_by_id == viewer.pk
    closed, may_decide = _closed(row, now), can(viewer, "approve", model)
    return ProposalPage(
        number=row.pk,
        model=model,
        words=row.in_words,
        proposer=actor(row.proposer),
        proposed=moment(row.proposed_at, now),
        expires=moment(row.expires_at, now),
        reason=row.reason,
        before=_lines(before),
        after=_lines(before if move["routes"] is None else move["routes"]),
        besides=tuple(_besides(move)),
        may_approve=may_decide and not is_own and not closed,
        may_close=(may_decide or is_own) and not closed,
        is_own=is_own,
        closed=closed,
        problem=problem,
    )


def _closed(row: Proposal, now: datetime) -> str:
    """Return why it can be decided no more; nothing while it can."""
    if row.state != ProposalState.OPEN:
        return _("It is %(state)s, by %(who)s.") % {"state": row.get_state_display(), "who": actor(row.decided_by)}
    if row.expires_at <= now:
        return _("It has expired. Whoever still wants it proposes it again.")
    if row.generation != row.model.generation:
        return _("The model has changed since it was proposed. Whoever still wants it proposes it again.")
    return ""


def _besides(move: Mapping[str, Any]) -> list[str]:
    """Return what else would change, a line each."""
    lines = [
        _("%(alias)s points at version %(number)s") % {"alias": alias, "number": number}
        if number
        else _("%(alias)s is removed") % {"alias": alias}
        for alias, number in move["aliases"].items()
    ]
    if move["fallback"] is not None:
        steps = [_("a constant") if isinstance(step, dict) else str(step) for step in move["fallback"]]
        lines.append(_("where it fails: %(steps)s") % {"steps": ", ".join(steps) or _("nobody answers")})
    if move["sticky_by"]:
        lines.append(_("callers stay on a version by %(input)s") % {"input": move["sticky_by"]})
    if move["shadows"]:
        lines.append(_("shadows: %(numbers)s") % {"numbers": ", ".join(move["shadows"])})
    return lines


def _lines(shares: Mapping[Any, int]) -> tuple[RouteLine, ...]:
    heaviest = sorted(shares.items(), key=lambda share: -share[1])
    return tuple(RouteLine(int(number), weight) for number, weight in heaviest if weight)
