"""The trained models as every hand-written server holds them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

FOLDER = Path(os.environ["BENCH_FOLDER"])
NAMES = ("linear", "forest", "boosting", "pipeline")


class Estimator:
    """One model and the columns it wants, if it wants any."""

    def __init__(self, name: str) -> None:
        self._model = joblib.load(FOLDER / f"{name}.joblib")
        self._columns: list[str] = json.loads((FOLDER / f"{name}.json").read_text())["columns"]

    def probabilities(self, rows: list[list[Any]]) -> list[list[float]]:
        """Return `predict_proba` of `rows`."""
        given: Any = pd.DataFrame(rows, columns=self._columns) if self._columns else rows
        answer: list[list[float]] = self._model.predict_proba(given).tolist()
        return answer


def all_estimators() -> dict[str, Estimator]:
    """Return every model by name."""
    return {name: Estimator(name) for name in NAMES}
