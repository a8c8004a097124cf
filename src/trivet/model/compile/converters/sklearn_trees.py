"""Trees, forests and boosting of scikit-learn, read from the fitted arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import ensemble, tree

from trivet.model.compile.columns import Table, derived, matrix, select, side_by_side, table_of
from trivet.model.compile.converters.answers import Answer, classification, two_classes
from trivet.model.compile.converters.steps import ordinal_encoder
from trivet.model.compile.converters.trees import LEAF, Forest, Tree, emit_forest
from trivet.model.compile.graph import Graph


def emit_bagged_trees(graph: Graph, model: Any, table: Table) -> Answer:
    """A tree or a forest of them: the mean over trees of the leaf's class shares, or of its value.

    With several targets, every leaf holds the values of all of them.
    """
    members = list(getattr(model, "estimators_", [model]))
    is_classifier = hasattr(model, "classes_")
    trees = []
    for member in members:
        values = member.tree_.value
        parts = (
            [_shares(values[:, i, :], n) for i, n in enumerate(_classes_of(model))]
            if is_classifier
            else [values[:, :, 0]]
        )
        trees.append(sklearn_tree(member.tree_, np.concatenate(parts, axis=1) / len(members)))
    forest = Forest(tuple(trees), np.zeros(trees[0].value.shape[1]))
    sums = emit_forest(graph, forest, table)
    if not is_classifier:
        return Answer(prediction=sums)
    if model.n_outputs_ == 1:
        probabilities = two_classes(graph, sums) if len(model.classes_) == 2 else sums
        return classification(graph, model.classes_, probabilities=probabilities)
    answers, first = [], 0
    for classes in model.classes_:
        width = 1 if len(classes) == 2 else len(classes)
        part = graph.add("Gather", sums, graph.constant(np.arange(first, first + width)), axis=1)
        first += width
        probabilities = two_classes(graph, part) if width == 1 and len(classes) == 2 else part
        answers.append(classification(graph, classes, probabilities=probabilities))
    return Answer(targets=tuple(answers))


def _classes_of(model: Any) -> list[int]:
    """Return how many classes each target has."""
    return [len(model.classes_)] if model.n_outputs_ == 1 else [len(classes) for classes in model.classes_]


def _shares(counts: np.ndarray, classes: int) -> np.ndarray:
    """Return the class shares of each node, of two classes only the second's."""
    counts = counts[:, :classes]
    shares: np.ndarray = counts / counts.sum(axis=1, keepdims=True)
    return shares[:, 1:] if classes == 2 else shares


def emit_gradient_boosting(graph: Graph, model: Any, table: Table, *, start: str | None = None) -> Answer:
    """GradientBoosting: a constant start, or `start` of shape (rows, 1), plus the learning rate times each tree.

    Then the loss's link.
    """
    rounds, targets = model.estimators_.shape
    trees = tuple(
        sklearn_tree(
            model.estimators_[i, k].tree_, model.learning_rate * model.estimators_[i, k].tree_.value[:, 0, :], k
        )
        for i in range(rounds)
        for k in range(targets)
    )
    base = np.zeros(targets) if start is not None else _start_of(model, targets)
    raw = emit_forest(graph, Forest(trees, base), table)
    if start is not None:
        raw = graph.add("Add", start, raw)
    if not hasattr(model, "classes_"):
        return Answer(prediction=raw)
    factor = 2.0 if model.loss == "exponential" else 1.0
    return _linked(graph, model.classes_, raw, factor)


def emit_histogram_boosting(graph: Graph, model: Any, table: Table) -> Answer:
    """HistGradientBoosting: the baseline plus every tree, through the loss's link; compares in double.

    A split on a set of categories reads a column made for it: 0 where the category goes left, 1 where it goes right.
    """
    sides: list[tuple[int, tuple[float, ...]]] = []
    if getattr(model, "_preprocessor", None) is not None:
        table = _codes_first(graph, model, table)
    trees = tuple(
        _histogram_tree(_with_sides(model, predictor, sides), target)
        for predictors in model._predictors
        for target, predictor in enumerate(predictors)
    )
    base = np.asarray(model._baseline_prediction, np.float64).reshape(-1)
    if sides:
        table = side_by_side([table, _sides(graph, table, sides)])
    raw = emit_forest(graph, Forest(trees, base, rounds_input=False), table)
    if hasattr(model, "classes_"):
        return _linked(graph, model.classes_, raw, 1.0)
    if type(model._loss.link).__name__ == "LogLink":
        return Answer(prediction=graph.add("Exp", raw))
    return Answer(prediction=raw)


