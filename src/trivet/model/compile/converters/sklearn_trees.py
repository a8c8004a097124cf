"""Trees, forests and boosting of scikit-learn, read from the fitted arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import ensemble, tree

from trivet.core.errors import CompileError
from trivet.model.compile.columns import Table
from trivet.model.compile.converters.answers import Answer, classification, two_classes
from trivet.model.compile.converters.trees import LEAF, Forest, Tree, emit_forest
from trivet.model.compile.graph import Graph


def emit_bagged_trees(graph: Graph, model: Any, table: Table) -> Answer:
    """A tree or a forest of them: the mean over trees of the leaf's class shares, or of its value."""
    members = list(getattr(model, "estimators_", [model]))
    if model.n_outputs_ != 1:
        raise CompileError("several outputs in one forest are not compiled yet; train one model for each.")
    is_classifier = hasattr(model, "classes_")
    trees = []
    for member in members:
        values = member.tree_.value[:, 0, :]
        if is_classifier:
            values = values / values.sum(axis=1, keepdims=True)
            if len(model.classes_) == 2:
                values = values[:, 1:]
        trees.append(_sklearn_tree(member.tree_, values / len(members)))
    forest = Forest(tuple(trees), np.zeros(trees[0].value.shape[1]))
    sums = emit_forest(graph, forest, table)
    if not is_classifier:
        return Answer(prediction=sums)
    probabilities = two_classes(graph, sums) if len(model.classes_) == 2 else sums
    return classification(graph, model.classes_, probabilities=probabilities)


def emit_gradient_boosting(graph: Graph, model: Any, table: Table) -> Answer:
    """GradientBoosting: a constant start plus the learning rate times each tree, through the loss's link."""
    rounds, targets = model.estimators_.shape
    trees = tuple(
        _sklearn_tree(
            model.estimators_[i, k].tree_, model.learning_rate * model.estimators_[i, k].tree_.value[:, 0, :], k
        )
        for i in range(rounds)
        for k in range(targets)
    )
    raw = emit_forest(graph, Forest(trees, _start_of(model, targets)), table)
    if not hasattr(model, "classes_"):
        return Answer(prediction=raw)
    factor = 2.0 if model.loss == "exponential" else 1.0
    return _linked(graph, model.classes_, raw, factor)


def emit_histogram_boosting(graph: Graph, model: Any, table: Table) -> Answer:
    """HistGradientBoosting: the baseline plus every tree, through the loss's link; compares in double."""
    if getattr(model, "is_categorical_", None) is not None and np.any(model.is_categorical_):
        raise CompileError(
            "HistGradientBoosting with categorical_features is not compiled yet: its splits are sets of categories. "
            "Encode them with OneHotEncoder or OrdinalEncoder in the pipeline, or wait for native runtimes."
        )
    trees = tuple(
        _histogram_tree(predictor.nodes, target)
        for predictors in model._predictors
        for target, predictor in enumerate(predictors)
    )
    base = np.asarray(model._baseline_prediction, np.float64).reshape(-1)
    raw = emit_forest(graph, Forest(trees, base, rounds_input=False), table)
    if hasattr(model, "classes_"):
        return _linked(graph, model.classes_, raw, 1.0)
    if type(model._loss.link).__name__ == "LogLink":
        return Answer(prediction=graph.add("Exp", raw))
    return Answer(prediction=raw)


def _linked(graph: Graph, classes: np.ndarray, raw: str, factor: float) -> Answer:
    if len(classes) == 2:
        scaled = graph.add("Mul", raw, graph.constant(factor, np.float64)) if factor != 1.0 else raw
        second = graph.add("Sigmoid", scaled)
        return classification(graph, classes, probabilities=two_classes(graph, second), scores=raw)
    return classification(graph, classes, probabilities=graph.add("Softmax", raw, axis=1), scores=raw)


def _start_of(model: Any, targets: int) -> np.ndarray:
    init = model.init_
    if not isinstance(init, str) and type(init).__name__ not in ("DummyClassifier", "DummyRegressor"):
        raise CompileError("GradientBoosting that starts from another estimator (init=...) is not compiled yet.")
    nothing = np.zeros((1, model.n_features_in_), np.float32)
    return np.asarray(model._raw_predict_init(nothing), np.float64).reshape(targets)


def _sklearn_tree(arrays: Any, values: np.ndarray, target: int | None = None) -> Tree:
    left = np.where(arrays.children_left == -1, LEAF, arrays.children_left)
    missing = getattr(arrays, "missing_go_to_left", None)
    return Tree(
        feature=arrays.feature,
        threshold=arrays.threshold,
        left=left,
        right=arrays.children_right,
        missing_goes_left=np.zeros(len(left), np.int64) if missing is None else np.asarray(missing, np.int64),
        value=values,
        target=target,
    )


def _histogram_tree(nodes: np.ndarray, target: int) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    # A threshold of +inf sends every number left and only NaN right; ONNX compares with it just the same.
    return Tree(
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(leaf, LEAF, nodes["left"].astype(np.int64)),
        right=nodes["right"].astype(np.int64),
        missing_goes_left=nodes["missing_go_to_left"].astype(np.int64),
        value=nodes["value"].astype(np.float64).reshape(-1, 1),
        target=target,
    )


EMITTERS = {
    tree.DecisionTreeClassifier: emit_bagged_trees,
    tree.DecisionTreeRegressor: emit_bagged_trees,
    tree.ExtraTreeClassifier: emit_bagged_trees,
    tree.ExtraTreeRegressor: emit_bagged_trees,
    ensemble.RandomForestClassifier: emit_bagged_trees,
    ensemble.RandomForestRegressor: emit_bagged_trees,
    ensemble.ExtraTreesClassifier: emit_bagged_trees,
    ensemble.ExtraTreesRegressor: emit_bagged_trees,
    ensemble.GradientBoostingClassifier: emit_gradient_boosting,
    ensemble.GradientBoostingRegressor: emit_gradient_boosting,
    ensemble.HistGradientBoostingClassifier: emit_histogram_boosting,
    ensemble.HistGradientBoostingRegressor: emit_histogram_boosting,
}
