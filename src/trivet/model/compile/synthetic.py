"""Rows made up from what a fitted object reveals, for a push without a sample. The report calls them synthetic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn import compose, impute, pipeline, preprocessing

from trivet.core.errors import CompileError
from trivet.model.compile.columns import is_missing
from trivet.model.compile.fields import fitted_names, fitted_width
from trivet.model.compile.lowering import unwrapped

ROWS = 500
SEED = 7


def synthetic_sample(model: Any) -> pd.DataFrame | np.ndarray:
    """Return 500 rows with the columns `model` was fitted on: known categories, numbers around the fitted centres.

    Raises `CompileError` when the object does not say how many columns it takes.
    """
    rng = np.random.default_rng(SEED)
    names = fitted_names(model)
    width = fitted_width(model)
    if names is None and width is None:
        raise CompileError("the model does not say which columns it takes: push with a sample of its rows.")
    columns = list(names) if names is not None else [f"x{i}" for i in range(width or 0)]
    values: dict[str, Any] = {name: rng.normal(size=ROWS) for name in columns}
    for column, found in _revealed(unwrapped(model), columns):
        if isinstance(found, tuple):
            centre, spread = found
            values[column] = rng.normal(centre, spread, size=ROWS)
        else:
            values[column] = rng.choice(found, size=ROWS)
    frame = pd.DataFrame(values)
    return frame if names is not None else frame.to_numpy(np.float64)


def _revealed(step: Any, columns: list[str]) -> Iterator[tuple[str, Any]]:
    """Give for columns that a first fitted step speaks of: its categories, or a centre and a spread."""
    step = unwrapped(step)
    if isinstance(step, pipeline.Pipeline):
        for _, inner in step.steps:
            yield from _revealed(inner, columns)
            if inner is not None and not isinstance(inner, str | impute.SimpleImputer):
                return
    elif isinstance(step, compose.ColumnTransformer):
        for name, inner, _ in step.transformers_:
            places = step._transformer_to_input_indices.get(name, [])
            yield from _revealed(inner, [columns[int(place)] for place in places])
    else:
        for kind, reader in _READERS.items():
            if isinstance(step, kind):
                yield from reader(step, columns)


def _known_categories(step: Any, columns: list[str]) -> Iterator[tuple[str, Any]]:
    for column, categories in zip(columns, step.categories_, strict=False):
        present = [value for value in categories.tolist() if not is_missing(value)]
        if present:
            yield column, np.array(present, categories.dtype)


def _scaled(step: Any, columns: list[str]) -> Iterator[tuple[str, Any]]:
    if step.mean_ is not None and step.scale_ is not None:
        for column, centre, spread in zip(columns, step.mean_, step.scale_, strict=False):
            yield column, (float(centre), float(spread))


def _imputed(step: Any, columns: list[str]) -> Iterator[tuple[str, Any]]:
    for column, value in zip(columns, step.statistics_, strict=False):
        if isinstance(value, str):
            yield column, np.array([value], object)
        elif not is_missing(value):
            yield column, (float(value), max(abs(float(value)), 1.0))


_READERS = {
    preprocessing.OneHotEncoder: _known_categories,
    preprocessing.OrdinalEncoder: _known_categories,
    preprocessing.StandardScaler: _scaled,
    impute.SimpleImputer: _imputed,
}
