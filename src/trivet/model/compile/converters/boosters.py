"""XGBoost and LightGBM, read from the models' own JSON. Neither library is imported: the trained object brings its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trivet.core.errors import CompileError
from trivet.model.compile.columns import Table, matrix, table_of
from trivet.model.compile.converters.answers import Answer, classification, two_classes
from trivet.model.compile.converters.trees import LEAF, Forest, Tree, emit_forest
from trivet.model.compile.graph import Graph

_IDENTITY = frozenset(
    {"reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror"}
    | {"rank:pairwise", "rank:ndcg", "rank:map"}
)
_LOGISTIC = frozenset({"binary:logistic", "reg:logistic"})
_EXPONENTIAL = frozenset({"count:poisson", "reg:gamma", "reg:tweedie"})
_SOFTMAX = frozenset({"multi:softprob", "multi:softmax"})

_LIGHT_IDENTITY = frozenset(
    {"regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg"}
)
_LIGHT_EXPONENTIAL = frozenset({"poisson", "gamma", "tweedie"})


def emit_xgboost(graph: Graph, model: Any, table: Table) -> Answer:
    """XGBoost: float32 comparisons with `<`, missing values by each node's default, leaves summed onto the base score."""
    learner = json.loads(bytes(model.get_booster().save_raw("json")))["learner"]
    objective = learner["objective"]["name"]
    classes = int(learner["learner_model_param"]["num_class"])
    targets = max(classes, 1)
    base = _base_margin(learner["learner_model_param"]["base_score"], objective, targets)
    booster, given = learner["gradient_booster"], _with_missing(graph, table, model.missing)
    if booster["name"] == "gblinear":
        raw = _linear_booster(graph, booster["model"]["weights"], base, given)
    else:
        trees = tuple(_xgboost_trees(booster, _rounds_used(model)))
        raw = emit_forest(graph, Forest(trees, base, goes_left_when="BRANCH_LT"), given)
    return _answer(graph, model, raw, _xgboost_link(objective))


def _linear_booster(graph: Graph, written: list[float], base: np.ndarray, table: Table) -> str:
    """X·w + b of XGBoost's linear booster, to which a missing value adds nothing."""
    weights = np.array(written, np.float32).astype(np.float64).reshape(-1, len(base))
    values = matrix(graph, table).tensor
    present = graph.add("Where", graph.add("IsNaN", values), graph.constant(0.0, np.float64), values)
    product = graph.add("MatMul", present, graph.constant(weights[:-1]))
    return graph.add("Add", product, graph.constant((weights[-1] + base).reshape(1, -1)))


def emit_lightgbm(graph: Graph, model: Any, table: Table) -> Answer:
    """LightGBM: comparisons in double with `<=`, leaves summed."""
    dump = model.booster_.dump_model()
    targets = int(dump["num_tree_per_iteration"])
    read = [_lightgbm_tree(tree, number % targets) for number, tree in enumerate(dump["tree_info"])]
    trees = [tree for tree, _ in read]
    if dump.get("average_output"):
        rounds = len(trees) // targets
        trees = [replace(tree, value=tree.value / rounds) for tree in trees]
    given = _with_zeros(graph, table, trees, zero_is_missing=any(zero for _, zero in read))
    raw = emit_forest(graph, Forest(tuple(trees), np.zeros(targets), rounds_input=False), given)
    return _answer(graph, model, raw, _lightgbm_link(dump.get("objective", "")))


ZERO = float(np.float32(1e-35))  # LightGBM's kZeroThreshold: what is not larger is a zero to it


def _with_zeros(graph: Graph, table: Table, trees: Sequence[Tree], *, zero_is_missing: bool) -> Table:
    """Return `table` with NaN or 0 where LightGBM sees a zero, when a split can tell."""
    if not zero_is_missing and not any(np.any(np.abs(tree.threshold[tree.left != LEAF]) <= ZERO) for tree in trees):
        return table
    block = matrix(graph, table)
    is_zero = graph.add("LessOrEqual", graph.add("Abs", block.tensor), graph.constant(ZERO, np.float64))
    zero = graph.constant(np.nan if zero_is_missing else 0.0, np.float64)
    return table_of(replace(block, tensor=graph.add("Where", is_zero, zero, block.tensor)))


