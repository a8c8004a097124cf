"""The page that asks before traffic moves: what is live now, and what would be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from trivet import conf
from trivet.control.registry.models import RegisteredModel, Route
from trivet.serving.acknowledgement import Acknowledgement

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor


@dataclass(frozen=True)
class Move:
    """What somebody decided, and the generation of the model they saw when they did."""

    model: str
    number: int
    reason: str
    seen_generation: int
    actor: Actor


@dataclass(frozen=True)
class RouteLine:
    """One version's share, in percent."""

    number: int
    weight: int


@dataclass(frozen=True)
class MovePage:
    """The page."""

    model: str
    number: int
    is_rollback: bool
    before: tuple[RouteLine, ...]
    after: tuple[RouteLine, ...]
    generation: int
    reason: str
    problem: str
    takes_two: bool  # it happens when a second person has approved it


def moved(move: Move, reached: Acknowledgement) -> str:
    """Return the sentence that says how far the move has come."""
    values = {
        "model": move.model,
        "number": move.number,
        "reached": reached.live - len(reached.behind),
        "live": reached.live,
        "seconds": f"{reached.seconds:.1f}",
        "behind": ", ".join(reached.behind),
    }
    if not reached.live:
        return _("%(model)s %(number)s is live. No process answers at the moment.") % values
    if reached.behind:
        sentence = _("%(model)s %(number)s is live in %(reached)s of %(live)s processes. Not heard of: %(behind)s.")
        return sentence % values
    return _("%(model)s %(number)s is live in %(reached)s of %(live)s processes after %(seconds)s s.") % values


def move_page(model: RegisteredModel, number: int, *, is_rollback: bool, reason: str, problem: str) -> MovePage:
    """Return the page for giving all of `model`'s traffic to version `number`."""
    routes = Route.objects.filter(model=model).order_by("-weight").values_list("version__number", "weight")
    return MovePage(
        model=model.name,
        number=number,
        is_rollback=is_rollback,
        before=tuple(RouteLine(*route) for route in routes),
        after=(RouteLine(number, 100),),
        generation=model.generation,
        reason=reason,
        problem=problem,
        takes_two=conf.APPROVALS() > 1 and not is_rollback,
    )
