"""Linear models and neural networks: products in double, then the link."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import cross_decomposition, discriminant_analysis, linear_model, neural_network, svm

from trivet.core.errors import CompileError
from trivet.model.compile.columns import Table, matrix
from trivet.model.compile.converters.answers import Answer, classification, label_is_set, two_classes
from trivet.model.compile.converters.stock import emit_stock
from trivet.model.compile.graph import Graph


def emit_linear_regression(graph: Graph, model: Any, table: Table) -> Answer:
    """X·w + b."""
    return Answer(prediction=_product(graph, model, table))


def emit_log_linear_regression(graph: Graph, model: Any, table: Table) -> Answer:
    """exp(X·w + b): Poisson, Gamma, and Tweedie with a log link."""
    if type(model).__name__ == "TweedieRegressor" and "Log" not in type(model._base_loss.link).__name__:
        return Answer(prediction=_product(graph, model, table))
    return Answer(prediction=graph.add("Exp", _product(graph, model, table)))


def emit_linear_scores(graph: Graph, model: Any, table: Table) -> Answer:
    """The signed distance to the boundary; one column for two classes."""
    return classification(graph, model.classes_, scores=_product(graph, model, table))


def emit_logistic_regression(graph: Graph, model: Any, table: Table) -> Answer:
    """Sigmoid for two classes, softmax for more."""
    if len(model.classes_) > 2 and (getattr(model, "multi_class", None) == "ovr" or _solver(model) == "liblinear"):
        return emit_stock(graph, model, table)  # older scikit-learn: one model a class
    scores = _product(graph, model, table)
    if len(model.classes_) == 2:
        probabilities = two_classes(graph, graph.add("Sigmoid", scores))
    else:
        probabilities = graph.add("Softmax", scores, axis=1)
    return classification(graph, model.classes_, probabilities=probabilities, scores=scores)


def emit_partial_least_squares(graph: Graph, model: Any, table: Table) -> Answer:
    """(X - mean)·w + b: the coefficients are on the inputs' own scale."""
    weights = np.asarray(model.coef_, np.float64).T
    centred = graph.add("Sub", matrix(graph, table).tensor, graph.constant(np.asarray(model._x_mean).reshape(1, -1)))
    product = graph.add("MatMul", centred, graph.constant(np.ascontiguousarray(weights)))
    return Answer(prediction=graph.add("Add", product, graph.constant(np.asarray(model.intercept_).reshape(1, -1))))


_ACTIVATIONS = {
    "identity": None,
    "logistic": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "softmax": "Softmax",
    "exp": "Exp",
}


def emit_neural_network(graph: Graph, model: Any, table: Table) -> Answer:
    """Layers of products, each through the activation; the last one through the output's own."""
    layer = matrix(graph, table).tensor
    last = len(model.coefs_) - 1
    for place, (weights, intercept) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        product = graph.add("MatMul", layer, graph.constant(np.asarray(weights, np.float64)))
        layer = graph.add("Add", product, graph.constant(np.asarray(intercept, np.float64).reshape(1, -1)))
        activation = model.out_activation_ if place == last else model.activation
        if activation not in _ACTIVATIONS:
            raise CompileError(f"{type(model).__name__} with the activation {activation!r} is not compiled.")
        node = _ACTIVATIONS[activation]
        layer = layer if node is None else graph.add(node, layer)
    if not hasattr(model, "classes_"):
        return Answer(prediction=layer)
    if model.out_activation_ == "softmax":
        return classification(graph, model.classes_, probabilities=layer)
    if len(model.classes_) == 2 and model.n_outputs_ == 1:
        return classification(graph, model.classes_, probabilities=two_classes(graph, layer))
    return Answer(targets=tuple(label_is_set(graph, layer, place, 0.5) for place in range(model.n_outputs_)))


def _solver(model: Any) -> str | None:
    return getattr(model, "solver", None)


def _product(graph: Graph, model: Any, table: Table) -> str:
    weights = np.atleast_2d(np.asarray(model.coef_, np.float64)).T
    intercept = np.asarray(model.intercept_, np.float64).reshape(1, -1)
    product = graph.add("MatMul", matrix(graph, table).tensor, graph.constant(weights))
    return graph.add("Add", product, graph.constant(intercept))


_REGRESSORS = (
    "ARDRegression BayesianRidge ElasticNet ElasticNetCV HuberRegressor Lars LarsCV Lasso LassoCV LassoLars LassoLarsCV "
    "LassoLarsIC LinearRegression OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV QuantileRegressor Ridge RidgeCV "
    "SGDRegressor TheilSenRegressor PassiveAggressiveRegressor"
)
_SCORERS = "PassiveAggressiveClassifier Perceptron RidgeClassifier RidgeClassifierCV"

EMITTERS = {
    **{
        getattr(linear_model, name): emit_linear_regression
        for name in _REGRESSORS.split()
        if hasattr(linear_model, name)
    },
    **{getattr(linear_model, name): emit_linear_scores for name in _SCORERS.split() if hasattr(linear_model, name)},
    cross_decomposition.PLSRegression: emit_partial_least_squares,
    neural_network.MLPClassifier: emit_neural_network,
    neural_network.MLPRegressor: emit_neural_network,
    linear_model.PoissonRegressor: emit_log_linear_regression,
    linear_model.GammaRegressor: emit_log_linear_regression,
    linear_model.TweedieRegressor: emit_log_linear_regression,
    linear_model.LogisticRegression: emit_logistic_regression,
    linear_model.LogisticRegressionCV: emit_logistic_regression,
    discriminant_analysis.LinearDiscriminantAnalysis: emit_logistic_regression,
    svm.LinearSVR: emit_linear_regression,
    svm.LinearSVC: emit_linear_scores,
}
