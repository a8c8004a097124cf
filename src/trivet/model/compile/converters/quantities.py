"""Transformers of numbers beyond scaling: bins, norms, neighbours and indicators, in double."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import impute, preprocessing

from trivet.core.errors import CompileError
from trivet.model.compile.columns import Block, Table, derived, matrix, table_of
from trivet.model.compile.converters.steps import standard_scaler
from trivet.model.compile.graph import Graph, Split


def k_bins_discretizer(graph: Graph, step: Any, table: Table) -> Table:
    """The number of the bin, which is how many inner edges a value reaches; or one column for each bin."""
    if step.dtype == np.float32:
        raise CompileError(
            "KBinsDiscretizer(dtype=float32) is not compiled: it rounds before it compares; leave the dtype."
        )
    block = matrix(graph, table)
    inner = [np.asarray(edges[1:-1], np.float64) for edges in step.bin_edges_]
    _place_on(graph, block, inner)
    most = max(len(edges) for edges in inner)
    padded = np.array([np.pad(edges, (0, most - len(edges)), constant_values=np.inf) for edges in inner])
    if most == 0:
        raise CompileError("KBinsDiscretizer with a single bin for each column answers the same always.")
    values = graph.add("Unsqueeze", block.tensor, graph.constant([2], np.int64))
    reached = graph.cast(graph.add("GreaterOrEqual", values, graph.constant(padded[None])), "FP64")
    places = graph.add("ReduceSum", reached, graph.constant([2], np.int64), keepdims=0)
    if step.encode == "ordinal":
        return table_of(derived(places, "FP64", block.width, block.names))
    widths = [int(bins) for bins in step.n_bins_]
    repeated = graph.add("Gather", places, graph.constant(np.repeat(np.arange(block.width), widths)), axis=1)
    wanted = np.concatenate([np.arange(width, dtype=np.float64) for width in widths]).reshape(1, -1)
    lit = graph.cast(graph.add("Equal", repeated, graph.constant(wanted)), "FP64")
    return table_of(derived(lit, "FP64", sum(widths)), is_sparse=step.encode == "onehot")


def _place_on(graph: Graph, block: Block, edges: list[np.ndarray]) -> None:
    """Have the gate ask about values on each edge and beside it."""
    for origin, cuts in zip(block.origins, edges, strict=True):
        if origin is not None and len(cuts):
            graph.splits.append(Split(origin.field, origin.scale, origin.offset, cuts, rounds_input=False))


def power_transformer(graph: Graph, step: Any, table: Table) -> Table:
    """Yeo-Johnson or Box-Cox with each column's fitted power, then scaled as the original scales (Yeo and Johnson 2000)."""
    block = matrix(graph, table)
    powers = np.asarray(step.lambdas_, np.float64)
    one, nothing = graph.constant(1.0, np.float64), graph.constant(0.0, np.float64)
    if step.method == "box-cox":
        tensor = _power(graph, graph.add("Log", block.tensor), powers)
    else:
        above = graph.add("Max", block.tensor, nothing)
        below = graph.add("Neg", graph.add("Min", block.tensor, nothing))
        rising = _power(graph, graph.add("Log", graph.add("Add", above, one)), powers)
        falling = graph.add("Neg", _power(graph, graph.add("Log", graph.add("Add", below, one)), 2.0 - powers))
        is_above = graph.add("GreaterOrEqual", block.tensor, nothing)
        tensor = graph.add("Where", is_above, rising, falling)
        tensor = graph.add("Where", graph.add("IsNaN", block.tensor), block.tensor, tensor)
    done = table_of(derived(tensor, "FP64", block.width, block.names))
    return standard_scaler(graph, step._scaler, done) if step.standardize else done


def _power(graph: Graph, logarithm: str, powers: np.ndarray) -> str:
    """Return (exp(power * logarithm) - 1) / power, column by column; where the power is 0, its limit: the logarithm."""
    is_flat = np.abs(powers) < np.finfo(np.float64).eps
    safe = np.where(is_flat, 1.0, powers).reshape(1, -1)
    raised = graph.add("Exp", graph.add("Mul", logarithm, graph.constant(safe)))
    value = graph.add("Div", graph.add("Sub", raised, graph.constant(1.0, np.float64)), graph.constant(safe))
    if not is_flat.any():
        return value
    return graph.add("Where", graph.constant(is_flat.reshape(1, -1)), logarithm, value)


SMALLEST_NORM = 10 * np.finfo(np.float64).eps  # scikit-learn's: what is smaller divides by one


def binarizer(graph: Graph, step: Any, table: Table) -> Table:
    """1 for what is above the threshold, else 0. The stock graph compares in single precision."""
    block = matrix(graph, table)
    above = graph.add("Greater", block.tensor, graph.constant(float(step.threshold), np.float64))
    return table_of(derived(graph.cast(above, "FP64"), "FP64", block.width, block.names), is_sparse=table.is_sparse)


def normalizer(graph: Graph, step: Any, table: Table) -> Table:
    """Each row by its length."""
    block = matrix(graph, table)
    axis = graph.constant([1], np.int64)
    sizes = graph.add("Abs", block.tensor)
    if step.norm == "max":
        norm = graph.add("ReduceMax", sizes, axis, keepdims=1)
    elif step.norm == "l1":
        norm = graph.add("ReduceSum", sizes, axis, keepdims=1)
    else:
        norm = graph.add("Sqrt", graph.add("ReduceSum", graph.add("Mul", sizes, sizes), axis, keepdims=1))
    is_small = graph.add("Less", norm, graph.constant(SMALLEST_NORM, np.float64))
    divisor = graph.add("Where", is_small, graph.constant(1.0, np.float64), norm)
    return table_of(
        derived(graph.add("Div", block.tensor, divisor), "FP64", block.width, block.names), is_sparse=table.is_sparse
    )


def missing_indicator(graph: Graph, step: Any, table: Table) -> Table:
    """1 where a value is missing, for the columns it was fitted to tell."""
    block = matrix(graph, table)
    if not np.isnan(step.missing_values):
        raise CompileError("MissingIndicator is compiled for NaN only.")
    told = np.asarray(step.features_, np.int64)
    mask = graph.cast(graph.add("Gather", graph.add("IsNaN", block.tensor), graph.constant(told), axis=1), "FP64")
    return table_of(derived(mask, "FP64", len(told)), is_sparse=bool(getattr(step, "_sparse", False)))


TRANSFORMERS = {
    preprocessing.Binarizer: binarizer,
    preprocessing.KBinsDiscretizer: k_bins_discretizer,
    preprocessing.Normalizer: normalizer,
    preprocessing.PowerTransformer: power_transformer,
    impute.MissingIndicator: missing_indicator,
}
