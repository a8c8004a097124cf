"""Logged: rows of the log as another version is asked with them, and why it cannot be asked with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from trivet.control.predictions.models import Prediction
from trivet.core.errors import NotFound, Refused, quoted
from trivet.core.redaction import is_hidden
from trivet.core.signature import Signature, enumerate_names
from trivet.features.past import Past
from trivet.features.predictor import features_of

NOT_KEPT = "inputs were not kept, or erased"
NEEDED = (
    "prediction_id", "row", "made_at", "entity_key", "inputs", "score", "decision", "latency_us", "cached", "flags",
)  # fmt: skip


class Asked(NamedTuple):
    """A logged row: what the version is asked with, or in words why it cannot be asked."""

    logged: Prediction
    row: dict[str, Any] | None
    why_not: str = ""

    @property
    def place(self) -> tuple[UUID, int]:
        """Which row of which request it is."""
        return self.logged.prediction_id, self.logged.row


class Asking:
    """Makes rows for a version of what the log keeps, and of a FeatureSet what it does not."""

    def __init__(self, model: str, signature: Signature) -> None:
        self._model, self._names = model, signature.field_names
        self._pasts: dict[tuple[str, ...], Past | str] = {}

    def of(self, page: Sequence[Prediction]) -> list[Asked]:
        """Return what each row of a page is asked with."""
        asked: list[Asked] = []
        lacking: dict[tuple[str, ...], list[int]] = {}
        for place, one in enumerate(page):
            asked.append(self._kept(one))
            given = asked[place].row
            if given is not None and (missing := tuple(name for name in self._names if name not in given)):
                lacking.setdefault(missing, []).append(place)
        for names, places in lacking.items():
            derived = self._derived(names, [(page[place].entity_key, page[place].made_at) for place in places])
            for place, found in zip(places, derived, strict=True):
                asked[place] = _with(asked[place], names, found)
        return asked

    def _kept(self, one: Prediction) -> Asked:
        if not isinstance(one.inputs, dict):
            return Asked(one, None, NOT_KEPT)
        given = {name: one.inputs[name] for name in self._names if name in one.inputs}
        hidden = [quoted(name) for name, value in given.items() if is_hidden(value)]
        if hidden:
            return Asked(one, None, f"{enumerate_names(hidden)} is kept as a digest")
        return Asked(one, given)

    def _derived(
        self, names: tuple[str, ...], about: Sequence[tuple[str, datetime]]
    ) -> Sequence[Mapping[str, Any] | str]:
        if names not in self._pasts:
            self._pasts[names] = _past(self._model, names)
        past = self._pasts[names]
        return [past] * len(about) if isinstance(past, str) else past.of(about)


def _past(model: str, names: tuple[str, ...]) -> Past | str:
    try:
        return Past(features_of(model), names)
    except (NotFound, Refused):
        return "no FeatureSet says how it is made"


def _with(asked: Asked, names: Sequence[str], found: Mapping[str, Any] | str) -> Asked:
    """Return a row with what was derived, or with why that could not be."""
    if isinstance(found, str) or asked.row is None:
        lacks = f"it lacks {enumerate_names([quoted(name) for name in names])}"
        return Asked(asked.logged, None, f"{lacks}, and {found}")
    return Asked(asked.logged, {**asked.row, **found})
