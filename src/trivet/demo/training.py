"""Two models of the flights, as somebody would have trained them before hearing of Trivet, and the demo's files.

Figures to expect (area under the curve): boosted .82 on June, which it was trained on, .75 in July, .66 in November.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trivet.demo.flights import CATEGORICAL, FEATURES, NUMERIC, TARGET, load_flights, split, write_replay

if TYPE_CHECKING:
    import pandas as pd

SEED = 2013
BOOSTING_ITERATIONS = 100
SAMPLE_ROWS = 40_000  # of 160,000: enough to be a reference, and no model has seen them


@dataclass(frozen=True)
class DemoFiles:
    """Where `build` wrote: the two trained objects, rows they have not seen, and the half year to replay."""

    linear: Path
    boosted: Path
    sample: Path
    replay: Path


def build(directory: Path) -> DemoFiles:
    """Train both models and write `late1.joblib`, `late2.joblib`, `sample.csv` and `replay.csv` into `directory`.

    The sample is of the same months as what they were trained on, but held out: it becomes their reference.
    """
    import joblib

    directory.mkdir(parents=True, exist_ok=True)
    files = DemoFiles(
        directory / "late1.joblib", directory / "late2.joblib", directory / "sample.csv", directory / "replay.csv"
    )
    train, replay = split(load_flights())
    sample = sample_of(train)
    train = train.drop(held_out_of(train).index)
    joblib.dump(train_linear(train), files.linear)
    joblib.dump(train_boosted(train), files.boosted)
    sample.to_csv(files.sample, index=False)
    write_replay(replay, files.replay)
    return files


def sample_of(train: pd.DataFrame, rows: int = SAMPLE_ROWS) -> pd.DataFrame:
    """Return about `rows` rows of `train` in time order: the features and the column `late`.

    They are held out, but for a row of each carrier, origin and destination that those have none of: what a model was trained
    on is not to be called unseen afterwards.
    """
    held_out = held_out_of(train, rows)
    chosen = set(held_out.index)
    for name in CATEGORICAL:
        missing = train[~train[name].isin(held_out[name])]
        chosen |= set(missing.drop_duplicates(name).index)
    return train.loc[sorted(chosen), [*FEATURES, TARGET]].reset_index(drop=True)


def held_out_of(train: pd.DataFrame, rows: int = SAMPLE_ROWS) -> pd.DataFrame:
    """Return `rows` random rows of `train`, always the same: no model is trained on them."""
    return train.sample(rows, random_state=SEED)


def train_linear(train: pd.DataFrame) -> Any:
    """Return a fitted pipeline: impute and scale the numbers, one-hot the words, logistic regression."""
    from sklearn.linear_model import LogisticRegression

    return _fitted(LogisticRegression(max_iter=200, tol=1e-3), train)


def train_boosted(train: pd.DataFrame, iterations: int = BOOSTING_ITERATIONS) -> Any:
    """Return a fitted pipeline: the same preparation, then histogram gradient boosting with a fixed seed."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return _fitted(HistGradientBoostingClassifier(max_iter=iterations, random_state=SEED), train)


def _fitted(classifier: Any, train: pd.DataFrame) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    prepare = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), list(NUMERIC)),
            ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), list(CATEGORICAL)),
        ]
    )
    return make_pipeline(prepare, classifier).fit(train[list(FEATURES)], train[TARGET])