MOST_CODES = 256  # categories are bits of eight 32-bit words


def _codes_first(graph: Graph, model: Any, table: Table) -> Table:
    """Return the categorical columns as codes, then the others: the order in which the model itself sees them."""
    encoder = model._preprocessor.named_transformers_["encoder"]
    is_category = np.asarray(model.is_categorical_, bool)
    codes = ordinal_encoder(graph, encoder, select(graph, table, np.flatnonzero(is_category).tolist()))
    others = np.flatnonzero(~is_category).tolist()
    return side_by_side([codes, select(graph, table, others)] if others else [codes])


def _with_sides(model: Any, predictor: Any, sides: list[tuple[int, tuple[float, ...]]]) -> np.ndarray:
    """Return the nodes of `predictor` with splits on sets turned into splits on a column of `sides`, which grows."""
    nodes: np.ndarray = predictor.nodes.copy()
    if not len(predictor.raw_left_cat_bitsets):
        return nodes
    known, places = model._bin_mapper.make_known_categories_bitsets()
    codes = np.arange(MOST_CODES)
    width = len(model.is_categorical_)
    for number in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~nodes["is_leaf"].astype(bool)):
        node = nodes[number]
        feature = int(node["feature_idx"])
        goes_left = _bits(predictor.raw_left_cat_bitsets[node["bitset_idx"]], codes)
        is_known = _bits(known[places[feature]], codes)
        gap = 0.0 if node["missing_go_to_left"] else 1.0
        side = (feature, (*np.where(goes_left, 0.0, np.where(is_known, 1.0, gap)).tolist(), gap))
        if side not in sides:
            sides.append(side)
        nodes[number]["feature_idx"] = width + sides.index(side)
        nodes[number]["num_threshold"] = 0.5
    return nodes


def _bits(words: np.ndarray, codes: np.ndarray) -> np.ndarray:
    bits: np.ndarray = (np.asarray(words)[codes // 32] >> (codes % 32).astype(np.uint32)) & 1 == 1
    return bits


def _sides(graph: Graph, table: Table, sides: list[tuple[int, tuple[float, ...]]]) -> Table:
    """Return one column for each of `sides`: the side of each code, and at the end that of a missing one."""
    columns = []
    for feature in sorted({feature for feature, _ in sides}):
        code = matrix(graph, select(graph, table, [feature])).tensor
        gap = graph.constant(float(MOST_CODES), np.float64)
        outside = graph.add("Or", graph.add("Less", code, graph.constant(0.0, np.float64)), graph.add("IsNaN", code))
        place = graph.cast(graph.add("Where", outside, gap, code), "INT64")
        flat = graph.add("Reshape", place, graph.constant([-1], np.int64))
        mine = [number for number, (owner, _) in enumerate(sides) if owner == feature]
        found = graph.add("Gather", graph.constant(np.array([sides[i][1] for i in mine]).T), flat, axis=0)
        columns += [(number, found, place) for place, number in enumerate(mine)]
    tensors = [found for number, found, place in columns if place == 0]
    joined = tensors[0] if len(tensors) == 1 else graph.add("Concat", *tensors, axis=1)
    order = np.argsort([number for number, _, _ in columns])
    return select(graph, table_of(derived(joined, "FP64", len(sides))), order.tolist())


def _linked(graph: Graph, classes: np.ndarray, raw: str, factor: float) -> Answer:
    if len(classes) == 2:
        scaled = graph.add("Mul", raw, graph.constant(factor, np.float64)) if factor != 1.0 else raw
        second = graph.add("Sigmoid", scaled)
        return classification(graph, classes, probabilities=two_classes(graph, second), scores=raw)
    return classification(graph, classes, probabilities=graph.add("Softmax", raw, axis=1), scores=raw)


def _start_of(model: Any, targets: int) -> np.ndarray:
    nothing = np.zeros((1, model.n_features_in_), np.float32)
    return np.asarray(model._raw_predict_init(nothing), np.float64).reshape(targets)


def sklearn_tree(
    arrays: Any, values: np.ndarray, target: int | None = None, *, feature: np.ndarray | None = None
) -> Tree:
    """Return a fitted tree with `values`, shape (nodes, targets); `feature` replaces its own columns where it saw a part."""
    left = np.where(arrays.children_left == -1, LEAF, arrays.children_left)
    missing = getattr(arrays, "missing_go_to_left", None)
    return Tree(
        feature=arrays.feature if feature is None else feature,
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
    ensemble.HistGradientBoostingClassifier: emit_histogram_boosting,
    ensemble.HistGradientBoostingRegressor: emit_histogram_boosting,
}
