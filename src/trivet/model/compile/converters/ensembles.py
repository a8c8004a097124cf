"""Estimators that own other estimators: each member is compiled by the recipe, then their answers are joined in double."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn import calibration, compose, ensemble, isotonic, model_selection, multiclass

from trivet.core.errors import CompileError
from trivet.model.compile.columns import Table, derived, select, side_by_side, table_of
from trivet.model.compile.converters.answers import Answer, class_labels, classification, two_classes
from trivet.model.compile.converters.stock import unsupported
from trivet.model.compile.graph import Graph

Emit = Callable[[Graph, Any, Table], Answer]


def emit_voting(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """The weighted mean of the members' probabilities, or of their predictions."""
    answers = [emit(graph, member, table) for member in model.estimators_]
    weights = model._weights_not_none
    if not hasattr(model, "classes_"):
        return Answer(prediction=_mean(graph, [a.prediction for a in answers], weights))
    if model.voting != "soft":
        raise CompileError("VotingClassifier(voting='hard') has no scores to compare; use voting='soft'.")
    mean = _mean(graph, [a.probabilities for a in answers], weights)
    return classification(graph, model.classes_, probabilities=mean)


def emit_stacking(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """The members' answers as columns, then the final estimator."""
    columns = []
    for member, method in zip(model.estimators_, model.stack_method_, strict=True):
        answer = emit(graph, member, table)
        classes = len(getattr(member, "classes_", ()))
        if method == "predict_proba":
            block = derived(_given(answer.probabilities, member), "FP64", classes)
            part = table_of(block)
            columns.append(select(graph, part, [1]) if classes == 2 else part)
        elif method == "decision_function":
            width = 1 if classes == 2 else classes
            columns.append(table_of(derived(_given(answer.scores, member), "FP64", width)))
        else:
            columns.append(table_of(derived(_given(answer.prediction, member), "FP64", 1)))
    joined = side_by_side([*columns, table] if model.passthrough else columns)
    final = emit(graph, model.final_estimator_, joined)
    if not hasattr(model, "classes_"):
        return final
    return _relabelled(graph, final, model.classes_)


def emit_bagging(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """The mean of the members' answers, each over its own columns."""
    answers = [
        emit(graph, member, select(graph, table, [int(place) for place in places]))
        for member, places in zip(model.estimators_, model.estimators_features_, strict=True)
    ]
    if not hasattr(model, "classes_"):
        return Answer(prediction=_mean(graph, [a.prediction for a in answers], None))
    if any(len(member.classes_) != len(model.classes_) for member in model.estimators_):
        raise CompileError("a member of this BaggingClassifier never saw one of the classes; that is not compiled.")
    mean = _mean(graph, [a.probabilities for a in answers], None)
    return classification(graph, model.classes_, probabilities=mean)


def emit_boosted_votes(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """AdaBoost (SAMME): weighted votes of the members' decisions (Zhu, Zou, Rosset and Hastie 2009)."""
    classes = class_labels(model.classes_)
    others = -1.0 / (len(classes) - 1)
    votes = []
    for member, weight in zip(model.estimators_, model.estimator_weights_, strict=False):
        label = graph.add("Unsqueeze", _given(emit(graph, member, table).label, member), graph.constant([1], np.int64))
        hit = graph.add("Equal", label, graph.constant(classes.reshape(1, -1)))
        votes.append(graph.add("Where", hit, *(graph.constant(weight * v, np.float64) for v in (1.0, others))))
    total = graph.constant(float(model.estimator_weights_.sum()), np.float64)
    scores = graph.add("Div", graph.add("Sum", *votes) if len(votes) > 1 else votes[0], total)
    if len(classes) == 2:
        ones = graph.constant([[-1.0], [1.0]], np.float64)
        score = graph.add("MatMul", scores, ones)
        return classification(
            graph, model.classes_, probabilities=two_classes(graph, graph.add("Sigmoid", score)), scores=score
        )
    softened = graph.add("Div", scores, graph.constant(float(len(classes) - 1), np.float64))
    return classification(graph, model.classes_, probabilities=graph.add("Softmax", softened, axis=1), scores=scores)


def emit_calibrated(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """The mean over folds of the members' scores, each through its calibration curve."""
    means = [_calibrated(graph, part, table, emit) for part in model.calibrated_classifiers_]
    return classification(graph, model.classes_, probabilities=_mean(graph, means, None))


def _calibrated(graph: Graph, part: Any, table: Table, emit: Emit) -> str:
    answer = emit(graph, part.estimator, table)
    classes = len(part.classes)
    if hasattr(part.estimator, "decision_function"):
        scores = _given(answer.scores, part.estimator)
    else:
        scores = _given(answer.probabilities, part.estimator)
        if classes == 2:
            scores = graph.add("Gather", scores, graph.constant([1], np.int64), axis=1)
    curves = []
    for place, curve in enumerate(part.calibrators):
        column = scores
        if len(part.calibrators) > 1:
            column = graph.add("Gather", scores, graph.constant([place], np.int64), axis=1)
        curves.append(_curve(graph, curve, column))
    if classes == 2:
        return two_classes(graph, curves[0])
    if len(curves) != classes:
        raise CompileError("a calibrated member never saw one of the classes; that is not compiled.")
    joined = graph.add("Concat", *curves, axis=1)
    total = graph.add("ReduceSum", joined, graph.constant([1], np.int64), keepdims=1)
    nothing = graph.add("Equal", total, graph.constant(0.0, np.float64))
    return graph.add("Where", nothing, graph.constant(1.0 / classes, np.float64), graph.add("Div", joined, total))


def _curve(graph: Graph, curve: Any, column: str) -> str:
    if isinstance(curve, isotonic.IsotonicRegression):
        return isotonic_curve(graph, curve, column)
    if type(curve).__name__ != "_SigmoidCalibration":
        raise CompileError(f"calibration by {type(curve).__name__} is not compiled; use sigmoid or isotonic.")
    inner = graph.add("Mul", column, graph.constant(-float(curve.a_), np.float64))
    return graph.add("Sigmoid", graph.add("Sub", inner, graph.constant(float(curve.b_), np.float64)))


def isotonic_curve(graph: Graph, curve: Any, column: str) -> str:
    """Interpolate between the fitted knots as scipy does: `slope * (x - x_k) + y_k`, constant beyond the ends."""
    x = np.asarray(curve.X_thresholds_, np.float64)
    y = np.asarray(curve.y_thresholds_, np.float64)
    if len(y) == 1:
        zero = graph.add("Mul", column, graph.constant(0.0, np.float64))
        return graph.add("Add", zero, graph.constant(float(y[0]), np.float64))
    clipped = graph.add("Clip", column, graph.constant(x[0]), graph.constant(x[-1]))
    above = graph.cast(graph.add("Greater", clipped, graph.constant(x.reshape(1, -1))), "INT64")
    count = graph.add("ReduceSum", above, graph.constant([1], np.int64), keepdims=1)
    last = graph.constant(len(x) - 2, np.int64)
    place = graph.add("Sub", count, graph.constant(1, np.int64))
    place = graph.add("Min", graph.add("Max", place, graph.constant(0, np.int64)), last)
    slopes = np.diff(y) / np.diff(x)
    x_k, y_k, slope = (graph.add("Gather", graph.constant(values), place, axis=0) for values in (x, y, slopes))
    return graph.add("Add", graph.add("Mul", slope, graph.add("Sub", clipped, x_k)), y_k)


def emit_one_against_rest(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """One model a class; probabilities are scaled to sum to one."""
    if model.multilabel_:
        raise CompileError("OneVsRestClassifier for several labels a row is not compiled.")
    seconds = []
    for member in model.estimators_:
        probabilities = _given(emit(graph, member, table).probabilities, member)
        seconds.append(graph.add("Gather", probabilities, graph.constant([1], np.int64), axis=1))
    if len(seconds) == 1:
        return classification(graph, model.classes_, probabilities=two_classes(graph, seconds[0]))
    joined = graph.add("Concat", *seconds, axis=1)
    total = graph.add("ReduceSum", joined, graph.constant([1], np.int64), keepdims=1)
    return classification(graph, model.classes_, probabilities=graph.add("Div", joined, total))


def emit_threshold(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """The inner model's answer; the label is the second class from the threshold on."""
    answer = emit(graph, model.estimator_, table)
    threshold, by_score = decision_threshold(model)
    if by_score:
        score = _given(answer.scores, model.estimator_)
    else:
        probabilities = _given(answer.probabilities, model.estimator_)
        score = graph.add("Gather", probabilities, graph.constant([1], np.int64), axis=1)
    flat = graph.add("Reshape", score, graph.constant([-1], np.int64))
    place = graph.cast(graph.add("GreaterOrEqual", flat, graph.constant(threshold, np.float64)), "INT64")
    label = graph.add("Gather", graph.constant(class_labels(model.classes_)), place, axis=0)
    return Answer(probabilities=answer.probabilities, scores=answer.scores, label=label)


def decision_threshold(model: Any) -> tuple[float, bool]:
    """Return the threshold of a threshold classifier on its second class, and whether it is on the decision function.

    Raises `CompileError` when the positive class is the first one.
    """
    positive = model.pos_label if hasattr(model, "pos_label") else None
    if positive is not None and positive != model.classes_[1]:
        raise CompileError(f"a threshold on the first class ({positive!r}) is not compiled; put it on the second.")
    by_score = model.response_method == "decision_function" or (
        model.response_method == "auto" and not hasattr(model.estimator_, "predict_proba")
    )
    chosen = getattr(model, "best_threshold_", None)
    if chosen is None:
        chosen = model.threshold if model.threshold != "auto" else (0.0 if by_score else 0.5)
    return float(chosen), by_score


def emit_transformed_target(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """The inner regressor, then the way back to the target's own scale."""
    raw = _given(emit(graph, model.regressor_, table).prediction, model.regressor_)
    way_back = model.transformer_
    one = graph.constant(1.0, np.float64)
    kind = type(way_back).__name__
    if kind == "FunctionTransformer":
        inverse = way_back.inverse_func
        if inverse is None:
            return Answer(prediction=raw)
        if inverse is np.exp:
            return Answer(prediction=graph.add("Exp", raw))
        if inverse is np.expm1:
            return Answer(prediction=graph.add("Sub", graph.add("Exp", raw), one))
        if inverse is np.square:
            return Answer(prediction=graph.add("Mul", raw, raw))
    if kind == "StandardScaler":
        scaled = graph.add("Mul", raw, graph.constant(np.asarray(_or(way_back.scale_, 1.0)).reshape(1, -1)))
        return Answer(
            prediction=graph.add("Add", scaled, graph.constant(np.asarray(_or(way_back.mean_, 0.0)).reshape(1, -1)))
        )
    raise CompileError(
        "TransformedTargetRegressor is compiled for exp, expm1, square and StandardScaler only; "
        "declare other calculations outside the model."
    )


def _or(value: Any, default: float) -> Any:
    return np.array([default]) if value is None else value


def _mean(graph: Graph, tensors: Sequence[str | None], weights: Any) -> str:
    given = [tensor for tensor in tensors if tensor is not None]
    if len(given) != len(tensors):
        raise CompileError("a member of this ensemble has no probabilities; that is not compiled.")
    if weights is not None:
        shares = np.asarray(weights, np.float64) / np.sum(weights)
        given = [graph.add("Mul", t, graph.constant(float(s), np.float64)) for t, s in zip(given, shares, strict=True)]
        return graph.add("Sum", *given)
    if len(given) == 1:
        return given[0]
    return graph.add("Div", graph.add("Sum", *given), graph.constant(float(len(given)), np.float64))


def _relabelled(graph: Graph, answer: Answer, classes: Any) -> Answer:
    return classification(graph, classes, probabilities=answer.probabilities, scores=answer.scores)


def _given(tensor: str | None, member: Any) -> str:
    if tensor is None:
        raise CompileError(f"{type(member).__name__} as a member of an ensemble is not compiled: {unsupported(member)}")
    return tensor


EMITTERS: dict[type, Callable[[Graph, Any, Table, Emit], Answer]] = {
    ensemble.VotingClassifier: emit_voting,
    ensemble.VotingRegressor: emit_voting,
    ensemble.StackingClassifier: emit_stacking,
    ensemble.StackingRegressor: emit_stacking,
    ensemble.BaggingClassifier: emit_bagging,
    ensemble.BaggingRegressor: emit_bagging,
    ensemble.AdaBoostClassifier: emit_boosted_votes,
    calibration.CalibratedClassifierCV: emit_calibrated,
    multiclass.OneVsRestClassifier: emit_one_against_rest,
    compose.TransformedTargetRegressor: emit_transformed_target,
    **{
        getattr(model_selection, name): emit_threshold
        for name in ("FixedThresholdClassifier", "TunedThresholdClassifierCV")
        if hasattr(model_selection, name)
    },
}
