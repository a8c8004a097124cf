"""Rents of flats, and a model of them that errs more the larger a flat is, and in one district more than in others."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from trivet.model.compile.compiler import compile_model
from trivet.model.compile.preparing import Compiled

DISTRICTS = ("north", "south", "docks")
LABELLED = 8_000  # rows of the reference


def rents(rows: int, seed: int, *, large: float = 0.0, docks: float = 0.1) -> tuple[pd.DataFrame, np.ndarray]:
    """Return flats and what they cost; `large` moves their areas up, `docks` is the share that lies there.

    One floor in twenty is not known. What flats cost given what is known of them is always drawn alike.
    """
    random = np.random.default_rng(seed)
    area = random.normal(70.0 + 40.0 * large, 20.0, rows).clip(15, 220)
    district = random.choice(DISTRICTS, rows, p=[0.6 - docks / 2, 0.4 - docks / 2, docks])
    noise = area / 70.0 * np.where(district == "docks", 150.0, 50.0)
    cost = 10.0 * area + 100.0 * (district == "north") + noise * random.normal(size=rows)
    floor = np.where(random.random(rows) < 0.05, np.nan, random.integers(0, 6, rows))
    return pd.DataFrame({"area": area, "district": district, "floor": floor}), cost


@cache
def trained() -> Pipeline:
    """Return a model that was trained on flats of its own."""
    words = make_column_transformer((OneHotEncoder(), ["district"]), remainder="passthrough")
    model = make_pipeline(words, HistGradientBoostingRegressor(max_iter=40, random_state=0))
    return model.fit(*rents(6_000, 1))


@cache
def compiled_rents() -> Compiled:
    """Return it compiled, with 8,000 other flats as its sample and what they cost as labels."""
    sample, costs = rents(LABELLED, 2)
    return compile_model(trained(), sample=sample, labels=costs)
