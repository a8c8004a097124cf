"""Prediction: one answer as Python code sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import total_ordering
from typing import Any

from trivet.core.ids import split_row_id


@total_ordering
@dataclass(frozen=True, eq=False)
class Prediction:
    """One answer. It compares and converts as its number; as a truth value it refuses, for that is what `decision` is for.

    Two predictions are equal when their values are, whichever requests they answer; `id` tells those apart. One that has
    a probability per class equals no number, and has no order.
    `value` is a number, or `{class: probability}`; `decision` is the label in words, empty for a plain number.
    `latency_ms` is in milliseconds, from the call to the answer. `fallback_from` is the version that failed, where another
    answered for it; `version` 0 is a constant. `reasons` and `interval` are for releases that explain.
    """

    value: Any  # a number, or class -> probability
    decision: str
    model: str
    version: int
    digest: str
    id: str
    route: str
    flags: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)
    cached: bool = False
    latency_ms: float = 0.0
    fallback_from: int | None = None
    reasons: tuple[Any, ...] = ()  # of a type that is not there yet
    interval: tuple[float, float] | None = None

    def __float__(self) -> float:
        if isinstance(self.value, Mapping):
            raise TypeError(f"this prediction has a probability per class: read one, .value[{self.decision!r}].")
        return float(self.value)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Prediction):
            return bool(self.value == other.value)
        if isinstance(other, int | float) and isinstance(self.value, int | float):
            return self.value == other
        return NotImplemented

    def __lt__(self, other: object) -> bool:
        return float(self) < float(other) if isinstance(other, int | float | Prediction) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self.value) if isinstance(self.value, Mapping) else self.value)

    def __bool__(self) -> bool:
        raise TypeError("a prediction is not true or false: compare it (`p > 0.8`) or read `.decision`.")

    def __repr__(self) -> str:
        number = self.value.get(self.decision) if isinstance(self.value, Mapping) else self.value
        shown = [f"{number:.2f}"] if isinstance(number, int | float) else []
        shown += [self.decision] if self.decision else []
        return f"<Prediction {' '.join(shown)} · {self.model} {self.version} · {self.latency_ms:.1f} ms>"

    @property
    def label(self) -> Any:
        """What turned out true, as it is in the log now; None where nobody has said so yet. It asks the database."""
        from trivet.control.predictions.labelling import (
            standing_label,  # tables: this class is there before Django is set up
        )

        named = split_row_id(self.id)
        found = standing_label(*named) if named else None
        return None if found is None else found.value

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, ready for JSON: the row of a `/predict` answer, and which version made it."""
        row: dict[str, Any] = {"id": self.id, "value": self.value, "decision": self.decision}
        if self.flags:
            row["flags"] = dict(self.flags)
        if self.fallback_from is not None:
            row["fallback_from"] = self.fallback_from
        return {"model": self.model, "version": self.version, "route": self.route, **row}
