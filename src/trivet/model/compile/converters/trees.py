"""Trees of every library as one operator, in double: thresholds, leaves and the sum are what the original has.

The stock converters store thresholds as float32, rounded to nearest, and forget where missing values go. Here each
node's threshold keeps its 64 bits, missing values follow the original, and what goes in is rounded to float32 first
exactly when the original rounds (scikit-learn's forests, XGBoost) and not when it does not (histogram boosting,
LightGBM). ONNX Runtime sums in double and rounds the sum once, to float32; the start of boosting is added after that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import numpy_helper

from trivet.core.errors import CompileError
from trivet.model.compile.columns import Origin, Table, matrix
from trivet.model.compile.graph import ML, Graph, Split

LEAF = -1


@dataclass(frozen=True)
class Tree:
    """One tree as arrays over its nodes, root first; `left` is -1 at a leaf.

    `value` has shape (nodes, targets) and counts at leaves only; with `target` it has one column, for that target.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_goes_left: np.ndarray
    value: np.ndarray
    target: int | None = None


@dataclass(frozen=True)
class Forest:
    """Trees whose values are summed onto `base`, of shape (targets,)."""

    trees: tuple[Tree, ...]
    base: np.ndarray
    goes_left_when: str = "BRANCH_LEQ"  # or BRANCH_LT
    rounds_input: bool = True  # the original compares float32


def emit_forest(graph: Graph, forest: Forest, table: Table) -> str:
    """Add `forest` over the columns of `table`; return its sums, FP64 of shape (rows, targets)."""
    base = forest.base.astype(np.float64)
    trees = []
    for tree in forest.trees:
        if len(tree.left) > 1:
            trees.append(tree)
        elif tree.target is None:
            base = base + tree.value[0]
        else:
            base[tree.target] += tree.value[0, 0]
    if not trees:
        raise CompileError("it answers the same for every row: no tree has a split.")
    block = matrix(graph, table)
    tensor = graph.cast(graph.cast(block.tensor, "FP32"), "FP64") if forest.rounds_input else block.tensor
    attributes = _node_attributes(trees, forest.goes_left_when) | _leaf_attributes(trees, len(base))
    sums = graph.add(
        "TreeEnsembleRegressor",
        tensor,
        domain=ML,
        aggregate_function="SUM",
        post_transform="NONE",
        n_targets=len(base),
        **attributes,
    )
    graph.splits.extend(_splits(trees, block.origins, rounds_input=forest.rounds_input))
    doubled = graph.cast(sums, "FP64")
    return graph.add("Add", doubled, graph.constant(base.reshape(1, -1))) if base.any() else doubled


def _node_attributes(trees: Sequence[Tree], goes_left_when: str) -> dict[str, object]:
    sizes = [len(tree.left) for tree in trees]
    is_leaf = np.concatenate([tree.left == LEAF for tree in trees])

    def joined(arrays: list[np.ndarray], at_leaf: float) -> np.ndarray:
        return np.where(is_leaf, at_leaf, np.concatenate(arrays))

    thresholds = joined([tree.threshold for tree in trees], 0.0).astype(np.float64)
    missing = joined([tree.missing_goes_left for tree in trees], 0).astype(np.int64)
    return {
        "nodes_treeids": np.repeat(np.arange(len(trees)), sizes).tolist(),
        "nodes_nodeids": np.concatenate([np.arange(size) for size in sizes]).tolist(),
        "nodes_featureids": joined([tree.feature for tree in trees], 0).astype(np.int64).tolist(),
        "nodes_modes": ["LEAF" if leaf else goes_left_when for leaf in is_leaf.tolist()],
        "nodes_truenodeids": joined([tree.left for tree in trees], 0).astype(np.int64).tolist(),
        "nodes_falsenodeids": joined([tree.right for tree in trees], 0).astype(np.int64).tolist(),
        "nodes_missing_value_tracks_true": missing.tolist(),
        "nodes_values_as_tensor": numpy_helper.from_array(thresholds),
    }


def _leaf_attributes(trees: Sequence[Tree], targets: int) -> dict[str, object]:
    tree_ids, node_ids, target_ids, weights = [], [], [], []
    for number, tree in enumerate(trees):
        leaves = np.flatnonzero(tree.left == LEAF)
        columns = np.arange(targets) if tree.target is None else np.array([tree.target])
        tree_ids.append(np.full(len(leaves) * len(columns), number))
        node_ids.append(np.repeat(leaves, len(columns)))
        target_ids.append(np.tile(columns, len(leaves)))
        weights.append(tree.value[leaves].reshape(-1))
    return {
        "target_treeids": np.concatenate(tree_ids).tolist(),
        "target_nodeids": np.concatenate(node_ids).tolist(),
        "target_ids": np.concatenate(target_ids).tolist(),
        "target_weights_as_tensor": numpy_helper.from_array(np.concatenate(weights).astype(np.float64)),
    }


def _splits(trees: Sequence[Tree], origins: Sequence[Origin | None], *, rounds_input: bool) -> list[Split]:
    inner = [tree.left != LEAF for tree in trees]
    features = np.concatenate([tree.feature[mask] for tree, mask in zip(trees, inner, strict=True)])
    thresholds = np.concatenate([tree.threshold[mask] for tree, mask in zip(trees, inner, strict=True)])
    splits = []
    for feature in np.unique(features).tolist():
        origin = origins[feature]
        if origin is not None:
            cuts = np.unique(thresholds[features == feature])
            splits.append(Split(origin.field, origin.scale, origin.offset, cuts, rounds_input))
    return splits
