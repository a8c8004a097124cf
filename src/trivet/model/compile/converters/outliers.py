"""Outlier detectors: a score, which is above zero for what is no outlier, and the label 1 or -1."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import ensemble, linear_model, svm

from trivet.core.errors import CompileError
from trivet.model.compile.columns import Table, matrix
from trivet.model.compile.converters.answers import Answer
from trivet.model.compile.converters.kernels import kernel_sum
from trivet.model.compile.converters.sklearn_trees import sklearn_tree
from trivet.model.compile.converters.trees import Forest, emit_forest
from trivet.model.compile.graph import Graph


def emit_isolation_forest(graph: Graph, model: Any, table: Table) -> Answer:
    """2^(-depth / expected depth) below the offset (Liu, Ting and Zhou 2008): the mean depth of a row's leaves."""
    trees = []
    for number, (member, features) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True)):
        depths = model._decision_path_lengths[number] + model._average_path_length_per_tree[number] - 1.0
        own = member.tree_.feature
        places = np.where(own >= 0, np.asarray(features)[np.maximum(own, 0)], own)
        trees.append(sklearn_tree(member.tree_, np.asarray(depths, np.float64).reshape(-1, 1), feature=places))
    expected = len(trees) * _average_path_length(float(model._max_samples))
    if expected == 0:
        raise CompileError("an IsolationForest of single rows isolates nothing; train it on more.")
    depth = emit_forest(graph, Forest(tuple(trees), np.zeros(1)), table)
    exponent = graph.add("Neg", graph.add("Div", depth, graph.constant(expected, np.float64)))
    score = graph.add("Neg", graph.add("Pow", graph.constant(2.0, np.float64), exponent))
    scores = graph.add("Sub", score, graph.constant(float(model.offset_), np.float64))
    return _outliers(graph, scores, "GreaterOrEqual")


def _average_path_length(rows: float) -> float:
    """Return the mean depth of an unsuccessful search in a binary tree of `rows` leaves."""
    if rows <= 1:
        return 0.0
    if rows == 2:
        return 1.0
    return float(2.0 * (np.log(rows - 1.0) + np.euler_gamma) - 2.0 * (rows - 1.0) / rows)


def emit_one_class_svm(graph: Graph, model: Any, table: Table) -> Answer:
    """The weighted sum of kernels over the support vectors, plus the intercept."""
    return _outliers(
        graph, kernel_sum(graph, model, table, np.asarray(model.dual_coef_).T, model.intercept_), "Greater"
    )


def emit_linear_one_class(graph: Graph, model: Any, table: Table) -> Answer:
    """X·w - offset."""
    weights = graph.constant(np.asarray(model.coef_, np.float64).reshape(-1, 1))
    product = graph.add("MatMul", matrix(graph, table).tensor, weights)
    return _outliers(
        graph, graph.add("Sub", product, graph.constant(float(model.offset_[0]), np.float64)), "GreaterOrEqual"
    )


def _outliers(graph: Graph, scores: str, inside: str) -> Answer:
    flat = graph.add("Reshape", scores, graph.constant([-1], np.int64))
    is_inside = graph.add(inside, flat, graph.constant(0.0, np.float64))
    label = graph.add("Where", is_inside, graph.constant(1, np.int64), graph.constant(-1, np.int64))
    return Answer(scores=scores, label=label)


EMITTERS = {
    ensemble.IsolationForest: emit_isolation_forest,
    svm.OneClassSVM: emit_one_class_svm,
    linear_model.SGDOneClassSVM: emit_linear_one_class,
}
