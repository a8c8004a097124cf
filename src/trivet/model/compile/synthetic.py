"""Rows made up from what a fitted object reveals, for a push without a sample. The report calls them synthetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn import compose, impute, pipeline, preprocessing

from trivet.core.errors import CompileError, quoted
from trivet.model.compile.columns import is_missing
from trivet.model.compile.fields import fitted_names, fitted_width
from trivet.model.compile.lowering import takes_texts, unwrapped

ROWS = 500
MOST_WORDS = 12  # of a made-up text
SEED = 7


def synthetic_sample(model: Any) -> pd.DataFrame | np.ndarray:
    """Return 500 rows with the columns `model` was fitted on: known categories, numbers around fitted centres or thresholds.

    Where a row is a text, it is made of words of the vocabulary. Raises `CompileError` when the object does not say how many
    columns, or which words, it takes.
    """
    rng = np.random.default_rng(SEED)
    if takes_texts(model):
        return _texts(model, rng)
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
    for column, thresholds in _thresholds(unwrapped(model), columns).items():
        spread = float(np.std(thresholds)) or abs(float(thresholds[0])) or 1.0
        values[column] = rng.choice(thresholds, size=ROWS) + rng.normal(0, spread, size=ROWS)
    frame = pd.DataFrame(values)
    return frame if names is not None else frame.to_numpy(np.float64)


def _texts(model: Any, rng: np.random.Generator) -> np.ndarray:
    first = unwrapped(model)
    while isinstance(first, pipeline.Pipeline):
        first = first.steps[0][1]
    words = sorted(getattr(first, "vocabulary_", ()))
    if not words:
        raise CompileError("the model does not say which words it knows: push with a sample of its texts.")
    return np.array([" ".join(rng.choice(words, rng.integers(1, MOST_WORDS + 1))) for _ in range(ROWS)], object)


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


def _thresholds(model: Any, columns: list[str]) -> Mapping[str, np.ndarray]:
    """Return where the trees of `model` split each column that they split by a number; nothing for other models."""
    reader = _TREES.get(type(model).__module__.partition(".")[0])
    found = reader(model, columns) if reader is not None else ()
    splits = pd.DataFrame(found, columns=["column", "threshold"]).dropna()
    return {column: group.to_numpy(np.float64) for column, group in splits.groupby("column")["threshold"]}


def _of_xgboost(model: Any, columns: list[str]) -> Iterator[tuple[str, float]]:
    booster = model.get_booster()
    try:
        nodes = booster.trees_to_dataframe()
    except ValueError:  # a linear booster has none
        return
    names = booster.feature_names or [f"f{place}" for place in range(len(columns))]
    yield from zip(nodes["Feature"].map(dict(zip(names, columns, strict=True))), nodes["Split"], strict=True)


def _of_lightgbm(model: Any, columns: list[str]) -> Iterator[tuple[str, float]]:
    if model.booster_.pandas_categorical:
        raise CompileError("the model takes categories of pandas: push with a sample of its rows.")
    nodes = model.booster_.trees_to_dataframe()
    numeric = nodes[nodes["decision_type"] == "<="]
    places = dict(zip(model.booster_.feature_name(), columns, strict=True))
    yield from zip(numeric["split_feature"].map(places), numeric["threshold"].astype(np.float64), strict=True)


def _of_catboost(model: Any, columns: list[str]) -> Iterator[tuple[str, float]]:
    if words := model.get_cat_feature_indices() + model.get_text_feature_indices():
        raise CompileError(f"the model takes words in {quoted(columns[words[0]])}: push with a sample of its rows.")
    for place, borders in model.get_borders().items():
        yield from ((columns[place], border) for border in borders)


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
_TREES = {"xgboost": _of_xgboost, "lightgbm": _of_lightgbm, "catboost": _of_catboost}
