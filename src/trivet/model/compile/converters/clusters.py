"""Cluster models: the number of the nearest centre or the likeliest component."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import cluster, mixture

from trivet.model.compile.columns import Table, matrix
from trivet.model.compile.converters.answers import Answer
from trivet.model.compile.graph import Graph


def emit_k_means(graph: Graph, model: Any, table: Table) -> Answer:
    """Euclidean distances to the centres; the nearest one is the label."""
    rows = matrix(graph, table).tensor
    centres = np.asarray(model.cluster_centers_, np.float64)
    products = graph.add("MatMul", rows, graph.constant(-2.0 * centres.T))
    partial = graph.add("Add", products, graph.constant((centres**2).sum(axis=1).reshape(1, -1)))
    label = graph.add("ArgMin", partial, axis=1, keepdims=0)
    squares = graph.add("Add", partial, _row_sums(graph, graph.add("Mul", rows, rows)))
    distances = graph.add("Sqrt", graph.add("Max", squares, graph.constant(0.0, np.float64)))
    return Answer(distances=distances, label=label)


def emit_gaussian_mixture(graph: Graph, model: Any, table: Table) -> Answer:
    """The components' shares of the likelihood, from their logarithms."""
    rows = matrix(graph, table).tensor
    means, precisions = np.asarray(model.means_, np.float64), np.asarray(model.precisions_cholesky_, np.float64)
    kind = model.covariance_type
    components, features = means.shape
    if kind in ("full", "tied"):
        factors = [precisions] * components if kind == "tied" else list(precisions)
        squares = []
        for mean, factor in zip(means, factors, strict=True):
            moved = graph.add("MatMul", rows, graph.constant(factor))
            off = graph.add("Sub", moved, graph.constant((mean @ factor).reshape(1, -1)))
            squares.append(_row_sums(graph, graph.add("Mul", off, off)))
        distance = squares[0] if components == 1 else graph.add("Concat", *squares, axis=1)
        log_determinants = np.array([np.log(np.diag(factor)).sum() for factor in factors])
    else:
        shares = precisions if kind == "diag" else np.repeat(precisions.reshape(-1, 1), features, axis=1)
        weights = shares**2
        constant = graph.constant((means**2 * weights).sum(axis=1).reshape(1, -1))
        crossed = graph.add("MatMul", rows, graph.constant(-2.0 * (means * weights).T))
        own = graph.add("MatMul", graph.add("Mul", rows, rows), graph.constant(weights.T))
        distance = graph.add("Add", graph.add("Add", constant, crossed), own)
        log_determinants = np.log(shares).sum(axis=1)
    start = log_determinants + np.log(model.weights_) - 0.5 * features * np.log(2 * np.pi)
    halved = graph.add("Mul", distance, graph.constant(-0.5, np.float64))
    likelihoods = graph.add("Add", halved, graph.constant(start.reshape(1, -1)))
    label = graph.add("ArgMax", likelihoods, axis=1, keepdims=0)
    return Answer(probabilities=graph.add("Softmax", likelihoods, axis=1), label=label)


def _row_sums(graph: Graph, tensor: str) -> str:
    return graph.add("ReduceSum", tensor, graph.constant([1], np.int64), keepdims=1)


EMITTERS = {
    cluster.KMeans: emit_k_means,
    cluster.MiniBatchKMeans: emit_k_means,
    mixture.GaussianMixture: emit_gaussian_mixture,
}
