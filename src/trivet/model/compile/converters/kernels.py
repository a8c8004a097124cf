"""Support vector machines in double, with the kernels of libsvm; the runtime's own operator sums in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import svm

from trivet.core.errors import CompileError
from trivet.model.compile.columns import Table, matrix
from trivet.model.compile.converters.answers import (
    Answer,
    class_labels,
    classification,
    pairs_as_scores,
    votes_of_pairs,
)
from trivet.model.compile.converters.stock import emit_stock
from trivet.model.compile.graph import Graph


def emit_kernel_regression(graph: Graph, model: Any, table: Table) -> Answer:
    """The weighted sum of kernels over the support vectors, plus the intercept."""
    return Answer(prediction=kernel_sum(graph, model, table, np.asarray(model.dual_coef_).T, model.intercept_))


def emit_kernel_scores(graph: Graph, model: Any, table: Table) -> Answer:
    """SVC and NuSVC: one sum for each pair of classes; with more than two, votes decide as libsvm counts them."""
    if model.probability is True:  # newer releases say "deprecated" instead of False
        return emit_stock(graph, model, table)  # Platt's coupling is an iteration of its own
    classes = len(model.classes_)
    if classes == 2:
        scores = kernel_sum(graph, model, table, np.asarray(model.dual_coef_).T, model.intercept_)
        return classification(graph, model.classes_, scores=scores)
    decisions = kernel_sum(graph, model, table, _weights_of_pairs(model), model.intercept_)
    first = graph.cast(graph.add("Greater", decisions, graph.constant(0.0, np.float64)), "FP64")
    votes = votes_of_pairs(graph, graph.add("Sub", graph.constant(1.0, np.float64), first), classes)
    scores = decisions
    if model.decision_function_shape == "ovr":
        scores = pairs_as_scores(graph, votes, graph.add("Neg", decisions), classes)
        if model.break_ties:
            return classification(graph, model.classes_, scores=scores)
    place = graph.add("ArgMax", votes, axis=1, keepdims=0)
    return Answer(scores=scores, label=graph.add("Gather", graph.constant(class_labels(model.classes_)), place, axis=0))


def kernel_sum(graph: Graph, model: Any, table: Table, weights: np.ndarray, intercept: Any) -> str:
    """Return K(x, support vectors)·weights + intercept, FP64 of shape (rows, columns of `weights`)."""
    rows = matrix(graph, table).tensor
    vectors = np.asarray(model.support_vectors_, np.float64)
    products = graph.add("MatMul", rows, graph.constant(vectors.T))
    kernel = _kernel(graph, model, rows, products, vectors)
    total = graph.add("MatMul", kernel, graph.constant(np.ascontiguousarray(weights, np.float64)))
    return graph.add("Add", total, graph.constant(np.asarray(intercept, np.float64).reshape(1, -1)))


def _kernel(graph: Graph, model: Any, rows: str, products: str, vectors: np.ndarray) -> str:
    if model.kernel == "linear":
        return products
    gamma = graph.constant(float(model._gamma), np.float64)
    if model.kernel == "rbf":
        squares = graph.add("ReduceSum", graph.add("Mul", rows, rows), graph.constant([1], np.int64), keepdims=1)
        both = graph.add("Add", squares, graph.constant((vectors**2).sum(axis=1).reshape(1, -1)))
        distance = graph.add("Sub", both, graph.add("Mul", products, graph.constant(2.0, np.float64)))
        return graph.add("Exp", graph.add("Neg", graph.add("Mul", gamma, distance)))
    if model.kernel in ("poly", "sigmoid"):
        scaled = graph.add("Mul", products, gamma)
        inner = graph.add("Add", scaled, graph.constant(float(model.coef0), np.float64))
        if model.kernel == "sigmoid":
            return graph.add("Tanh", inner)
        return graph.add("Pow", inner, graph.constant(float(model.degree), np.float64))
    raise CompileError(f"{type(model).__name__} with the kernel {model.kernel!r} is not compiled.")


def _weights_of_pairs(model: Any) -> np.ndarray:
    """Return the weights of support vectors, shape (vectors, pairs): libsvm keeps one row less than there are classes."""
    dual = np.asarray(model.dual_coef_, np.float64)
    ends = np.concatenate([[0], np.cumsum(model.n_support_)])
    columns = []
    for i in range(len(model.classes_)):
        for j in range(i + 1, len(model.classes_)):
            column = np.zeros(dual.shape[1])
            column[ends[i] : ends[i + 1]] = dual[j - 1, ends[i] : ends[i + 1]]
            column[ends[j] : ends[j + 1]] = dual[i, ends[j] : ends[j + 1]]
            columns.append(column)
    return np.column_stack(columns)


EMITTERS = {
    svm.SVR: emit_kernel_regression,
    svm.NuSVR: emit_kernel_regression,
    svm.SVC: emit_kernel_scores,
    svm.NuSVC: emit_kernel_scores,
}
