"""What code declares of a model, for as long as a test lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trivet.control.registry import declarations
from trivet.control.registry.declarations import Declaration, declare
from trivet.features import saves
from trivet.features.feature_set import FeatureSet, feature_sets
from trivet.features.outcome import Outcome
from trivet.features.predictor import Predictor, predictors


@contextmanager
def declaring(model: str = "", declaration: Declaration | None = None) -> Iterator[None]:
    """Let `declaration` hold of `model` inside the block, after which nothing holds that was declared inside."""
    before, known, sets = dict(declarations._declared), list(predictors), list(feature_sets)
    names = dict(declarations._features)
    if declaration is not None:
        declare(model, declaration)
    try:
        yield
    finally:
        declarations._declared.clear()
        declarations._declared.update(before)
        declarations._features.clear()
        declarations._features.update(names)
        predictors[:] = known
        feature_sets[:] = sets
        saves._joins_of.cache_clear()


def predictor(name: str = "Late", **said: Any) -> type[Predictor]:
    """Declare a Predictor, as an `ml.py` would."""
    return type(name, (Predictor,), {"__module__": "shop.ml", **said})


def outcome_of(model: str, outcome: Outcome, **said: Any) -> type[Predictor]:
    """Declare the Outcome of a model."""
    return predictor("Declared", outcome=outcome, Meta=type("Meta", (), {"name": model}), **said)


def feature_set(model: Any = None, *fields: str, name: str = "ChurnFeatures", **said: Any) -> type[FeatureSet]:
    """Declare a FeatureSet over `model`, with `fields` as they stand, as an `ml.py` would."""
    meta = type("Meta", (), {"model": model, "fields": list(fields)} if model is not None else {"fields": list(fields)})
    return type(name, (FeatureSet,), {"__module__": "shop.ml", "Meta": meta, **said})
