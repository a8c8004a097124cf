"""The recipe: walk a fitted pipeline from its inputs to its answer and add each step to the graph, in double.

What each step receives stays apart (words, whole numbers, doubles) until a step asks for one matrix of doubles. Trees
get what the original's trees compare: see `converters/trees.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn import compose, pipeline

from trivet.model.compile.columns import Table, matrix, select, side_by_side
from trivet.model.compile.converters import (
    boosters,
    clusters,
    ensembles,
    isotonic,
    kernels,
    linear,
    outliers,
    quantities,
    sklearn_trees,
    steps,
    text,
)
from trivet.model.compile.converters.answers import Answer
from trivet.model.compile.converters.steps import numbers_by_stock
from trivet.model.compile.converters.stock import emit_stock
from trivet.model.compile.edges import note_edges
from trivet.model.compile.graph import Graph
from trivet.model.compile.lowering import unwrapped

Emitter = Callable[[Graph, Any, Table], Answer]

Transformer = Callable[[Graph, Any, Table], Table]

EMITTERS: dict[type, Emitter] = {
    **sklearn_trees.EMITTERS,
    **linear.EMITTERS,
    **isotonic.EMITTERS,
    **kernels.EMITTERS,
    **outliers.EMITTERS,
    **clusters.EMITTERS,
}
TRANSFORMERS: dict[type, Transformer] = {**steps.TRANSFORMERS, **quantities.TRANSFORMERS, **text.TRANSFORMERS}


def emit(graph: Graph, model: Any, table: Table) -> Answer:
    """Add fitted `model` over `table`; raises `CompileError` when some step cannot be compiled."""
    model = unwrapped(model)
    if isinstance(model, pipeline.Pipeline):
        *steps, last = [step for _, step in model.steps]
        for step in steps:
            table = transform(graph, step, table)
        return emit(graph, last, table)
    if type(model) in ensembles.EMITTERS:
        return ensembles.EMITTERS[type(model)](graph, model, table, emit)
    note_edges(graph, model, table)
    emitter = EMITTERS.get(type(model)) or boosters.EMITTERS_BY_NAME.get(_qualified(type(model)))
    if emitter is not None:
        return emitter(graph, model, table)
    return emit_stock(graph, model, table)


def transform(graph: Graph, step: Any, table: Table) -> Table:
    """Add a fitted transformer over `table`; raises `CompileError` when it cannot be compiled."""
    if step is None or step == "passthrough":
        return table
    if isinstance(step, pipeline.Pipeline):
        for _, inner in step.steps:
            table = transform(graph, inner, table)
        return table
    if type(step) is compose.ColumnTransformer:
        return _column_transformer(graph, step, table)
    if type(step) is pipeline.FeatureUnion:
        return _feature_union(graph, step, table)
    note_edges(graph, step, table)
    done = TRANSFORMERS.get(type(step), numbers_by_stock)(graph, step, table)
    return _named(step, table, done)


def _column_transformer(graph: Graph, step: Any, table: Table) -> Table:
    parts = []
    weights = step.transformer_weights or {}
    for name, inner, _ in step.transformers_:
        places = step._transformer_to_input_indices.get(name, [])
        if (isinstance(inner, str) and inner == "drop") or len(places) == 0:
            continue
        part = transform(graph, inner, select(graph, table, _ints(places)))
        parts.append(_weighted(graph, part, weights.get(name)))
    joined = side_by_side(parts, is_sparse=bool(step.sparse_output_))
    return _named(step, table, joined)


def _feature_union(graph: Graph, step: Any, table: Table) -> Table:
    weights = step.transformer_weights or {}
    parts = [
        _weighted(graph, transform(graph, inner, table), weights.get(name))
        for name, inner in step.transformer_list
        if inner != "drop"
    ]
    return side_by_side(parts, is_sparse=any(part.is_sparse for part in parts))


def _weighted(graph: Graph, table: Table, weight: float | None) -> Table:
    if weight is None:
        return table
    block = matrix(graph, table)
    tensor = graph.add("Mul", block.tensor, graph.constant(weight, np.float64))
    return Table((type(block)(tensor, "FP64", block.names, (None,) * block.width),), table.is_sparse)


def _named(step: Any, before: Table, after: Table) -> Table:
    """Return `after` with the names the step gives its columns, so that a later step may select by name."""
    try:
        names = list(step.get_feature_names_out(np.array(before.names, object)))
    except (AttributeError, ValueError, TypeError):
        return after
    return after.renamed(names) if len(names) == after.width else after


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _ints(places: Sequence[Any]) -> list[int]:
    return [int(place) for place in places]
