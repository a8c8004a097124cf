"""How precisely a graph computes and compares: said in the manifest, and used by the gate."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import TensorProto

DOUBLE, SINGLE = "float64", "float32"


@dataclass(frozen=True)
class Precision:
    """`is_double`: nothing is computed in float32. `thresholds`: in what the trees compare, `float64` or `float32`."""

    is_double: bool
    thresholds: str


def precision_of(data: bytes) -> Precision:
    """Return how precise the graph in `data` is."""
    graph = onnx.load_from_string(data).graph
    trees = [node for node in graph.node if node.op_type.startswith("TreeEnsemble")]
    names = {attribute.name for node in trees for attribute in node.attribute}
    casts = [a.i for node in graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to"]
    is_single = bool(trees) or TensorProto.FLOAT in casts  # the operators of trees give float32 sums
    return Precision(not is_single, SINGLE if "nodes_values" in names else DOUBLE)
