"""What is taken off before compiling, one wrapper at a time, and functions that exist nowhere else."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  (makes the next import work)
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, RobustScaler, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from trivet.core.errors import CompileError, ParityFailed
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.graph import Graph
from trivet.model.compile.preparing import prepare
from trivet.model.runtimes.onnx import OnnxRuntime

X = np.random.default_rng(23).uniform(0.5, 4.0, size=(160, 2))
Y = X[:, 0] + 0.3 * np.sin(9 * X[:, 1]) > 2.0
NUMBER = X[:, 0] * 2 + X[:, 1]
FRAME = pd.DataFrame(X, columns=["a", "b"])
GRID = {"C": [0.1, 1.0]}


def answers(model, sample=X):
    """Compile, and return the answers of the compiled version by name."""
    compiled = compile_model(model, sample=sample)
    assert compiled.parity.labels_differ == 0
    assert compiled.parity.largest <= 1e-6
    names = [output.name for output in compiled.signature.outputs]
    tensors = {"X": X} if isinstance(sample, np.ndarray) else {"a..b": X}
    return compiled, dict(zip(names, OnnxRuntime.load(compiled.bundle).run(tensors, names), strict=True))


@pytest.mark.parametrize(
    "model",
    [
        GridSearchCV(LogisticRegression(), GRID, cv=2),
        RandomizedSearchCV(LogisticRegression(), GRID, n_iter=1, cv=2, random_state=0),
        HalvingGridSearchCV(LogisticRegression(), GRID, cv=2, min_resources=80, random_state=0),
        GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [1.0]}, cv=2),
    ],
    ids=["grid", "randomized", "halving", "grid of a pipeline"],
)
def test_a_search_is_what_it_found(model):
    model.fit(X, Y)
    _, found = answers(model)
    assert np.abs(found["probabilities"] - model.predict_proba(X)).max() < 1e-9


def test_self_training_is_the_estimator_that_was_trained_last():
    some = np.where(np.arange(len(Y)) % 3 == 0, -1, Y.astype(int))
    model = SelfTrainingClassifier(LogisticRegression()).fit(X, some)
    _, found = answers(model)
    assert np.array_equal(found["label"], model.predict(X))


def test_steps_that_pass_everything_or_drop_it_are_no_nodes():
    plain = Pipeline([("nothing", "passthrough"), ("none", None), ("model", LogisticRegression())]).fit(X, Y)
    bare = LogisticRegression().fit(X, Y)
    operators = [compile_model(m, sample=X).bundle.manifest.compile["operators"] for m in (plain, bare)]
    assert operators[0] == operators[1]
    columns = ColumnTransformer([("kept", "passthrough", ["b"]), ("gone", "drop", ["a"])])
    union = FeatureUnion([("as it is", "passthrough"), ("gone", "drop")])
    model = make_pipeline(columns, union, LogisticRegression()).fit(FRAME, Y)
    _, found = answers(model, FRAME)
    assert np.abs(found["probabilities"] - model.predict_proba(FRAME)).max() < 1e-9


@pytest.mark.parametrize("pos_label", [True, False])
@pytest.mark.parametrize("response", ["predict_proba", "decision_function"])
def test_a_threshold_is_on_the_class_and_on_the_numbers_it_was_set_for(pos_label, response):
    threshold = 0.8 if response == "predict_proba" else 0.9
    model = FixedThresholdClassifier(
        LogisticRegression(), threshold=threshold, pos_label=pos_label, response_method=response
    ).fit(X, Y)
    compiled, found = answers(model)
    assert np.array_equal(found["label"].astype(bool), model.predict(X))
    assert not np.array_equal(model.predict(X), model.estimator_.predict(X))
    shown = threshold if pos_label and response == "predict_proba" else None
    assert compiled.signature.threshold == shown


def test_a_tuned_threshold_survives_inside_a_pipeline():
    tuned = TunedThresholdClassifierCV(LogisticRegression(), cv=3, scoring="balanced_accuracy", random_state=0)
    model = make_pipeline(StandardScaler(), tuned).fit(X, Y)
    compiled, found = answers(model)
    assert np.array_equal(found["label"].astype(bool), model.predict(X))
    assert compiled.signature.threshold == tuned.fit(StandardScaler().fit_transform(X), Y).best_threshold_


@pytest.mark.parametrize(
    "way",
    [
        {"func": np.log1p, "inverse_func": np.expm1},
        {"func": np.log, "inverse_func": np.exp},
        {"func": np.sqrt, "inverse_func": np.square},
        {"transformer": StandardScaler()},
        {"transformer": RobustScaler()},
        {"transformer": MaxAbsScaler()},
    ],
    ids=["expm1", "exp", "square", "standard", "robust", "maxabs"],
)
def test_a_transformed_target_comes_back(way):
    model = TransformedTargetRegressor(Ridge(), **way).fit(X, NUMBER)
    _, found = answers(model)
    assert np.allclose(found["prediction"], model.predict(X), rtol=1e-9)


@pytest.mark.parametrize(
    "function",
    [np.log1p, np.log, np.exp, np.expm1, np.sqrt, np.square, np.abs, None],
    ids=lambda f: getattr(f, "__name__", "none"),
)
def test_numpys_functions_become_nodes(function):
    model = make_pipeline(FunctionTransformer(function), LinearRegression()).fit(X, NUMBER)
    _, found = answers(model)
    assert np.allclose(found["prediction"], model.predict(X), rtol=1e-9)


@pytest.mark.parametrize("flatten", [True, False])
def test_voting_is_the_mean_of_its_members_whatever_its_transform_would_look_like(flatten):
    members = [("a", LogisticRegression()), ("b", make_pipeline(StandardScaler(), LogisticRegression(C=0.1)))]
    model = VotingClassifier(members, voting="soft", weights=[1, 3], flatten_transform=flatten).fit(X, Y)
    _, found = answers(model)
    assert np.abs(found["probabilities"] - model.predict_proba(X)).max() < 1e-9


def of_main(x):
    return x * 2


def importable(x):
    return x * 2


def test_a_function_that_exists_only_where_it_was_trained_is_refused_with_the_way_out(monkeypatch):
    def local(x):
        return x * 2

    monkeypatch.setattr(of_main, "__module__", "__main__")
    for function, called in (
        (lambda x: x * 2, "a lambda"),
        (partial(lambda x, by: x * by, by=2), "a lambda"),
        (local, "local, a function inside another"),
        (of_main, "of_main, a function of __main__"),
    ):
        model = make_pipeline(FunctionTransformer(function), LinearRegression()).fit(X, NUMBER)
        with pytest.raises(CompileError, match="declare it in a FeatureSet") as refused:
            prepare(model, sample=X)
        assert f"'functiontransformer' calls {called}" in refused.value.message


def test_a_function_that_only_shaped_the_training_does_no_harm():
    chosen = SelectKBest(lambda x, y: np.abs(x).sum(axis=0), k=1)
    model = GridSearchCV(
        make_pipeline(chosen, LogisticRegression()),
        {"logisticregression__C": [1.0]},
        cv=2,
        scoring=lambda model, x, y: model.score(x, y),
    ).fit(X, Y)
    _, found = answers(model)
    assert np.abs(found["probabilities"] - model.predict_proba(X)).max() < 1e-9


def test_a_function_that_can_be_imported_is_not_compiled_but_not_refused_for_good():
    model = make_pipeline(FunctionTransformer(importable), LinearRegression()).fit(X, NUMBER)
    assert prepare(model, sample=X).original.task == "regression"
    with pytest.raises(CompileError, match="importable") as told:
        compile_model(model, sample=X)
    assert not isinstance(told.value, ParityFailed)


def test_attributes_of_nodes_are_pythons_own_numbers():
    graph = Graph()
    table = graph.constant(np.zeros((2, 2)))
    whole = graph.add("ArgMax", table, axis=np.int64(1), keepdims=np.bool_(False))
    picked = graph.add("Squeeze", whole, list_=[np.int64(1), 2], floats=np.array([1.0, 2.0]))
    made = graph.model({}, {"out": (picked, "INT64", (-1,))})
    found = {a.name: (a.i, list(a.ints), list(a.floats)) for node in made.graph.node for a in node.attribute}
    assert found["axis"] == (1, [], [])
    assert found["keepdims"] == (0, [], [])
    assert found["list_"] == (0, [1, 2], [])
    assert found["floats"] == (0, [], [1.0, 2.0])
