"""The four models that every server of the comparison serves, trained the same way wherever this runs.

`python models.py FOLDER` writes for each a joblib file, a sample and a JSON file with the rows that are asked and the
answers scikit-learn gives to them. It imports scikit-learn, pandas and joblib only, so that each opponent's own
environment trains for itself: a pickle is read by the release that wrote it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

SEED = 7
ASKED = 100  # rows that are asked, alone or together
CITIES = ("Lyon", "Oslo", "Porto", "Graz", "Gent", "Bergen")
PLANS = ("basic", "plus", "team")
CHANNELS = ("web", "phone", "partner", "shop")


def linear() -> tuple[Any, Any]:
    """Logistic regression on iris: four numbers, three classes."""
    x, y = load_iris(return_X_y=True)
    return LogisticRegression(max_iter=1000).fit(x, y), x


def forest() -> tuple[Any, Any]:
    """A forest of 100 trees on breast cancer: thirty numbers, two classes."""
    x, y = load_breast_cancer(return_X_y=True)
    return RandomForestClassifier(n_estimators=100, random_state=SEED, n_jobs=1).fit(x, y), x


def boosting() -> tuple[Any, Any]:
    """Gradient boosting of 100 trees on ten numbers, two classes."""
    x, y = load_breast_cancer(return_X_y=True)
    return GradientBoostingClassifier(n_estimators=100, random_state=SEED).fit(x[:, :10], y), x[:, :10]


def pipeline() -> tuple[Any, Any]:
    """One-hot encoded words and scaled numbers in a logistic regression: three words, three numbers, two classes."""
    chance = np.random.default_rng(SEED)
    rows = 600
    frame = pd.DataFrame(
        {
            "city": chance.choice(CITIES, rows),
            "plan": chance.choice(PLANS, rows),
            "channel": chance.choice(CHANNELS, rows),
            "age": chance.integers(18, 90, rows).astype(float),
            "spend": np.round(chance.gamma(2.0, 40.0, rows), 2),
            "visits": chance.integers(0, 40, rows).astype(float),
        }
    )
    words, numbers = ["city", "plan", "channel"], ["age", "spend", "visits"]
    leaning = (frame["plan"] == "basic") * 1.0 - frame["visits"] / 20 + chance.normal(0, 0.5, rows)
    prepare = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), words), (StandardScaler(), numbers), verbose_feature_names_out=False
    )
    return make_pipeline(prepare, LogisticRegression(max_iter=1000)).fit(frame, (leaning > 0).astype(int)), frame


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "linear": linear,
    "forest": forest,
    "boosting": boosting,
    "pipeline": pipeline,
}


def write(folder: Path) -> None:
    """Train the models and write their files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in MODELS.items():
        model, sample = make()
        asked = sample[:ASKED]
        is_frame = isinstance(sample, pd.DataFrame)
        frame = sample if is_frame else pd.DataFrame(sample, columns=[f"x{i}" for i in range(sample.shape[1])])
        frame.head(500).to_csv(folder / f"{name}.csv", index=False)
        joblib.dump(model, folder / f"{name}.joblib")
        known = {
            "columns": list(frame.columns) if is_frame else [],
            "rows": asked.to_numpy(dtype=object).tolist() if is_frame else asked.tolist(),
            "probabilities": model.predict_proba(asked).tolist(),
        }
        (folder / f"{name}.json").write_text(json.dumps(known))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
