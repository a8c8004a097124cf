"""Plans: what a run would do, what it would take, and what would come of a few rows. Nothing is written into the table."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trivet.features.shape import shape_of
from trivet.serving.scoring.answers import Page, answer
from trivet.serving.scoring.asked import Asked

ROWS_ASKED = 200  # of the table: for how long a row takes, and for what comes of it
ROWS_SHOWN = 5
HIDDEN = "(sensitive)"
SECONDS_TO_WRITE = 6e-5  # a row: chosen, 2,000 of them in an eighth of a second; nothing is written to find out


@dataclass(frozen=True)
class Plan:
    """What a run would do. `rows` are all that were meant and `to_do` those that would be scored, `seconds` a guess."""

    rows: int
    to_do: int
    seconds: float
    columns: tuple[str, ...]
    asked: int
    samples: tuple[tuple[str, Mapping[str, Any], float], ...]  # key, features, number
    spread: tuple[float, float, float] | None  # least, mean and largest number; None where there is none
    constant: tuple[str, ...]  # features that are the same in all rows that were asked
    refused: tuple[tuple[str, str], ...]  # key and why


def plan(wanted: Asked, *, user: Any) -> Plan:
    """Return what a run would do. It has the first rows predicted, which the log keeps as any prediction."""
    to_do = wanted.count()
    keys = wanted.page("", min(ROWS_ASKED, to_do)) if to_do else []
    if keys:
        answer(wanted, keys[:1], user=user, alive=_nothing)  # loads the version, which a run does once
    began = time.monotonic()
    page = answer(wanted, keys, user=user, alive=_nothing) if keys else Page(keys)
    each = (time.monotonic() - began) / len(keys) + SECONDS_TO_WRITE if keys else 0.0
    values = list(page.values.values())
    return Plan(
        rows=wanted.rows.values("pk").distinct().count(),
        to_do=to_do,
        seconds=each * to_do,
        columns=wanted.target.names,
        asked=len(keys),
        samples=tuple(
            (str(key), _shown(wanted, page.features[key]), page.values[key]) for key in list(page.values)[:ROWS_SHOWN]
        ),
        spread=(min(values), math.fsum(values) / len(values), max(values)) if values else None,
        constant=tuple(_constant(page.features.values())),
        refused=tuple((str(key), said) for key, said in page.refused.items()),
    )


def _shown(wanted: Asked, features: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the features of a row as a person may read them: whoever scores a table need not see what is sensitive."""
    declared = shape_of(wanted.features).features
    return {name: HIDDEN if declared[name].sensitive else value for name, value in features.items()}


def _constant(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the features of which all rows have the same value, where there are several rows."""
    first, *others = [*rows] or [{}]
    return [name for name, value in first.items() if others and all(row[name] == value for row in others)]


def _nothing() -> None:
    """No run has to be held."""
