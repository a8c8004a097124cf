"""C2 to C4: the silent errors of the stock converters. The gate must catch theirs, and ours must be exact or refused."""

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from tests.parity.stock import gate, ours, stock_graph, thresholds_to_nearest
from xgboost import XGBClassifier

from trivet.core.errors import CompileError, ParityFailed


def logistic():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(10, random_state=0),
        ExtraTreesClassifier(10, random_state=0),
        DecisionTreeClassifier(random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_missing_values_take_the_branch_they_take_in_the_original(model, cancer_with_gaps):
    x, y = cancer_with_gaps
    model.fit(x, y)
    with pytest.raises(ParityFailed):
        gate(model, x[:300], stock_graph)
    assert ours(model, x[:300]).largest <= 1e-6


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=20, random_state=0),
        lightgbm.LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_rows_on_a_threshold_stay_on_their_side(model, cancer):
    x, y = cancer
    model.fit(x, y)
    with pytest.raises(ParityFailed):
        gate(model, x[:300], thresholds_to_nearest)
    report = ours(model, x[:300])
    assert report.largest <= 1e-6
    assert report.by_kind["threshold"] > 500


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(10, random_state=0),
        GradientBoostingClassifier(n_estimators=20, random_state=0),
        XGBClassifier(n_estimators=20, n_jobs=1),
        make_pipeline(StandardScaler(), RandomForestClassifier(10, random_state=0)),
        make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=20, random_state=0)),
        make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1)),
        make_pipeline(StandardScaler(), XGBClassifier(n_estimators=20, n_jobs=1)),
    ],
    ids=lambda model: "-".join(type(step).__name__ for step in getattr(model, "named_steps", {"": model}).values()),
)
def test_trees_are_exact_on_rows_placed_on_every_threshold(model, cancer):
    x, y = cancer
    report = ours(model.fit(x, y), x[:300])
    assert report.by_kind["threshold"] > 200
    assert report.largest <= 1e-6
    assert report.labels_differ == 0


def test_histogram_boosting_compiles_under_the_protobuf_that_is_installed(cancer_with_gaps):
    x, y = cancer_with_gaps
    names = np.where(y == 1, "benign", "malignant")
    model = HistGradientBoostingClassifier(max_iter=10, random_state=0).fit(x, names)
    assert ours(model, x[:200]).largest <= 1e-6
    regressor = HistGradientBoostingRegressor(max_iter=10, random_state=0, loss="poisson").fit(x, y + 1.0)
    assert ours(regressor, x[:200]).largest <= 1e-6


def test_indicator_columns_reach_the_model(cancer_with_gaps):
    x, y = cancer_with_gaps
    model = make_pipeline(StandardScaler(), SimpleImputer(add_indicator=True), LogisticRegression(max_iter=1000)).fit(
        x, y
    )
    with pytest.raises((ParityFailed, CompileError)):
        gate(model, x[:300], stock_graph)
    assert ours(model, x[:300]).largest <= 1e-12


def test_an_isotonic_curve_is_interpolated_not_stepped(cancer):
    x, y = cancer
    model = CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=3).fit(x[:, :3], y)
    with pytest.raises(ParityFailed):
        gate(model, x[:300, :3], stock_graph)
    assert ours(model, x[:300, :3]).largest <= 1e-12


def test_a_decision_threshold_survives(cancer):
    x, y = cancer
    model = FixedThresholdClassifier(logistic(), threshold=0.9).fit(x, y)
    compiled = gate(model, x, _ours)
    assert compiled.labels_differ == 0
    with pytest.raises(ParityFailed):
        gate(model, x, lambda m, layout: stock_graph(m.estimator_, layout))


def test_infrequent_categories_are_grouped_as_the_encoder_groups_them():
    rng = np.random.default_rng(3)
    words = rng.choice(list("abcdefgh"), p=[0.4, 0.3, 0.2, 0.04, 0.03, 0.01, 0.01, 0.01], size=600)
    frame = pd.DataFrame({"plan": words, "size": rng.choice([1, 2, 3, 40], size=600), "z": rng.normal(size=600)})
    y = (frame["plan"].isin(["a", "d"])) ^ (frame["z"] > 0.5)
    for encoder in (
        OneHotEncoder(min_frequency=30, handle_unknown="infrequent_if_exist"),
        OneHotEncoder(drop="first", handle_unknown="ignore"),
        OneHotEncoder(max_categories=3, handle_unknown="ignore"),
    ):
        model = make_pipeline(encoder, LogisticRegression()).fit(frame[["plan", "size"]], y)
        assert ours(model, frame[["plan", "size"]].head(200)).largest <= 1e-12


@pytest.mark.parametrize("gap", [None, np.nan], ids=["None", "NaN"])
def test_missing_words_are_filled_encoded_and_told_apart_from_the_empty_word(gap):
    rng = np.random.default_rng(4)
    words = np.array([*rng.choice(["a", "b", ""], size=300), gap], dtype=object)[:-1]
    words[rng.random(300) < 0.2] = gap
    frame = pd.DataFrame({"plan": pd.Series(words, dtype=object)})
    missing = np.array([pd.isna(word) for word in words])
    y = np.where(missing, 1, np.where(words == "a", rng.integers(0, 2, 300), 0))
    for steps in (
        [OneHotEncoder(handle_unknown="ignore")],
        [SimpleImputer(strategy="most_frequent", missing_values=gap), OneHotEncoder(handle_unknown="ignore")],
        [OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)],
    ):
        model = make_pipeline(*steps, DecisionTreeClassifier(random_state=0)).fit(frame, y)
        report = ours(model, frame.head(100))
        assert report.largest <= 1e-6
        assert report.labels_differ == 0
        assert report.by_kind["missing"] > 0


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda x, y: make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["äa bb", "cc"] * 9, [0, 1] * 9),
            "words",
        ),
        (
            lambda x, y: HistGradientBoostingClassifier(max_iter=30, categorical_features=[0]).fit(
                np.column_stack([x[:, 0].round() % 3, x[:, 1:]]), y
            ),
            "categorical_features",
        ),
        (lambda x, y: MultiOutputClassifier(GaussianNB()).fit(x, np.column_stack([y, 1 - y])), "several outputs"),
    ],
    ids=["text", "categorical splits", "several outputs"],
)
def test_what_is_not_exact_is_refused_with_a_reason(make, reason, cancer):
    x, y = cancer
    model = make(x, y)
    sample = pd.DataFrame({"text": ["ä b", "c"] * 5}) if reason == "words" else x[:100]
    with pytest.raises(CompileError) as refused:
        ours(model, sample)
    assert not isinstance(refused.value, ParityFailed)
    if reason != "words":
        assert reason in refused.value.message


def _ours(model, layout):
    from trivet.model.compile.graph import Graph
    from trivet.model.compile.recipe import emit

    graph = Graph()
    answer = emit(graph, model, layout.table())
    return graph.model(
        layout.graph_inputs(),
        {"label": (answer.label, "INT64", (-1,)), "probabilities": (answer.probabilities, "FP64", (-1, 2))},
    )
