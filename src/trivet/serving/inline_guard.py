"""Where this machine's processes tell what they run inline, and what becomes of a version that was given up."""

from __future__ import annotations

from pathlib import Path

from trivet.control.registry import actions
from trivet.dataplane.engines.guard import Given, forget_the_dead, given_up
from trivet.serving.model_workers import run_folder

ACTOR = "process:keeper"


def guard_folder() -> Path:
    """Return the private folder of the guard."""
    return run_folder() / "inline"


def forget_what_ended() -> None:
    """Remove what processes left there that ended with everything else: nobody saw them die."""
    forget_the_dead(guard_folder())


class Teller:
    """Writes the Event of each version that was given up on this machine, upon which every worker looks at it anew."""

    def __init__(self) -> None:
        self._told: set[Given] = set()

    def tell(self) -> None:
        """Write what no Event tells of; raises what the database does."""
        for given in given_up(guard_folder()):
            if given not in self._told:
                actions.give_up_inline(digest=given.digest, at=given.at, actor=ACTOR, reason=given.reason)
                self._told.add(given)
