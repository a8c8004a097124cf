"""How precisely a graph computes, read from its bytes."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from trivet.model.compile.precision import precision_of

SHAPE = ["rows", 2]
TREE = {
    "nodes_treeids": [0, 0, 0],
    "nodes_nodeids": [0, 1, 2],
    "nodes_featureids": [0, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 0],
    "nodes_falsenodeids": [2, 0, 0],
    "n_targets": 1,
}


def graph_of(*nodes):
    inputs = [helper.make_tensor_value_info("x", TensorProto.DOUBLE, SHAPE)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.DOUBLE, SHAPE)]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, outputs)).SerializeToString()


def tree(**thresholds):
    return helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **TREE, **thresholds)


@pytest.mark.parametrize(
    ("node", "is_double", "thresholds"),
    [
        (helper.make_node("Abs", ["x"], ["y"]), True, "float64"),
        (helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT), False, "float64"),
        (helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64), True, "float64"),
        (tree(nodes_values_as_tensor=numpy_helper.from_array(np.array([0.1, 0, 0]))), False, "float64"),
        (tree(nodes_values=[0.1, 0.0, 0.0]), False, "float32"),
    ],
    ids=["double", "cast to single", "cast to whole", "double thresholds", "single thresholds"],
)
def test_the_graph_says_how_precise_it_is(node, is_double, thresholds):
    found = precision_of(graph_of(node))
    assert (found.is_double, found.thresholds) == (is_double, thresholds)
