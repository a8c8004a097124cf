"""What a fitted object keeps of its training: whole rows, or the words of its texts. Compiled or not, it takes them along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

MOST_OBJECTS = 100_000  # looked at: no forest has as many trees
# Attributes of scikit-learn's fitted estimators that are rows of their training, or words of it.
ROWS = ("_fit_X", "X_fit_", "X_train_", "X_", "support_vectors_", "component_indices_")
WORDS = ("vocabulary_",)


def kept_of_training(model: Any) -> tuple[str, ...]:
    """Return what `model`, fitted, and the steps within it keep, as in "rows (KNeighborsClassifier)"; sorted.

    Known are scikit-learn's neighbours, Gaussian processes, kernel machines, label propagation and vectorisers. Categories
    are not told: they are in the signature, where everybody sees them.
    """
    found = set()
    for part in _parts(model):
        held = _attributes(part)
        for what, names in (("rows", ROWS), ("words", WORDS)):
            if any(held.get(name) is not None for name in names):
                found.add(f"{what} ({type(part).__name__})")
    return tuple(sorted(found))


def kept_as_manifest(model: Any) -> dict[str, list[str]]:
    """Return what the manifest says of it: nothing where nothing is kept."""
    kept = kept_of_training(model)
    return {"keeps": list(kept)} if kept else {}


def _parts(model: Any) -> Iterator[Any]:
    """Give `model` and the fitted objects within it, however deep."""
    waiting, seen = [model], set[int]()
    while waiting and len(seen) < MOST_OBJECTS:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Mapping):
            waiting += _objects(part.values())
        elif isinstance(part, list | tuple):
            waiting += _objects(part)
        elif hasattr(part, "get_params") or type(part).__module__.startswith("sklearn."):
            yield part
            waiting += _objects(_attributes(part).values())


def _objects(values: Iterable[Any]) -> list[Any]:
    """Return those of `values` in which something may be: neither numbers, nor texts, nor arrays."""
    return [value for value in values if not isinstance(value, int | float | str | np.generic | np.ndarray | None)]


def _attributes(part: Any) -> dict[str, Any]:
    return getattr(part, "__dict__", {})
