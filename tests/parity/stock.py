"""What somebody gets who calls the stock converters, and the gate's opinion of it."""

import contextlib
import warnings

import numpy as np
import onnx
import onnxruntime
import skl2onnx
from onnx import numpy_helper
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from xgboost import XGBClassifier

from trivet.core.errors import CompileError
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.fields import WORDS, layout_of
from trivet.model.compile.graph import OPSETS, Graph
from trivet.model.compile.original import Answers, Original
from trivet.model.compile.parity import run_gate
from trivet.model.compile.recipe import emit
from trivet.model.compile.rows import GateRows, gate_rows
from trivet.model.compile.signature import observe
from trivet.model.runtimes.onnx import MODEL_FILE


def stock_graph(model, layout):
    """The float32 graph of skl2onnx (LightGBM and XGBoost: onnxmltools), as its documentation shows."""
    if layout.is_matrix:
        types = [("X", FloatTensorType([None, len(layout.fields)]))]
    else:
        types = [
            (f.name, (StringTensorType if f.datatype == WORDS else FloatTensorType)([None, 1])) for f in layout.fields
        ]
    options = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _register_xgboost()
        return skl2onnx.convert_sklearn(model, initial_types=types, target_opset=OPSETS, options=options)


def gate(model, sample, graph_of, *, with_hard_rows=True, tolerance=1e-5):
    """Run the parity gate with the graph that `graph_of(model, layout)` gives; returns its report or raises."""
    layout, frame = layout_of(model, sample)
    original = Original(model, takes_matrix=layout.is_matrix)
    ours = Graph()
    with contextlib.suppress(CompileError):  # what is left to the original has no splits to place rows on
        emit(ours, model, layout.table())
    layout = observe(original, layout, frame, ours.categories)
    session = onnxruntime.InferenceSession(graph_of(model, layout).SerializeToString(), _quiet())

    def shipped(rows):
        tensors = layout.tensors(rows) | layout.feed(rows)  # a stock graph takes columns, ours takes packs
        feed = {i.name: _as_declared(i, tensors[i.name]) for i in session.get_inputs()}
        answers = session.run(None, feed)
        if original.task == "regression":
            return Answers(answers[0].reshape(len(rows), -1).astype(float))
        if isinstance(answers[1], list):  # several targets
            widths = tuple(each.shape[1] for each in answers[1])
            return Answers(np.concatenate(answers[1], axis=1).astype(float), answers[0].astype(object), widths)
        return Answers(answers[1].reshape(len(rows), -1).astype(float), answers[0].astype(original.label_dtype))

    rows = gate_rows(layout, frame, ours.splits)
    if not with_hard_rows:
        rows = GateRows(frame, np.array(["sample"] * len(frame), object), len(frame))
    return run_gate(original, shipped, layout, rows, tolerance=tolerance, synthetic=False)


def ours(model, sample, **options):
    """Compile and return the report of the gate."""
    return compile_model(model, sample=sample, **options).parity


def thresholds_to_nearest(model, layout):
    """Our graph with its thresholds as the stock converters store them: float32, rounded to nearest, fed with float32."""
    graph = Graph()
    answer = emit(graph, model, layout.table())
    label = "BYTES" if answer.label and not np.issubdtype(np.asarray(model.classes_).dtype, np.number) else "INT64"
    made = graph.model(
        layout.graph_inputs(),
        {"label": (answer.label, label, (-1,)), "probabilities": (answer.probabilities, "FP64", (-1, 2))},
    )
    for node in list(made.graph.node):
        for attribute in node.attribute:
            if attribute.name == "nodes_values_as_tensor":
                rounded = numpy_helper.to_array(attribute.t).astype(np.float32).astype(np.float64)
                attribute.t.CopyFrom(numpy_helper.from_array(rounded))
        if node.op_type == "TreeEnsembleRegressor":
            _round_input(made, node)
    return made


def shipped_bytes(compiled):
    return compiled.bundle.files[MODEL_FILE]


def _round_input(made, node):
    single, double = f"{node.name}_single", f"{node.name}_double"
    place = list(made.graph.node).index(node)
    made.graph.node.insert(
        place, onnx.helper.make_node("Cast", [node.input[0]], [single], to=onnx.TensorProto.FLOAT, name=single)
    )
    made.graph.node.insert(
        place + 1, onnx.helper.make_node("Cast", [single], [double], to=onnx.TensorProto.DOUBLE, name=double)
    )
    node.input[0] = double


def _register_xgboost():
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    skl2onnx.update_registered_converter(
        XGBClassifier,
        "XGBoostXGBClassifier",
        calculate_linear_classifier_output_shapes,
        convert_xgboost,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )


def _as_declared(declared, tensor):
    if declared.type == "tensor(float)":
        return tensor.astype(np.float32)
    return tensor


def _quiet():
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return options