def _answer(graph: Graph, model: Any, raw: str, link: str) -> Answer:
    if not hasattr(model, "classes_"):
        if link == "square":
            return Answer(prediction=graph.add("Mul", raw, graph.add("Abs", raw)))
        return Answer(prediction=raw if link == "identity" else graph.add(_NODES[link], raw))
    if link == "sigmoids":
        return classification(graph, model.classes_, probabilities=graph.add("Sigmoid", raw))
    if link == "softmax":
        return classification(graph, model.classes_, probabilities=graph.add("Softmax", raw, axis=1))
    if link == "sigmoid" and len(model.classes_) == 2:
        return classification(graph, model.classes_, probabilities=two_classes(graph, graph.add("Sigmoid", raw)))
    raise CompileError(
        f"{type(model).__name__} with this objective ({link}) is not compiled; use logistic or softprob."
    )


_NODES = {"sigmoid": "Sigmoid", "exp": "Exp"}


def _xgboost_link(objective: str) -> str:
    for names, link in (
        (_IDENTITY, "identity"),
        (_LOGISTIC, "sigmoid"),
        (_EXPONENTIAL, "exp"),
        (_SOFTMAX, "softmax"),
    ):
        if objective in names:
            return link
    raise CompileError(f"XGBoost's objective {objective!r} is not compiled.")


def _lightgbm_link(objective: str) -> str:
    name, *options = objective.split() or [""]
    if name in _LIGHT_IDENTITY and not options:
        return "identity"
    if name in _LIGHT_IDENTITY and name in ("quantile", "huber", "fair", "lambdarank", "rank_xendcg"):
        return "identity"  # their options shaped the training only
    if objective == "regression sqrt":
        return "square"
    if name == "multiclassova" and "sigmoid:1" in options:
        return "sigmoids"
    if name in _LIGHT_EXPONENTIAL:
        return "exp"
    if name == "multiclass":
        return "softmax"
    if name == "cross_entropy" or objective == "binary sigmoid:1":
        return "sigmoid"
    raise CompileError(f"LightGBM's objective {objective!r} is not compiled.")


def _base_margin(written: str, objective: str, targets: int) -> np.ndarray:
    """Return the base score as what is added to the trees' sum; it is written as an answer, `[5E-1]` or `5E-1`."""
    scores = np.array([float(part) for part in written.strip("[]").split(",")], np.float32).astype(np.float64)
    if objective in _LOGISTIC:
        scores = np.log(scores / (1.0 - scores))
    elif objective in _EXPONENTIAL:
        scores = np.log(scores)
    return np.broadcast_to(scores, (targets,)).copy()


def _rounds_used(model: Any) -> int | None:
    """Return how many boosting rounds `predict` uses: all, or those up to the best when training stopped early."""
    try:
        return int(model.best_iteration) + 1
    except AttributeError:
        return None


def _with_missing(graph: Graph, table: Table, missing: Any) -> Table:
    """Return `table` with NaN where XGBoost sees a missing value: its `missing`, and a sparse matrix's zeros."""
    block = matrix(graph, table)
    if not table.is_sparse and (missing is None or np.isnan(missing)):
        return table_of(block)
    gap = 0.0 if table.is_sparse else float(missing)
    hidden = graph.add("Equal", block.tensor, graph.constant(gap, np.float64))
    tensor = graph.add("Where", hidden, graph.constant(np.nan, np.float64), block.tensor)
    return table_of(replace(block, tensor=tensor))


