"""Graphs that do as their input says: make so many numbers, go round so often, multiply so large a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

MAKERS = ("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "OneHot")
LOOP, PRODUCT = 0, 1  # which of the two `endless` does
HARMLESS = 1e6  # up to which `endless` answers at once
ENDLESS = 2**62
SIDE = 3000  # of a matrix that is multiplied by itself seven times: seconds, in a fraction of a model worker's memory


def sized() -> ModelProto:
    """Return a graph that answers `x`, and makes `x` numbers by the operator whose place in `MAKERS` is `which`."""
    nodes = [*_asked(), _node("Cast", "most", to="wanted", out=TensorProto.INT64)]
    zeros = []
    for place, maker in enumerate(MAKERS):
        size = f"size{place}"
        nodes += [*_when(place, "wanted", "one", size), *_made(maker, size, f"big{place}")]
        nodes.append(_node("ReduceMin", f"big{place}", "axis0", to=f"least{place}", keepdims=0))
        zeros.append(f"least{place}")
    return _model("sized", [*nodes, *_answer(zeros)])


def endless(name: str) -> ModelProto:
    """Return a graph that answers `x`; above `HARMLESS` it first does something that takes for ever."""
    seen, after = (helper.make_tensor_value_info(n, TensorProto.DOUBLE, [1]) for n in ("seen", "after"))
    count = helper.make_tensor_value_info("count", TensorProto.INT64, [])
    go, on = (helper.make_tensor_value_info(n, TensorProto.BOOL, []) for n in ("go", "on"))
    body = helper.make_graph(
        [_node("Identity", "seen", to="after"), _node("Identity", "go", to="on")],
        "body",
        [count, go, seen],
        [on, after],
    )
    nodes = [
        *_asked(),
        _node("Greater", "most", "harmless", to="is_hostile"),
        _node("Where", "is_hostile", "for_ever", "one", to="rounds"),
        _node("Where", "is_hostile", "side", "one", to="long"),
        *_when(LOOP, "rounds", "one", "times"),
        *_when(PRODUCT, "long", "one", "width"),
        _node("Squeeze", "times", to="trips"),
        _node("Loop", "trips", "", "zero", to="looped", body=body),
        _node("Concat", "width", "width", to="square", axis=0),
        _node("Expand", "small", "square", to="product0"),
        *[_node("MatMul", f"product{n}", f"product{n}", to=f"product{n + 1}") for n in range(7)],
        _node("ReduceMin", "product7", to="least_product", keepdims=0),
        _node("Mul", "least_product", "zero", to="multiplied"),
    ]
    return _model(name, [*nodes, *_answer(["looped", "multiplied"])])


def _node(operator: str, *inputs: str, to: str, out: int | None = None, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, list(inputs), [to], **attributes, **({} if out is None else {"to": out}))


def _asked() -> list[NodeProto]:
    """Return what finds the largest `x` and `which` of all rows, each of shape (1,)."""
    return [
        _node("ReduceMax", "x", "axis0", to="most", keepdims=0),
        _node("ReduceMax", "which", "axis0", to="chosen", keepdims=0),
    ]


def _when(place: int, then: str, otherwise: str, to: str) -> list[NodeProto]:
    return [
        _node("Equal", "chosen", f"place{place}", to=f"is_{to}"),
        _node("Where", f"is_{to}", then, otherwise, to=to),
    ]


def _made(maker: str, size: str, to: str) -> list[NodeProto]:
    """Return what makes `to`, of shape (size,) and zeros, by one operator."""
    number, inner = f"number_of_{to}", f"inner_{to}"
    if maker == "ConstantOfShape":
        value = helper.make_tensor("value", TensorProto.DOUBLE, [1], [0.0])
        return [_node(maker, size, to=to, value=value)]
    if maker == "Range":
        return [
            _node("Squeeze", size, to=number),
            _node("Cast", number, to=inner, out=TensorProto.DOUBLE),
            _node(maker, "start", inner, "step", to=to),
        ]
    if maker == "Pad":
        return [_node("Concat", "axis0", size, to=number, axis=0), _node(maker, "zero", number, to=to)]
    if maker == "Resize":
        return [
            _node("Cast", size, to=number, out=TensorProto.FLOAT),
            _node(maker, "zero32", "", number, to=inner, mode="nearest"),
            _node("Cast", inner, to=to, out=TensorProto.DOUBLE),
        ]
    if maker == "OneHot":
        return [
            _node("Squeeze", size, to=number),
            _node(maker, "axis0", number, "off_on", to=inner),
            _node("Cast", inner, to=f"wide_{to}", out=TensorProto.DOUBLE),
            _node("Reshape", f"wide_{to}", "flat", to=to),
        ]
    return [_node(maker, "zero", size, to=to)]  # Expand, Tile


def _answer(zeros: Sequence[str]) -> list[NodeProto]:
    return [_node("Sum", *zeros, to="nothing"), _node("Add", "x", "nothing", to="y")]


def _model(name: str, nodes: Sequence[NodeProto]) -> ModelProto:
    constants: dict[str, Any] = {
        "axis0": np.array([0]),
        "flat": np.array([-1]),
        "one": np.array([1]),
        "for_ever": np.array([ENDLESS]),
        "side": np.array([SIDE]),
        "harmless": np.array([HARMLESS]),
        "small": np.array([[1 / SIDE]]),
        "zero": np.array([0.0]),
        "zero32": np.array([0.0], np.float32),
        "start": np.array(0.0),
        "step": np.array(1.0),
        "off_on": np.array([0.0, 0.0], np.float32),
    } | {f"place{place}": np.array([place]) for place in range(len(MAKERS))}
    asked = {source for node in nodes for source in node.input}
    kept = [numpy_helper.from_array(value, key) for key, value in constants.items() if key in asked]
    columns = (("x", TensorProto.DOUBLE), ("which", TensorProto.INT64))
    inputs = [helper.make_tensor_value_info(key, datatype, [None, 1]) for key, datatype in columns]
    output = helper.make_tensor_value_info("y", TensorProto.DOUBLE, [None, 1])
    graph = helper.make_graph(list(nodes), name, inputs, [output], kept)
    opsets = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name=name)
