import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from trivet.demo.flights import FEATURES, TARGET, load_flights, split

SEED = 20130101


@pytest.fixture(scope="session")
def flights():
    """20,000 training rows and 5,000 rows of the half year after them, with strings, gaps and unseen destinations."""
    train, replay = split(load_flights())
    later = replay.sample(5_000, random_state=SEED).reset_index(drop=True)
    later.loc[later.index[:50], "dest"] = "ZZZ"
    later.loc[later.index[50:100], "carrier"] = np.nan
    return train.sample(20_000, random_state=SEED).reset_index(drop=True), later


@pytest.fixture(scope="session")
def training_rows(flights):
    train, _ = flights
    return train[list(FEATURES)], train[TARGET]


@pytest.fixture(scope="session")
def cancer():
    return load_breast_cancer(return_X_y=True)


@pytest.fixture(scope="session")
def cancer_with_gaps(cancer):
    x, y = cancer
    x = x.copy()
    x[np.random.default_rng(SEED).random(x.shape) < 0.1] = np.nan
    return x, y
