"""`compile_model`: the whole path from a fitted estimator to a bundle that was proven to answer as it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from trivet.core.errors import CompileError, SlowerCompiled
from trivet.core.signature import Signature
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.manifest import Manifest
from trivet.model.bundle.sample import SAMPLE_NAME, SAMPLE_ROWS
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
from trivet.model.compile.preparing import Compiled, environment, prepare, source_of
from trivet.model.compile.recipe import emit
from trivet.model.compile.report import DEFAULT_TOLERANCE
from trivet.model.compile.rows import gate_rows
from trivet.model.compile.shipped import Shipped
from trivet.model.compile.signature import observe, signature_of
from trivet.model.compile.speed import is_slower, measure, slower_sentence
from trivet.model.compile.wire import GraphFacts
from trivet.model.runtimes.onnx import MODEL_FILE, OnnxRuntime

RECIPE = "double-trees-1"  # names the way a graph was made; changes when graphs change
OLDEST_RUNTIME = ">=1.20"  # ONNX Runtime that knows opset 21


def compile_model(
    model: Any,
    *,
    sample: pd.DataFrame | pd.Series | np.ndarray | list[str] | None = None,
    labels: Any = None,
    tolerance: float = DEFAULT_TOLERANCE,
    source: Mapping[str, Any] | None = None,
    is_synthetic: bool = False,
) -> Compiled:
    """Return `model`, a fitted scikit-learn, XGBoost or LightGBM estimator or pipeline, as a bundle.

    `sample` has rows like those it was trained on, without the label: a DataFrame with the same columns, an array (rows,
    features), or texts for a model that takes nothing else. Without one, rows are made up from what the fitted steps reveal
    and the report says so. `labels`, one per sample row, must be classes the model knows. `tolerance` is the largest allowed
    difference of an answer, relative to 1 + its size; at most 1e-3. `source` is added to what the manifest says of the
    origin. `is_synthetic`: the sample's rows were made up too.

    The same object and sample give the same digest. Takes 0.1 to some 60 seconds and one core. Raises `CompileError`
    when it cannot be compiled, `ParityFailed`, with the worst rows, when the compiled answers differ, and
    `SlowerCompiled`, with what it became, when the original answers a row sooner even from a model worker.

    >>> compiled = compile_model(pipeline, sample=train.head(500))  # doctest: +SKIP
    >>> compiled.parity.line()  # doctest: +SKIP
    'parity on 4312 rows: max |difference| 3e-7, 0 decisions differ'
    """
    given = prepare(model, sample=sample, labels=labels, tolerance=tolerance, is_synthetic=is_synthetic)
    original, frame, targets = given.original, given.frame, given.targets

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
    speed = measure(original, frame, shipped.run)

    kept = frame.head(SAMPLE_ROWS)
    manifest = msgspec.structs.replace(manifest, parity=parity.as_manifest(), sample_rows=len(kept))
    bundle = make_bundle(manifest, {MODEL_FILE: data, SAMPLE_NAME: shipped.sample(kept)})
    compiled = Compiled(bundle, parity, speed)
    if is_slower(speed):
        raise SlowerCompiled(slower_sentence(speed), compiled)
    return compiled


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
