"""Proving: a fitted estimator becomes a graph, and the gates hold the graph to answering as it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trivet.core.errors import CompileError
from trivet.core.signature import Signature
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.manifest import Manifest
from trivet.model.compile.checks import check_graph
from trivet.model.compile.converters.answers import Answer
from trivet.model.compile.fields import Layout
from trivet.model.compile.graph import OPSETS, Graph
from trivet.model.compile.kept import kept_as_manifest
from trivet.model.compile.original import Original, Target
from trivet.model.compile.parity import (
    BATCH_TOLERANCE,
    DOUBLE_BATCH_TOLERANCE,
    check_refusals,
    run_gate,
)
from trivet.model.compile.precision import Precision, precision_of
from trivet.model.compile.preparing import Prepared, environment, source_of
from trivet.model.compile.recipe import emit
from trivet.model.compile.report import ParityReport
from trivet.model.compile.rows import gate_rows
from trivet.model.compile.shipped import Shipped
from trivet.model.compile.signature import observe, signature_of
from trivet.model.compile.wire import GraphFacts
from trivet.model.runtimes.onnx import MODEL_FILE, OnnxRuntime

RECIPE = "double-trees-1"  # names the way a graph was made; changes when graphs change
OLDEST_RUNTIME = ">=1.20"  # ONNX Runtime that knows opset 21


class Proved(NamedTuple):
    """A graph that answers as the original does, loaded as whoever serves it will, and what the manifest says of it so far."""

    graph: bytes
    manifest: Manifest
    shipped: Shipped
    parity: ParityReport


def prove(given: Prepared, *, tolerance: float, source: Mapping[str, Any] | None = None) -> Proved:
    """Return the graph of what was prepared; raises `CompileError` where it cannot be compiled, `ParityFailed` where it answers
    otherwise.
    """
    original, frame, targets = given.original, given.frame, given.targets
    model = original.model
    graph = Graph()
    answer = emit(graph, model, given.layout.table())
    layout = observe(original, given.layout, frame, graph.categories)
    signature = signature_of(original, layout, frame, given.first, is_synthetic=given.is_synthetic)
    data = _model_bytes(graph, original, answer, layout, targets)
    facts, precision = check_graph(data, signature, layout.packs()), precision_of(data)
    manifest = _manifest(model, signature, layout, facts, precision, source=source or {})

    runtime = OnnxRuntime.load(make_bundle(manifest, {MODEL_FILE: data}))
    shipped = Shipped(runtime, signature, layout, targets, layout.feed)
    parity = run_gate(
        original,
        shipped.answers,
        layout,
        gate_rows(layout, frame, graph.splits),
        tolerance=tolerance,
        synthetic=given.is_synthetic,
        batch_tolerance=DOUBLE_BATCH_TOLERANCE if precision.is_double else BATCH_TOLERANCE,
    )
    check_refusals(parity)
    return Proved(data, manifest, shipped, parity)


def _model_bytes(graph: Graph, original: Original, answer: Answer, layout: Layout, targets: Sequence[Target]) -> bytes:
    name = type(original.model).__name__
    if len(targets) > 1 and targets[0].labels is not None and len(answer.targets) != len(targets):
        raise CompileError(f"several outputs in one {name} cannot be compiled.")
    outputs = {}
    for place, target in enumerate(targets):
        given = answer.targets[place] if answer.targets else answer
        for output in target.outputs:
            tensor = getattr(given, output.name.removesuffix(target.suffix))
            if tensor is None:
                raise CompileError(f"{name} was converted without its {output.name}.")
            if target.is_flat and output.datatype == "FP64":
                tensor = _flat(graph, tensor, None if len(targets) == 1 else place)
            outputs[output.name] = (tensor, output.datatype, output.shape)
    data: bytes = graph.model(layout.graph_inputs(), outputs).SerializeToString(deterministic=True)
    return data


def _flat(graph: Graph, tensor: str, column: int | None) -> str:
    """Return a column of `tensor`, its only one or that of one target, in the shape (rows,)."""
    if column is not None:
        tensor = graph.add("Gather", tensor, graph.constant([column], np.int64), axis=1)
    return graph.add("Reshape", tensor, graph.constant([-1], np.int64))


def _manifest(
    model: Any,
    signature: Signature,
    layout: Layout,
    facts: GraphFacts,
    precision: Precision,
    *,
    source: Mapping[str, Any],
) -> Manifest:
    """Return what a bundle of the graph says of it before the gates have."""
    return Manifest(
        format=1,
        runtime=OnnxRuntime.name,
        signature=signature,
        files=(),
        packs=layout.packs(),
        requires={"onnxruntime": OLDEST_RUNTIME, "opset": OPSETS},
        source={**source_of(model), **source},
        environment=environment(),
        compile={
            "recipe": RECIPE,
            "operators": list(facts.operators),
            "may_run_inline": facts.may_run_inline,
            "threshold_precision": precision.thresholds,
            **kept_as_manifest(model),
        },
    )
