"""A move: a change of a model's traffic as somebody wants it, before it is made; as JSON it waits for a second person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trivet.control.registry.actions.manner import AS_IT_WAS, Manner


@dataclass(frozen=True)
class Move:
    """Where traffic and names shall point; no routes: they stay."""

    action: str  # of its Event
    routes: Mapping[int, int] | None
    aliases: Mapping[str, int | None]
    manner: Manner = AS_IT_WAS

    @property
    def version(self) -> int | None:
        """The one version that it is about, where it is about one."""
        return None if self.action == "set_routes" else next(iter(self.aliases.values()), None)


def encode_move(move: Move) -> dict[str, Any]:
    """Return a move as JSON; `decode_move` is its inverse."""
    manner = move.manner
    return {
        "routes": _texts(move.routes),
        "aliases": dict(move.aliases),
        "shadows": _texts(manner.shadows),
        "sticky_by": manner.sticky_by,
        "fallback": None if manner.fallback is None else list(manner.fallback),
    }


def decode_move(action: str, plain: Mapping[str, Any]) -> Move:
    """Return the move that `encode_move` wrote."""
    manner = Manner(_numbers(plain["shadows"]), plain["sticky_by"], plain["fallback"])
    return Move(action, _numbers(plain["routes"]), plain["aliases"], manner)


def _texts(shares: Mapping[int, int] | None) -> dict[str, int] | None:
    return None if shares is None else {str(number): weight for number, weight in shares.items()}


def _numbers(shares: Mapping[str, int] | None) -> dict[int, int] | None:
    return None if shares is None else {int(number): weight for number, weight in shares.items()}
