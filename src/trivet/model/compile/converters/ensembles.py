"""Estimators that own other estimators: each member is compiled by the recipe, then their answers are joined in double."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn import calibration, compose, ensemble, isotonic, model_selection, multiclass, multioutput

from trivet.core.errors import CompileError
from trivet.model.compile.columns import Table, derived, matrix, select, side_by_side, table_of
from trivet.model.compile.converters.answers import (
    Answer,
    class_labels,
    classification,
    label_is_set,
    pairs_as_scores,
    two_classes,
    votes_of_pairs,
)
from trivet.model.compile.converters.isotonic import isotonic_curve
from trivet.model.compile.converters.sklearn_trees import emit_gradient_boosting
from trivet.model.compile.converters.stock import unsupported
from trivet.model.compile.graph import Graph
from trivet.model.compile.lowering import decision_threshold, positive_place

Emit = Callable[[Graph, Any, Table], Answer]


def emit_voting(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """The weighted mean of the members' probabilities, or of their predictions."""
    answers = [emit(graph, member, table) for member in model.estimators_]
    weights = model._weights_not_none
    if not hasattr(model, "classes_"):
        return Answer(prediction=_mean(graph, [a.prediction for a in answers], weights))
    if model.voting != "soft":
        return _majority(graph, model, answers, weights)
    mean = _mean(graph, [a.probabilities for a in answers], weights)
    return classification(graph, model.classes_, probabilities=mean)


def _majority(graph: Graph, model: Any, answers: Sequence[Answer], weights: Any) -> Answer:
    """The class with the most votes, the first one of several: the members' labels are places among the classes."""
    places = graph.constant(np.arange(len(model.classes_), dtype=np.int64).reshape(1, -1))
    votes = []
    for member, answer, weight in zip(model.estimators_, answers, weights or [1.0] * len(answers), strict=True):
        label = graph.add("Unsqueeze", _given(answer.label, member), graph.constant([1], np.int64))
        cast = graph.cast(graph.add("Equal", label, places), "FP64")
        votes.append(graph.add("Mul", cast, graph.constant(float(weight), np.float64)))
    place = graph.add("ArgMax", graph.add("Sum", *votes), axis=1, keepdims=0)
    return Answer(label=graph.add("Gather", graph.constant(class_labels(model.classes_)), place, axis=0))


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
    classes = len(model.classes_)
    shares = [
        _over_all_classes(graph, answer, member, classes)
        for answer, member in zip(answers, model.estimators_, strict=True)
    ]
    return classification(graph, model.classes_, probabilities=_mean(graph, shares, None))


def _over_all_classes(graph: Graph, answer: Answer, member: Any, classes: int) -> str:
    """Return a member's probabilities, or its vote where it has none; a class it never saw gets nothing."""
    seen = np.asarray(member.classes_, np.int64)  # members learn places among the classes
    if not hasattr(member, "predict_proba"):
        label = graph.add("Unsqueeze", _given(answer.label, member), graph.constant([1], np.int64))
        places = graph.constant(np.arange(classes, dtype=np.int64).reshape(1, -1))
        return graph.cast(graph.add("Equal", label, places), "FP64")
    probabilities = _given(answer.probabilities, member)
    if len(seen) == classes:
        return probabilities
    return graph.add("MatMul", probabilities, graph.constant(np.eye(classes)[seen]))


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
    if part.method == "temperature":
        return _tempered(graph, part, answer)
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


TINY = 1e-12  # scikit-learn's, added to a probability before its logarithm


def _tempered(graph: Graph, part: Any, answer: Answer) -> str:
    """Softmax of the scores, or of the logarithms of the probabilities, times one fitted factor."""
    if hasattr(part.estimator, "decision_function"):
        logits = _given(answer.scores, part.estimator)
        if len(part.classes) == 2:
            logits = graph.add("Concat", graph.add("Neg", logits), logits, axis=1)
    else:
        shares = _given(answer.probabilities, part.estimator)
        logits = graph.add("Log", graph.add("Add", shares, graph.constant(TINY, np.float64)))
    factor = graph.constant(float(part.calibrators[0].beta_), np.float64)
    return graph.add("Softmax", graph.add("Mul", logits, factor), axis=1)


def _curve(graph: Graph, curve: Any, column: str) -> str:
    if isinstance(curve, isotonic.IsotonicRegression):
        return isotonic_curve(graph, curve, column)
    if type(curve).__name__ != "_SigmoidCalibration":
        raise CompileError(f"calibration by {type(curve).__name__} is not compiled; use sigmoid or isotonic.")
    inner = graph.add("Mul", column, graph.constant(-float(curve.a_), np.float64))
    return graph.add("Sigmoid", graph.add("Sub", inner, graph.constant(float(curve.b_), np.float64)))


