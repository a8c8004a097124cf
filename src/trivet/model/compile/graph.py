"""A graph under construction: nodes and constants with names that depend on nothing but the order they were added in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = {"": 21, "ai.onnx.ml": 3}
IR_VERSION = 10
GRAPH_NAME = "trivet"
ML = "ai.onnx.ml"
TOKENISER = "com.microsoft"  # imported only by graphs that split texts

ELEMENT_TYPES: dict[str, int] = {
    "FP64": TensorProto.DOUBLE,
    "FP32": TensorProto.FLOAT,
    "INT64": TensorProto.INT64,
    "BOOL": TensorProto.BOOL,
    "BYTES": TensorProto.STRING,
    "FP16": TensorProto.FLOAT16,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
}


@dataclass(frozen=True)
class Split:
    """Where trees cut a value of the caller: at each of `thresholds`, compared with `scale * value + offset`.

    `rounds_input` says that the original compares float32 values. `kind` is what the gate's report calls rows placed there.
    """

    field: str
    scale: float
    offset: float
    thresholds: np.ndarray
    rounds_input: bool
    kind: str = "threshold"


class Graph:
    """Collects nodes. Every method that adds one returns the name of what it gives."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[bytes, onnx.TensorProto] = {}
        self._count = 0
        self.splits: list[Split] = []  # for the parity gate, which places rows on them
        self.categories: dict[str, tuple[str, ...]] = {}  # known words of a field, from fitted encoders

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Return the name of a constant holding `value`; equal constants are stored once."""
        array = np.asarray(value, dtype=dtype)
        if array.dtype.kind in "UO":
            array = array.astype(object)
        tensor = numpy_helper.from_array(array)
        key = tensor.SerializeToString(deterministic=True)
        if key not in self._constants:
            tensor.name = f"c{len(self._constants)}"
            self._constants[key] = tensor
        return self._constants[key].name

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output and return the output's name. Attributes are numbers, words, lists or TensorProtos."""
        name = self._new_name()
        plain = {key: _plain(value) for key, value in attributes.items()}
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, domain=domain, **plain))
        return name

    def cast(self, tensor: str, datatype: str) -> str:
        """Add a Cast to `datatype`, a datatype of the protocol."""
        return self.add("Cast", tensor, to=ELEMENT_TYPES[datatype])

    def absorb(self, model: onnx.ModelProto, feeds: Mapping[str, str]) -> list[str]:
        """Add every node of `model` with `feeds` for its inputs; return the names of its outputs, in its order."""
        graph = model.graph
        names = {"": "", **feeds}
        for initializer in graph.initializer:
            names[initializer.name] = self._adopt(initializer)
        for node in graph.node:
            if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
                raise NestedGraph(node.op_type)
            for output in node.output:
                names[output] = self._new_name()
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            del copy.input[:], copy.output[:]
            copy.input.extend(names[i] for i in node.input)
            copy.output.extend(names[o] for o in node.output)
            copy.name = copy.output[0]
            self._nodes.append(copy)
        return [names[output.name] for output in graph.output]

    def model(
        self, inputs: Mapping[str, tuple[str, Sequence[int]]], outputs: Mapping[str, tuple[str, str, Sequence[int]]]
    ) -> onnx.ModelProto:
        """Return the finished model.

        `inputs` maps a name to datatype and shape; `outputs` maps a name to the tensor it shows, its datatype and shape.
        A node that nothing reads is left out.
        """
        nodes = list(self._nodes)
        for name, (tensor, _, _) in outputs.items():
            nodes.append(helper.make_node("Identity", [tensor], [name], name=f"out_{name}"))
        nodes = _reachable(nodes, set(outputs))
        read = {i for node in nodes for i in node.input}
        graph = helper.make_graph(
            nodes,
            GRAPH_NAME,
            [_value(name, datatype, shape) for name, (datatype, shape) in inputs.items()],
            [_value(name, datatype, shape) for name, (_, datatype, shape) in outputs.items()],
            [c for c in self._constants.values() if c.name in read],
        )
        versions = OPSETS | ({TOKENISER: 1} if any(node.domain == TOKENISER for node in nodes) else {})
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in versions.items()],
            ir_version=IR_VERSION,
            producer_name="trivet",
        )

    def _adopt(self, initializer: onnx.TensorProto) -> str:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(initializer)
        tensor.name = ""
        key = tensor.SerializeToString(deterministic=True)
        if key not in self._constants:
            tensor.name = f"c{len(self._constants)}"
            self._constants[key] = tensor
        return self._constants[key].name

    def _new_name(self) -> str:
        self._count += 1
        return f"t{self._count}"


def _plain(value: Any) -> Any:
    """Return an attribute as Python's own numbers: protobuf 7 takes no others."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple) and any(isinstance(element, np.generic) for element in value):
        return [element.item() if isinstance(element, np.generic) else element for element in value]
    return value


class NestedGraph(Exception):
    """A converter emitted control flow (Loop, Scan, If), which is not compiled here."""


def _value(name: str, datatype: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[datatype], ["rows" if n == -1 else n for n in shape])


def _reachable(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    kept = []
    for node in reversed(nodes):  # nodes were added in an order that can run
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]
