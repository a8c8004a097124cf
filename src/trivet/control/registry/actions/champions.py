"""A model's champions, as its Events tell them."""

from __future__ import annotations

from collections.abc import Iterable

from trivet.control.registry.actions.change import Change
from trivet.control.registry.models import Event, RegisteredModel


def champion_moves(change: Change, model: RegisteredModel) -> list[tuple[str, int | None]]:
    """Return each change of champion in the model's history, oldest first, as (action, new champion)."""
    events = change.rows(Event).filter(model=model.name, action__in=("set_routes", "promote", "roll_back"))
    told = events.order_by("generation").values_list("action", "before__aliases__champion", "after__aliases__champion")
    return [(action, after) for action, before, after in told if before != after]


def pile_of(moves: Iterable[tuple[str, int | None]]) -> list[int]:
    """Return the champions that one may go back to, the last on top: a rollback takes them off the pile, other moves add."""
    pile: list[int] = []
    for action, champion in moves:
        if champion is None:
            continue
        if action == "roll_back" and champion in pile:
            while pile[-1] != champion:
                pile.pop()
        else:
            pile.append(champion)
    return pile


def previous_champion(moves: Iterable[tuple[str, int | None]]) -> int | None:
    """Return the champion below the last one."""
    pile = pile_of(moves)
    return pile[-2] if len(pile) > 1 else None
