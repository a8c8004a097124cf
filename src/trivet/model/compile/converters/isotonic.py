"""Isotonic curves: straight lines between the fitted knots, exactly as SciPy draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import isotonic

from trivet.core.errors import CompileError
from trivet.model.compile.columns import Table, matrix
from trivet.model.compile.converters.answers import Answer
from trivet.model.compile.graph import Graph, Split


def emit_isotonic_regression(graph: Graph, model: Any, table: Table) -> Answer:
    """The curve, or NaN beyond its ends where the original says so."""
    if model.out_of_bounds == "raise":
        raise CompileError(
            "IsotonicRegression(out_of_bounds='raise') refuses values beyond its knots, which no graph can; "
            "train with out_of_bounds='clip'."
        )
    block = matrix(graph, table)
    origin = block.origins[0]
    knots = np.asarray(model.X_thresholds_, np.float64)
    if origin is not None:
        graph.splits.append(Split(origin.field, origin.scale, origin.offset, knots, rounds_input=False))
    curve = isotonic_curve(graph, model, block.tensor)
    if model.out_of_bounds == "nan":
        below = graph.add("Less", block.tensor, graph.constant(float(model.X_min_), np.float64))
        above = graph.add("Greater", block.tensor, graph.constant(float(model.X_max_), np.float64))
        curve = graph.add("Where", graph.add("Or", below, above), graph.constant(np.nan, np.float64), curve)
    return Answer(prediction=curve)


def isotonic_curve(graph: Graph, curve: Any, column: str) -> str:
    """Interpolate between the fitted knots as scipy does: `slope * (x - x_k) + y_k`, constant beyond the ends."""
    x = np.asarray(curve.X_thresholds_, np.float64)
    y = np.asarray(curve.y_thresholds_, np.float64)
    if len(y) == 1:
        zero = graph.add("Mul", column, graph.constant(0.0, np.float64))
        return graph.add("Add", zero, graph.constant(float(y[0]), np.float64))
    clipped = graph.add("Clip", column, graph.constant(x[0]), graph.constant(x[-1]))
    above = graph.cast(graph.add("Greater", clipped, graph.constant(x.reshape(1, -1))), "INT64")
    count = graph.add("ReduceSum", above, graph.constant([1], np.int64), keepdims=1)
    last = graph.constant(len(x) - 2, np.int64)
    place = graph.add("Sub", count, graph.constant(1, np.int64))
    place = graph.add("Min", graph.add("Max", place, graph.constant(0, np.int64)), last)
    slopes = np.diff(y) / np.diff(x)
    x_k, y_k, slope = (graph.add("Gather", graph.constant(values), place, axis=0) for values in (x, y, slopes))
    return graph.add("Add", graph.add("Mul", slope, graph.add("Sub", clipped, x_k)), y_k)


EMITTERS = {isotonic.IsotonicRegression: emit_isotonic_regression}
