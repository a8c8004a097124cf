import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trivet.core.errors import CompileError
from trivet.core.signature import Input, Output, Signature
from trivet.model.compile.checks import check_graph

SIGNATURE = Signature(
    inputs=(Input(name="x", datatype="FP64", shape=(-1, 1)),),
    outputs=(Output(name="y", datatype="FP64", shape=(-1, 1)),),
)


def model(nodes, initializers=(), *, opset=21, ir_version=10, domains=(), width=1):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["rows", width])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["rows", width])],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def checked(made):
    return check_graph(made.SerializeToString(), SIGNATURE)


def test_a_plain_graph_may_run_inline():
    facts = checked(model([helper.make_node("Abs", ["x"], ["y"])]))
    assert facts.may_run_inline
    assert facts.operators == ("Abs",)


def test_control_flow_is_for_the_model_worker():
    def branch(name):
        return helper.make_graph(
            [helper.make_node("Identity", ["x"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["rows", 1])],
        )

    nodes = [
        helper.make_node("If", ["always"], ["y"], then_branch=branch("a"), else_branch=branch("b")),
    ]
    facts = checked(model(nodes, [numpy_helper.from_array(np.array(True), "always")]))
    assert not facts.may_run_inline
    assert facts.nesting == 2


def test_external_data_is_refused():
    weight = numpy_helper.from_array(np.ones((1, 1)), "w")
    onnx.external_data_helper.set_external_data(weight, location="weights.bin")
    weight.ClearField("raw_data")
    with pytest.raises(CompileError, match=r"another file|valid graph"):
        checked(model([helper.make_node("Mul", ["x", "w"], ["y"])], [weight]))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (model([helper.make_node("Evil", ["x"], ["y"], domain="evil")], domains=["evil"]), "domain"),
        (model([helper.make_node("Abs", ["x"], ["y"])], ir_version=11), "IR version"),
        (model([helper.make_node("Abs", ["x"], ["y"])], opset=22), "opset 22"),
        (model([helper.make_node("Abs", ["x"], ["y"])], width=2), "disagree on the input 'x'"),
    ],
    ids=["domain", "ir", "opset", "shape"],
)
def test_what_is_not_served_is_refused(made, reason):
    with pytest.raises(CompileError, match=reason):
        checked(made)


@pytest.mark.parametrize("data", [b"", b"not onnx", b"\x08\x0a"])
def test_bytes_that_are_no_graph_are_refused(data):
    with pytest.raises(CompileError):
        check_graph(data, SIGNATURE)
