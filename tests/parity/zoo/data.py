"""The rows the zoo is trained on, each set with rows that no gate sees. Small, seeded, partly real."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets

from trivet.demo.flights import FEATURES, TARGET, load_flights, split

SEED = 20130101
TRAINING_ROWS = 300
HELD_ROWS = 120


@dataclass(frozen=True)
class Data:
    """Rows to train on, of which the first are the sample of the push, their target, and rows held back."""

    x: Any  # array (rows, features), DataFrame, or array (rows,) of texts
    y: Any
    held: Any

    @property
    def sample(self) -> Any:
        """What is given with the push: half of the training rows."""
        return self.x[: len(self.x) // 2] if isinstance(self.x, np.ndarray) else self.x.head(len(self.x) // 2)


def _shuffled(x: Any, y: Any, rows: int = TRAINING_ROWS) -> Data:
    order = np.random.default_rng(SEED).permutation(len(x))
    kept, held = order[:rows], order[rows : rows + HELD_ROWS]
    if isinstance(x, pd.DataFrame):
        return Data(x.iloc[kept].reset_index(drop=True), np.asarray(y)[kept], x.iloc[held].reset_index(drop=True))
    return Data(x[kept], np.asarray(y)[kept], x[held])


def _with_gaps(x: np.ndarray) -> np.ndarray:
    gone = np.random.default_rng(SEED + 1).random(x.shape) < 0.1
    return np.where(gone, np.nan, x)


def _cancer() -> tuple[np.ndarray, np.ndarray]:
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return x[:, :12], y


def _iris() -> tuple[np.ndarray, np.ndarray]:
    x, y = datasets.load_iris(return_X_y=True)
    return x, datasets.load_iris().target_names[y].astype(object)


def _people(rows: int = TRAINING_ROWS + HELD_ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(SEED)
    city = rng.choice(["Lyon", "Nice", "Paris", "Brest", "Metz", "Tours"], rows, p=[0.3, 0.3, 0.25, 0.1, 0.03, 0.02])
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows),
            "income": rng.normal(50_000, 10_000, rows).round(2),
            "debt": rng.exponential(3_000, rows).round(2),
            "city": pd.Series(city, dtype=object),
            "plan": pd.Series(rng.choice(["free", "basic", ""], rows), dtype=object),
            "member": rng.random(rows) < 0.5,
        }
    )
    frame.loc[rng.random(rows) < 0.15, "income"] = np.nan
    frame.loc[rng.random(rows) < 0.1, "city"] = np.nan
    return frame


def _stays(frame: pd.DataFrame) -> np.ndarray:
    noise = np.random.default_rng(SEED + 2).random(len(frame)) < 0.15
    stays = (frame["age"] > 45) ^ (frame["city"] == "Nice") ^ noise
    return np.where(stays, "stays", "churned").astype(object)


def _spends(frame: pd.DataFrame) -> np.ndarray:
    noise = np.random.default_rng(SEED + 3).normal(0, 30, len(frame))
    bonus = frame["city"].map({"Nice": 300.0, "Paris": 500.0}).fillna(50.0)
    return (frame["age"] * 12 + bonus + frame["debt"] / 20 + noise).to_numpy()


_GOOD = ["great", "lovely", "fine", "excellent", "happy", "wonderful", "solid", "quick"]
_BAD = ["poor", "broken", "slow", "awful", "sad", "terrible", "refund", "noisy"]
_PLAIN = ["the", "room", "was", "staff", "food", "price", "with", "and", "breakfast", "view", "night"]


def _reviews(rows: int = TRAINING_ROWS + HELD_ROWS) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(SEED)
    good = rng.random(rows) < 0.5
    texts = [
        " ".join(rng.permutation([*rng.choice(_GOOD if one else _BAD, 2), *rng.choice(_PLAIN, 5)])) for one in good
    ]
    frame = pd.DataFrame({"text": pd.Series(texts, dtype=object), "stars": rng.integers(1, 6, rows)})
    return frame, np.where(good ^ (rng.random(rows) < 0.1), "good", "bad").astype(object)


def _flights() -> Data:
    train, later = split(load_flights())
    kept = train.sample(3_000, random_state=SEED).reset_index(drop=True)
    held = later.sample(400, random_state=SEED).reset_index(drop=True)
    return Data(kept[list(FEATURES)].copy(), kept[TARGET].to_numpy(object), held[list(FEATURES)].copy())


def _counts() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(SEED)
    y = rng.integers(0, 3, TRAINING_ROWS + HELD_ROWS)
    return rng.poisson(np.array([[1, 2, 3, 4], [3, 1, 4, 1], [2, 5, 1, 2]])[y]).astype(float), y


def _single() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(TRAINING_ROWS + HELD_ROWS, 1))
    return x, np.tanh(x[:, 0]) + rng.normal(0, 0.2, len(x))


def _targets(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.column_stack([y, x[:, 2] * 100 + y / 2])


def _sets(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.column_stack([y, (x[:, 1] > np.median(x[:, 1])).astype(int), (x[:, 4] > np.median(x[:, 4])).astype(int)])


@cache
def data(name: str) -> Data:
    """Return the rows called `name`."""
    return _SETS[name]()


_SETS = {
    "cancer": lambda: _shuffled(*_cancer()),
    "cancer scaled": lambda: _shuffled((_cancer()[0] - _cancer()[0].mean(0)) / _cancer()[0].std(0), _cancer()[1]),
    "cancer words": lambda: _shuffled(_cancer()[0], np.where(_cancer()[1] == 1, "benign", "malignant").astype(object)),
    "cancer gaps": lambda: _shuffled(_with_gaps(_cancer()[0]), _cancer()[1]),
    "cancer sets": lambda: _shuffled(_cancer()[0], _sets(*_cancer())),
    "iris": lambda: _shuffled(*_iris(), rows=100),
    "iris numbers": lambda: _shuffled(*datasets.load_iris(return_X_y=True), rows=100),
    "wine": lambda: _shuffled(*datasets.load_wine(return_X_y=True), rows=120),
    "digits": lambda: _shuffled(*datasets.load_digits(return_X_y=True)),
    "diabetes": lambda: _shuffled(*datasets.load_diabetes(return_X_y=True)),
    "diabetes gaps": lambda: _shuffled(
        _with_gaps(datasets.load_diabetes(return_X_y=True)[0]), datasets.load_diabetes(return_X_y=True)[1]
    ),
    "diabetes two": lambda: _shuffled(
        datasets.load_diabetes(return_X_y=True)[0], _targets(*datasets.load_diabetes(return_X_y=True))
    ),
    "single": lambda: _shuffled(*_single()),
    "single falling": lambda: _shuffled(_single()[0], -_single()[1]),
    "counts": lambda: _shuffled(*_counts()),
    "people": lambda: _shuffled(_people(), _stays(_people())),
    "people numbers": lambda: _shuffled(_people(), (_stays(_people()) == "stays").astype(int)),
    "people categories": lambda: _shuffled(
        _people().astype({"city": "category", "plan": "category"}), (_stays(_people()) == "stays").astype(int)
    ),
    "people without gaps": lambda: _shuffled(_people().dropna(), _stays(_people().dropna())),
    "people spend": lambda: _shuffled(_people(), _spends(_people())),
    "reviews": lambda: _shuffled(*_reviews()),
    "reviews in French": lambda: _shuffled(
        _reviews()[0].assign(text=_reviews()[0]["text"].str.replace("great", "très")), _reviews()[1]
    ),
    "texts": lambda: _shuffled(_reviews()[0]["text"].to_numpy(object), _reviews()[1]),
    "texts in French": lambda: _shuffled(
        _reviews()[0]["text"].str.replace("great", "très").to_numpy(object), _reviews()[1]
    ),
    "flights": _flights,
    "flights numbers": lambda: Data(data("flights").x, (data("flights").y == "late").astype(int), data("flights").held),
}