def emit_one_against_rest(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """One model a class; probabilities are scaled to sum to one. The last of the best scores wins, as in the original."""
    answers = [emit(graph, member, table) for member in model.estimators_]
    has_probabilities = hasattr(model, "predict_proba")
    values = _side_by_side(graph, model.estimators_, answers)
    by_score = hasattr(model.estimators_[0], "decision_function")
    threshold = 0.0 if by_score else 0.5
    seconds = _second_classes(graph, model.estimators_, answers) if has_probabilities else None
    if model.multilabel_:
        labels = [
            label_is_set(graph, values, i, threshold, are_probabilities=not by_score) for i in range(len(answers))
        ]
        if seconds is None:
            return Answer(targets=tuple(labels))
        shown = [label_is_set(graph, seconds, place, threshold) for place in range(len(answers))]
        return Answer(targets=tuple(replace(one, label=of.label) for one, of in zip(shown, labels, strict=True)))
    labels_of = graph.constant(class_labels(model.classes_))
    if len(answers) == 1:
        flat = graph.add("Reshape", values, graph.constant([-1], np.int64))
        place = graph.cast(graph.add("Greater", flat, graph.constant(threshold, np.float64)), "INT64")
        label = graph.add("Gather", labels_of, place, axis=0)
        if seconds is None:
            return Answer(scores=values, label=label)
        return Answer(probabilities=two_classes(graph, seconds), label=label)
    place = graph.add("ArgMax", values, axis=1, keepdims=0, select_last_index=1)
    label = graph.add("Gather", labels_of, place, axis=0)
    scores = values if by_score else None
    if seconds is None:
        return Answer(scores=scores, label=label)
    total = graph.add("ReduceSum", seconds, graph.constant([1], np.int64), keepdims=1)
    nothing = graph.add("Equal", total, graph.constant(0.0, np.float64))
    divisor = graph.add("Where", nothing, graph.constant(1.0, np.float64), total)
    return Answer(probabilities=graph.add("Div", seconds, divisor), scores=scores, label=label)


def emit_one_against_one(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """One model for each pair of classes; their votes, and how sure they are, make a score a class."""
    subsets = model.pairwise_indices_ or [None] * len(model.estimators_)
    answers = [
        emit(graph, member, table if places is None else select(graph, table, [int(place) for place in places]))
        for member, places in zip(model.estimators_, subsets, strict=True)
    ]
    confidences = _side_by_side(graph, model.estimators_, answers)
    if len(model.classes_) == 2:
        threshold = 0.0 if hasattr(model.estimators_[0], "decision_function") else 0.5
        flat = graph.add("Reshape", confidences, graph.constant([-1], np.int64))
        place = graph.cast(graph.add("Greater", flat, graph.constant(threshold, np.float64)), "INT64")
        return Answer(
            scores=confidences, label=graph.add("Gather", graph.constant(class_labels(model.classes_)), place, axis=0)
        )
    labels = [
        graph.add("Unsqueeze", _given(answer.label, member), graph.constant([1], np.int64))
        for answer, member in zip(answers, model.estimators_, strict=True)
    ]
    second = graph.cast(graph.add("Concat", *labels, axis=1), "FP64")
    classes = len(model.classes_)
    votes = votes_of_pairs(graph, second, classes)
    return classification(graph, model.classes_, scores=pairs_as_scores(graph, votes, confidences, classes))


def _side_by_side(graph: Graph, members: Sequence[Any], answers: Sequence[Answer]) -> str:
    """Return one column for each two-class member: its score, or the second class's probability where it has none."""
    columns = []
    for member, answer in zip(members, answers, strict=True):
        if hasattr(member, "decision_function"):
            columns.append(_given(answer.scores, member))
        else:
            columns.append(_second_classes(graph, [member], [answer]))
    return columns[0] if len(columns) == 1 else graph.add("Concat", *columns, axis=1)


def _second_classes(graph: Graph, members: Sequence[Any], answers: Sequence[Answer]) -> str:
    columns = [
        graph.add("Gather", _given(answer.probabilities, member), graph.constant([1], np.int64), axis=1)
        for member, answer in zip(members, answers, strict=True)
    ]
    return columns[0] if len(columns) == 1 else graph.add("Concat", *columns, axis=1)


def emit_several_regressors(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """One regressor for each target."""
    predictions = [_given(emit(graph, member, table).prediction, member) for member in model.estimators_]
    return Answer(prediction=predictions[0] if len(predictions) == 1 else graph.add("Concat", *predictions, axis=1))


def emit_several_classifiers(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """One classifier for each target."""
    return Answer(targets=tuple(emit(graph, member, table) for member in model.estimators_))


def emit_started_boosting(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """GradientBoosting from another estimator's answer, which sees float32 as the trees do."""
    init = model.init_
    if isinstance(init, str) or type(init).__name__ in ("DummyClassifier", "DummyRegressor"):
        return emit_gradient_boosting(graph, model, table)
    block = matrix(graph, table)
    rounded = table_of(replace(block, tensor=graph.cast(graph.cast(block.tensor, "FP32"), "FP64")))
    answer = emit(graph, init, rounded)
    if not hasattr(model, "classes_"):
        return emit_gradient_boosting(graph, model, table, start=_given(answer.prediction, init))
    shares = _given(answer.probabilities, init)
    low, high = (graph.constant(bound, np.float64) for bound in (EPSILON, 1.0 - EPSILON))
    if len(model.classes_) > 2:
        raise CompileError("GradientBoosting of several classes that starts from another estimator is not compiled.")
    second = graph.add("Clip", graph.add("Gather", shares, graph.constant([1], np.int64), axis=1), low, high)
    odds = graph.add("Div", second, graph.add("Sub", graph.constant(1.0, np.float64), second))
    start = graph.add("Log", odds)
    if model.loss == "exponential":
        start = graph.add("Mul", start, graph.constant(0.5, np.float64))
    return emit_gradient_boosting(graph, model, table, start=start)


EPSILON = float(np.finfo(np.float64).eps)


def emit_threshold(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """The inner model's answer; the label is the positive class, the second one unless told otherwise, from the threshold on."""
    answer = emit(graph, model.estimator_, table)
    threshold, by_score = decision_threshold(model)
    positive = positive_place(model)
    if by_score:
        score = _given(answer.scores, model.estimator_)
        score = score if positive else graph.add("Neg", score)
    else:
        probabilities = _given(answer.probabilities, model.estimator_)
        score = graph.add("Gather", probabilities, graph.constant([positive], np.int64), axis=1)
    flat = graph.add("Reshape", score, graph.constant([-1], np.int64))
    is_positive = graph.cast(graph.add("GreaterOrEqual", flat, graph.constant(threshold, np.float64)), "INT64")
    labels = class_labels(model.classes_)
    label = graph.add("Gather", graph.constant(labels if positive else labels[::-1]), is_positive, axis=0)
    return Answer(probabilities=answer.probabilities, scores=answer.scores, label=label)


def emit_transformed_target(graph: Graph, model: Any, table: Table, emit: Emit) -> Answer:
    """The inner regressor, then the way back to the target's own scale."""
    raw = _given(emit(graph, model.regressor_, table).prediction, model.regressor_)
    way_back = model.transformer_
    one = graph.constant(1.0, np.float64)
    kind = type(way_back).__name__
    if kind == "MinMaxScaler" and not way_back.clip:
        moved = graph.add("Sub", raw, graph.constant(np.asarray(way_back.min_, np.float64).reshape(1, -1)))
        return Answer(prediction=graph.add("Div", moved, graph.constant(np.asarray(way_back.scale_).reshape(1, -1))))
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
    if kind in ("RobustScaler", "MaxAbsScaler"):
        scale, centre = (np.asarray(_or(getattr(way_back, name, None), at)) for name, at in AFFINE.items())
        scaled = graph.add("Mul", raw, graph.constant(scale.reshape(1, -1)))
        return Answer(prediction=graph.add("Add", scaled, graph.constant(centre.reshape(1, -1))))
    if kind == "StandardScaler":
        scaled = graph.add("Mul", raw, graph.constant(np.asarray(_or(way_back.scale_, 1.0)).reshape(1, -1)))
        return Answer(
            prediction=graph.add("Add", scaled, graph.constant(np.asarray(_or(way_back.mean_, 0.0)).reshape(1, -1)))
        )
    raise CompileError(
        "TransformedTargetRegressor is compiled for exp, expm1, square and scalers only; "
        "declare other calculations outside the model."
    )


AFFINE = {"scale_": 1.0, "center_": 0.0}


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
    multiclass.OneVsOneClassifier: emit_one_against_one,
    multioutput.MultiOutputRegressor: emit_several_regressors,
    multioutput.MultiOutputClassifier: emit_several_classifiers,
    ensemble.GradientBoostingClassifier: emit_started_boosting,
    ensemble.GradientBoostingRegressor: emit_started_boosting,
    compose.TransformedTargetRegressor: emit_transformed_target,
    **{
        getattr(model_selection, name): emit_threshold
        for name in ("FixedThresholdClassifier", "TunedThresholdClassifierCV")
        if hasattr(model_selection, name)
    },
}
