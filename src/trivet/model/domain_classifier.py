"""The domain classifier: how well rows of one time can be told from those of another, all features taken together.

It sees what no histogram of one feature shows, as a combination of values that there never was. It takes rows, not counts, and
scikit-learn to train on them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from threadpoolctl import threadpool_limits

from trivet.core.errors import Refused

LEAST_ROWS = 50  # of either side; chosen
FOLDS = 5
COMMONEST = 200  # categories told apart in a feature; the booster takes 255
FARTHEST = 1e300  # values beyond count as this: between two of them there has to be a number
SEED = 0

Columns = Mapping[str, Any]  # feature -> its values, one a row: float64 with NaN for missing, or texts with None


@dataclass(frozen=True)
class Separation:
    """How well `rows` rows are told from `rows_before` others by `features` features that vary.

    `auc` is the mean over five folds of the area under the ROC curve: 0.5 where they are alike, 1 where each row shows whose it
    is. Alike and independent rows seldom come to more than `by_chance`: three standard errors of a rank sum.
    """

    auc: float
    by_chance: float
    rows: int
    rows_before: int
    features: int


def separation(current: Columns, before: Columns) -> Separation:
    """Return how well a gradient-boosted classifier tells the rows of `current` from those of `before`, cross-validated.

    By the features that both have. Rows should be independent: where one customer's are on both sides of a fold, it is
    recognised. Raises `Refused` where either side has fewer than 50 rows.
    """
    rows, rows_before = (len(next(iter(columns.values()), ())) for columns in (current, before))
    if min(rows, rows_before) < LEAST_ROWS:
        raise Refused(
            f"a classifier takes {LEAST_ROWS} rows with their inputs on either side; there are {rows:,}, and {rows_before:,}"
            " to compare them with. Choose a longer --window, or another --reference."
        )
    made = [_feature(current[name], before[name]) for name in current if name in before]
    varying = [(values, is_category) for values, is_category in made if _varies(values)]
    by_chance = 0.5 + 3.0 * math.sqrt((rows + rows_before + 1) / (12.0 * rows * rows_before))
    auc = _auc(varying, rows, rows_before) if varying else 0.5
    return Separation(auc, by_chance, rows, rows_before, len(varying))


def _auc(features: Sequence[tuple[np.ndarray, bool]], rows: int, rows_before: int) -> float:
    booster = HistGradientBoostingClassifier(
        categorical_features=[is_category for _, is_category in features], early_stopping=False, random_state=SEED
    )
    table = np.column_stack([values for values, _ in features])
    is_current = np.repeat([1, 0], [rows, rows_before])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    with threadpool_limits(1):  # several wait for each other longer than they work on so few rows
        return float(cross_val_score(booster, table, is_current, cv=folds, scoring="roc_auc").mean())


def _feature(one: Any, other: Any) -> tuple[np.ndarray, bool]:
    """Return the values of both sides as numbers, NaN for missing, and whether they stand for categories."""
    if isinstance(one, np.ndarray):
        return np.clip(np.concatenate([one, other]), -FARTHEST, FARTHEST), False
    values = [*one, *other]
    common = Counter(value for value in values if value is not None).most_common(COMMONEST)
    codes = {value: float(code) for code, (value, _) in enumerate(common)} | {None: math.nan}
    return np.array([codes.get(value, float(COMMONEST)) for value in values]), True


def _varies(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    return bool(len(known)) and (len(known) < len(values) or bool((known != known[0]).any()))
