"""What an ONNX graph must be, whoever made it: bounded, self-contained, of known operators, and what its signature says."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from trivet.core.errors import CompileError
from trivet.core.signature import Signature
from trivet.model.bundle.packing import Pack, graph_inputs
from trivet.model.compile.graph import ELEMENT_TYPES, IR_VERSION, ML, OPSETS
from trivet.model.compile.wire import GraphFacts

MOST_BYTES = 512 * 1024**2
MOST_NESTING = 4
MOST_NODES = 100_000  # chosen: a hundred times what the largest graph of ours has
MOST_NAME_BYTES = 4096
TOKENISER = "com.microsoft"
DOMAINS = frozenset({"", "ai.onnx", ML, TOKENISER})
_INLINE = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BitShift Cast CastLike Ceil Celu Clip Compress Concat
    Constant ConstantOfShape Cos Cosh CumSum Div Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND
    Gelu Gemm Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log LogSoftmax
    MatMul Max Mean Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Selu Shape
    Sigmoid Sign Sin Sinh Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK
    Transpose Unsqueeze Where Xor
"""
INLINE_OPERATORS = frozenset(_INLINE.split())
_SIZES = {  # the inputs by which an operator is told how much to make; no other of the list makes more than it is given
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Tile": (1,),
}


def check_graph(data: bytes, signature: Signature, packs: Sequence[Pack] = ()) -> GraphFacts:
    """Return what is in the ONNX file `data`; raises `CompileError` naming the first thing that is not allowed."""
    if len(data) > MOST_BYTES:
        raise CompileError(f"model.onnx has {len(data)} bytes; at most {MOST_BYTES} are served.")
    try:
        model = onnx.load_from_string(data)
        _check_size(model.graph)
        onnx.checker.check_model(model, full_check=True)
    except CompileError:
        raise
    except Exception as error:
        raise CompileError(f"model.onnx is not a valid graph: {str(error).splitlines()[0]}") from error
    if model.functions:
        raise CompileError("model.onnx holds functions of its own; inline them first (onnx.inliner).")
    _check_versions(model)
    operators: set[str] = set()
    nesting = _walk(model.graph, operators, 1)
    _check_signature(model.graph, signature, packs)
    is_listed = all(name.startswith(f"{ML}.") or name in INLINE_OPERATORS for name in operators)
    inline = nesting == 1 and is_listed and not _is_sized_by_values(model.graph)
    return GraphFacts(len(data), len(model.graph.node), tuple(sorted(operators)), nesting, inline)


def _check_size(graph: onnx.GraphProto) -> None:
    """Refuse what would keep the checker itself busy: it is quadratic in some graphs, and repeats names in messages."""
    graphs, nodes = [graph], 0
    while graphs:
        some = graphs.pop()
        nodes += len(some.node)
        if nodes > MOST_NODES:
            raise CompileError(f"model.onnx has more than {MOST_NODES} nodes.")
        for node in some.node:
            names = (node.name, node.op_type, *node.input, *node.output)
            if any(len(name) > MOST_NAME_BYTES for name in names):
                raise CompileError(f"model.onnx has a name of more than {MOST_NAME_BYTES} bytes.")
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs


def _check_versions(model: onnx.ModelProto) -> None:
    if model.ir_version > IR_VERSION:
        raise CompileError(f"model.onnx has IR version {model.ir_version}; at most {IR_VERSION} is read here.")
    for opset in model.opset_import:
        if opset.domain not in DOMAINS:
            raise CompileError(f"model.onnx uses operators of the domain {opset.domain!r}, which is not served.")
        newest = OPSETS.get("" if opset.domain == "ai.onnx" else opset.domain)
        if newest is not None and opset.version > newest:
            raise CompileError(
                f"model.onnx uses opset {opset.version} of {opset.domain!r}; at most {newest} is served here. Export it for "
                f"that: target_opset={newest} in skl2onnx and onnxmltools, opset_version={newest} in torch."
            )


def _walk(graph: onnx.GraphProto, operators: set[str], depth: int) -> int:
    """Collect operators, refuse external data; return how deep graphs nest."""
    if depth > MOST_NESTING:
        raise CompileError(f"model.onnx nests graphs deeper than {MOST_NESTING}.")
    for tensor in graph.initializer:
        _check_tensor(tensor)
    if graph.sparse_initializer:
        raise CompileError("model.onnx holds sparse tensors, which are not served.")
    deepest = depth
    for node in graph.node:
        if node.domain not in DOMAINS:
            raise CompileError(f"model.onnx uses {node.op_type} of the domain {node.domain!r}, which is not served.")
        plain = node.domain in ("", "ai.onnx")
        operators.add(node.op_type if plain else f"{node.domain}.{node.op_type}")
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                _check_tensor(tensor)
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise CompileError("model.onnx holds sparse tensors, which are not served.")
            inner = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else list(attribute.graphs)
            for nested in inner:
                deepest = max(deepest, _walk(nested, operators, depth + 1))
    return deepest


def _is_sized_by_values(graph: onnx.GraphProto) -> bool:
    """Tell whether how much a graph allocates follows from the numbers it is asked about, rather than from their shapes.

    One row could then fill the memory of a web worker, which has no bound of its own; a model worker has.
    """
    asked = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    for node in graph.node:  # sorted: the checker refuses a graph whose nodes come before what they need
        sizes = {node.input[place] for place in _SIZES.get(node.op_type, ()) if place < len(node.input)}
        if sizes & asked:
            return True
        if node.op_type != "Shape" and asked.intersection(node.input):
            asked.update(name for name in node.output if name)
    return False


def _check_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise CompileError(f"model.onnx keeps {tensor.name or 'a tensor'!r} in another file; fold external data in.")


def _check_signature(graph: onnx.GraphProto, signature: Signature, packs: Sequence[Pack]) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    found_in = {i.name: _described(i) for i in graph.input if i.name not in constants}
    found_out = {o.name: _described(o) for o in graph.output}
    inputs = graph_inputs(signature, packs)
    wanted_in = {name: (ELEMENT_TYPES.get(datatype), tuple(shape)) for name, (datatype, shape) in inputs.items()}
    wanted_out = {o.name: (ELEMENT_TYPES.get(o.datatype), tuple(o.shape)) for o in signature.outputs}
    for found, wanted, kind in ((found_in, wanted_in, "input"), (found_out, wanted_out, "output")):
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                raise CompileError(
                    f"graph and signature disagree on the {kind} {name!r}: {found.get(name)} and {wanted.get(name)}."
                )


def _described(value: onnx.ValueInfoProto) -> tuple[int, tuple[int, ...]]:
    tensor = value.type.tensor_type
    return tensor.elem_type, tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