def _xgboost_trees(booster: dict[str, Any], rounds: int | None) -> Iterator[Tree]:
    if booster["name"] not in ("gbtree", "dart"):
        raise CompileError(f"XGBoost's booster {booster['name']!r} is not compiled; train with booster='gbtree'.")
    model = booster["gbtree"]["model"] if "gbtree" in booster else booster["model"]
    weights = booster.get(
        "weight_drop", model.get("weight_drop")
    )  # of dropout; newer releases keep them with the trees
    last = len(model["trees"])
    if rounds is not None and "iteration_indptr" in model:
        last = model["iteration_indptr"][rounds]
    shares = np.ones(last) if weights is None else np.array(weights[:last], np.float32).astype(np.float64)
    for tree, target, share in zip(model["trees"][:last], model["tree_info"][:last], shares.tolist(), strict=True):
        if int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
            raise CompileError("XGBoost trees with vector leaves (multi_strategy) are not compiled.")
        if any(tree.get("split_type", ())):
            raise CompileError("XGBoost's splits on categories are not compiled yet: one-hot encode in the pipeline.")
        conditions = np.array(tree["split_conditions"], np.float32).astype(np.float64)
        yield Tree(
            feature=np.array(tree["split_indices"], np.int64),
            threshold=conditions,
            left=np.array(tree["left_children"], np.int64),
            right=np.array(tree["right_children"], np.int64),
            missing_goes_left=np.array(tree["default_left"], np.int64),
            value=share * conditions.reshape(-1, 1),
            target=int(target),
        )


def _lightgbm_tree(tree: dict[str, Any], target: int) -> tuple[Tree, bool]:
    """Return a tree, and whether zeros count as missing to it."""
    has_zeros = False
    nodes: list[tuple[int, float, int, int, bool, float]] = []
    pending: list[tuple[dict[str, Any], int, bool]] = [(tree["tree_structure"], -1, False)]
    while pending:  # depth first without recursion: leaf-wise trees may be deep
        node, parent, is_left = pending.pop()
        number = len(nodes)
        if parent >= 0:
            feature, threshold, left, right, missing, value = nodes[parent]
            nodes[parent] = (
                (feature, threshold, number, right, missing, value)
                if is_left
                else (feature, threshold, left, number, missing, value)
            )
        if "split_feature" not in node:
            if "leaf_coeff" in node or "leaf_const" in node:
                raise CompileError("LightGBM's linear trees are not compiled.")
            nodes.append((0, 0.0, LEAF, LEAF, False, float(node["leaf_value"])))
            continue
        has_zeros = has_zeros or node["missing_type"] == "Zero"
        nodes.append((int(node["split_feature"]), float(node["threshold"]), 0, 0, _missing_goes_left(node), 0.0))
        pending.append((node["right_child"], number, False))
        pending.append((node["left_child"], number, True))
    columns = [np.array(column) for column in zip(*nodes, strict=True)]
    features, thresholds, lefts, rights, gaps, values = columns
    made = Tree(features, thresholds, lefts, rights, gaps.astype(np.int64), values.reshape(-1, 1), target)
    return made, has_zeros


def _missing_goes_left(node: dict[str, Any]) -> bool:
    if node["decision_type"] != "<=":
        raise CompileError("LightGBM's splits on categories are not compiled yet: one-hot encode in the pipeline.")
    if node["missing_type"] in ("NaN", "Zero"):
        return bool(node["default_left"])
    return float(node["threshold"]) >= 0.0  # without missing values in training, NaN counts as 0


EMITTERS_BY_NAME = {
    "xgboost.sklearn.XGBClassifier": emit_xgboost,
    "xgboost.sklearn.XGBRegressor": emit_xgboost,
    "xgboost.sklearn.XGBRFClassifier": emit_xgboost,
    "xgboost.sklearn.XGBRFRegressor": emit_xgboost,
    "lightgbm.sklearn.LGBMClassifier": emit_lightgbm,
    "lightgbm.sklearn.LGBMRegressor": emit_lightgbm,
}
