"""Rows made to hurt that the gate did not make: gaps, unseen words and neighbours of thresholds, by other means than its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from tests.parity.zoo.data import SEED

THRESHOLD_ROWS = 200
ROWS_EACH = 10
STRANGE = ("Zürich", "NICE", "nice ", "  ", "漢字", "y" * 300, "great very", "0", "Nice\n", "late")


@dataclass(frozen=True)
class Rows:
    """Rows of one kind. `column` is the one that was changed, None where no single one was."""

    kind: str  # held, missing, unseen, threshold or large
    rows: Any
    column: str | None = None


def hard_rows(model: Any, held: Any) -> list[Rows]:
    """Return the rows held back, and copies of them with one thing changed."""
    found = [Rows("held", held)]
    if held.ndim == 1:
        found.append(Rows("unseen", np.array([*STRANGE, held[0].upper(), held[1] + "," + held[2], "", "the"], object)))
    elif isinstance(held, np.ndarray):
        found += _of_a_matrix(held, list(_thresholds(model)))
    else:
        found += _of_a_frame(held)
    return found


def _of_a_matrix(held: np.ndarray, cuts: list[tuple[int, float]]) -> Iterator[Rows]:
    rng = np.random.default_rng(SEED + 4)
    missing = held[:ROWS_EACH].copy()
    missing[np.arange(len(missing)), rng.integers(held.shape[1], size=len(missing))] = np.nan
    yield Rows("missing", missing)
    yield Rows("large", held[:ROWS_EACH] * 1e6)
    cuts = [(feature, cut) for feature, cut in cuts if np.isfinite(cut) and feature < held.shape[1]]
    if not cuts:
        return
    picked = [cuts[i] for i in rng.permutation(len(cuts))[: THRESHOLD_ROWS // 3]]
    rows = []
    for feature, cut in picked:
        near = np.float32(cut)
        for value in (
            cut,
            float(np.nextafter(near, np.float32(-np.inf))),
            float(np.nextafter(near, np.float32(np.inf))),
        ):
            row = held[rng.integers(len(held))].copy()
            row[feature] = value
            rows.append(row)
    yield Rows("threshold", np.array(rows))


def _of_a_frame(held: pd.DataFrame) -> Iterator[Rows]:
    for column in held.columns:
        rows = held.head(ROWS_EACH)
        if held[column].dtype == object:
            yield Rows("missing", rows.assign(**{column: pd.Series([np.nan] * len(rows), dtype=object)}), column)
            yield Rows("unseen", rows.assign(**{column: pd.Series(STRANGE[: len(rows)], dtype=object)}), column)
        elif held[column].dtype.kind == "f":
            yield Rows("missing", rows.assign(**{column: np.nan}), column)
            yield Rows("large", rows.assign(**{column: held[column].fillna(1.0) * 1e6}), column)


def _thresholds(model: Any) -> Iterator[tuple[int, float]]:
    """Give feature and threshold of each split that compares a value of the caller's row."""
    name = type(model).__name__
    if hasattr(model, "tree_"):
        yield from _pairs(model.tree_.feature, model.tree_.threshold)
    elif name.startswith("HistGradientBoosting"):
        for rounds in model._predictors:
            for predictor in rounds:
                inner = predictor.nodes[predictor.nodes["is_leaf"] == 0]
                yield from _pairs(inner["feature_idx"], inner["num_threshold"])
    elif name.startswith(("XGB", "LGBM")) and getattr(model, "booster", None) != "gblinear":
        booster = model.get_booster() if name.startswith("XGB") else model.booster_
        table = booster.trees_to_dataframe()
        features, cuts = ("Feature", "Split") if name.startswith("XGB") else ("split_feature", "threshold")
        table = table[(table[features] != "Leaf") & table[features].notna() & table[cuts].notna()]
        places = [int(str(f).removeprefix("Column_").removeprefix("f")) for f in table[features].tolist()]
        yield from _pairs(places, [_number(cut) for cut in table[cuts].tolist()])
    elif isinstance(getattr(model, "estimators_", None), list | np.ndarray):
        for member in np.ravel(np.array(model.estimators_, dtype=object)):
            yield from _thresholds(member)


def _pairs(features: Any, cuts: Any) -> Iterator[tuple[int, float]]:
    for feature, cut in zip(features, cuts, strict=True):
        if feature >= 0:
            yield int(feature), float(cut)


def _number(cut: Any) -> float:
    try:
        return float(cut)
    except ValueError:
        return float("nan")  # a set of categories
