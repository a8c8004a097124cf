"""Steps that skl2onnx converts well: asked for one step at a time, in double, and absorbed into our graph."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import onnx
import skl2onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

from trivet.core.errors import CompileError
from trivet.model.compile.asked_names import library_of
from trivet.model.compile.columns import Table, derived, matrix, table_of
from trivet.model.compile.converters.answers import Answer, class_labels
from trivet.model.compile.graph import OPSETS, Graph, NestedGraph
from trivet.model.runtimes.onnx import open_session

logger = logging.getLogger(__name__)


def emit_stock(graph: Graph, model: Any, table: Table) -> Answer:
    """Add a final estimator by its stock converter; the parity gate judges it."""
    is_classifier = hasattr(model, "classes_")
    has_probabilities = hasattr(model, "predict_proba")
    options: dict[str, object] = {}
    if is_classifier:
        options = {"zipmap": False} if has_probabilities else {"zipmap": False, "raw_scores": True}
    outputs = _absorbed(graph, model, table, options)
    if not is_classifier:
        return Answer(prediction=_double(graph, graph.add("Reshape", outputs[0], graph.constant([-1, 1], np.int64))))
    label, values = outputs[0], _double(graph, outputs[1])
    labels = class_labels(model.classes_)
    label = label if labels.dtype == object else graph.cast(label, "INT64")
    label = graph.add("Reshape", label, graph.constant([-1], np.int64))
    if has_probabilities:
        return Answer(probabilities=values, label=label)
    if len(labels) == 2:  # skl2onnx gives both signs
        values = graph.add("Gather", values, graph.constant([1], np.int64), axis=1)
    return Answer(scores=values, label=label)


def transform_stock(graph: Graph, step: Any, table: Table) -> Table:
    """Add a transformer of numbers by its stock converter."""
    tensor = _double(graph, _absorbed(graph, step, table, {})[0])
    return table_of(derived(tensor, "FP64", _width_of(step, table)))


def _absorbed(graph: Graph, model: Any, table: Table, options: dict[str, object]) -> list[str]:
    """Add the stock graph in double or, where there is no such converter or kernel, in float32; the gate judges both."""
    name = type(model).__name__
    reason = ""
    for datatype, tensor_type in (("FP64", DoubleTensorType), ("FP32", FloatTensorType)):
        try:
            converted = _converted(model, tensor_type([None, table.width]), options)
            if converted.functions:
                raise CompileError(
                    f"{name} needs functions of its own in the graph, which are not compiled. {way_out(model)}"
                )
            open_session(converted.SerializeToString())  # raises where the runtime lacks a kernel
            block = matrix(graph, table)  # here: what has no converter may take the words that this refuses
            feed = block.tensor if datatype == "FP64" else graph.cast(block.tensor, "FP32")
            return graph.absorb(converted, {"X": feed})
        except (MissingConverter, MissingShapeCalculator):
            raise unsupported(model) from None
        except CompileError:
            raise
        except NestedGraph as error:
            raise CompileError(f"{name} needs the operator {error}, which is not compiled. {way_out(model)}") from None
        except Exception as error:
            logger.info("stock conversion failed estimator=%s datatype=%s", name, datatype, exc_info=True)
            reason = reason or _first_line(error)
    raise CompileError(f"{name} could not be converted: {reason} {way_out(model)}")


def _converted(model: Any, tensor_type: Any, options: dict[str, object]) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's remarks are not the caller's
        converted: onnx.ModelProto = skl2onnx.convert_sklearn(
            model,
            name="step",
            initial_types=[("X", tensor_type)],
            target_opset=OPSETS,
            options={id(model): options} if options else None,
        )
    onnx.checker.check_model(converted, full_check=True)
    return converted


OF_A_LIBRARY = "Most estimators of scikit-learn, XGBoost and LightGBM are compiled; this one is not."
OF_ONES_OWN = (
    "Standard estimators of scikit-learn, XGBoost and LightGBM are compiled; custom steps are best done before the model "
    "is asked."
)


def way_out(model: Any) -> str:
    """Return what else there is where `model` is not compiled; of an estimator of a known library, nobody has to change."""
    return OF_A_LIBRARY if library_of(type(model).__module__) else OF_ONES_OWN


def unsupported(model: Any) -> CompileError:
    """Return the error for an estimator that nobody can convert."""
    kind = type(model)
    return CompileError(f"{kind.__module__.split('.')[0]}'s {kind.__name__} cannot be compiled. {way_out(model)}")


def _double(graph: Graph, tensor: str) -> str:
    return graph.cast(tensor, "FP64")


def _width_of(step: Any, table: Table) -> int:
    try:
        return len(step.get_feature_names_out([f"x{i}" for i in range(table.width)]))
    except (AttributeError, ValueError, TypeError):
        pass
    return int(np.asarray(step.transform(np.zeros((1, table.width)))).shape[1])


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0][:200] if lines else type(error).__name__).rstrip(".") + "."
