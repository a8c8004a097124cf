"""Misfit: how labels differ from what was estimated, in the numbers of one day, as an alert keeps them and pages tell them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from trivet.control.monitoring.tasks import Bets
from trivet.control.monitoring.trust import Side


class Misfit(msgspec.Struct, frozen=True):
    """A day whose labels speak against the estimate: on which `side`, with how much `evidence` by then, and `limit` is enough.

    Of `labels` rows `wrong` were wrong, where `expected` were to be expected. Of two classes also how many rows were of
    `positive`, the class that scores are of, and how many were `likely` to be.
    """

    side: Side
    wrong: int
    expected: float
    labels: int
    evidence: float
    limit: float
    until: datetime  # the end of the day
    positive: str = ""
    positives: int = 0
    likely: float = 0.0

    @property
    def is_seen(self) -> bool:
        """Whether the day itself is on that side: another does not yet make up for those before, and is no reason to give."""
        return self.labels > 0 and (self.wrong > self.expected) == (self.side == Side.MORE)

    @property
    def facts(self) -> dict[str, Any]:
        """As an alert keeps it."""
        return dict(msgspec.to_builtins(self))

    @classmethod
    def told(cls, facts: Mapping[str, Any]) -> Misfit | None:
        """Return what an alert keeps; None of one that an earlier release raised, which did not say."""
        return msgspec.convert(dict(facts), cls) if "side" in facts else None


def misfit_on(side: Side, day: Bets, *, evidence: float, limit: float, until: datetime) -> Misfit:
    """Return what a day's labels say of an estimate that is found wrong on a side."""
    misfit = Misfit(side, day.wrong, round(day.expected, 3), day.labels, evidence, limit, until)
    if day.positives is None:
        return misfit
    name, were, likely = day.positives
    return msgspec.structs.replace(misfit, positive=name, positives=were, likely=round(likely, 3))
