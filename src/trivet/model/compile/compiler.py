"""`compile_model`: the whole path from a fitted estimator to a bundle that was proven to answer as it does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from trivet.core.errors import SlowerCompiled
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.sample import SAMPLE_NAME, SAMPLE_ROWS
from trivet.model.compile.preparing import Compiled, prepare
from trivet.model.compile.proving import prove
from trivet.model.compile.reference import reference_files
from trivet.model.compile.report import DEFAULT_TOLERANCE
from trivet.model.compile.rows import spread
from trivet.model.compile.speed import is_slower, measure, slower_sentence
from trivet.model.runtimes.onnx import MODEL_FILE

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
    uncounted: Collection[str] = (),
) -> Compiled:
    """Return `model`, a fitted scikit-learn, XGBoost or LightGBM estimator or pipeline, as a bundle.

    `sample` has rows like those it was trained on, without the label: a DataFrame with the same columns, an array (rows,
    features), or texts for a model that takes nothing else. Without one, rows are made up from what the fitted steps reveal
    and the report says so. `labels`, one per sample row, None or NaN where it is not known, say what turned out true; where
    none of them is a class that the model knows, it is refused. `tolerance` is the largest allowed difference of an answer,
    relative to 1 + its size; at most 1e-3. `source` is added to what the manifest says of the origin. `is_synthetic`: the
    sample's rows were made up too.

    Rows that were not made up go along as counts, with what the graph answers to them: the reference that traffic is
    compared with. Their order should be that of time. Inputs or columns called `uncounted` are not in it.

    The same object and sample give the same digest. Takes 0.1 to some 60 seconds and one core. Raises `CompileError`
    when it cannot be compiled, `ParityFailed`, with the worst rows, when the compiled answers differ, and
    `SlowerCompiled`, with what it became, when the original answers a row sooner even from a model worker.

    >>> compiled = compile_model(pipeline, sample=train.head(500))  # doctest: +SKIP
    >>> compiled.parity.line()  # doctest: +SKIP
    'parity on 4312 rows: max |difference| 3e-7, 0 decisions differ'
    """
    given = prepare(model, sample=sample, labels=labels, tolerance=tolerance, is_synthetic=is_synthetic)
    data, manifest, shipped, parity = prove(given, tolerance=tolerance, source=source)
    speed = measure(given.original, given.frame, shipped.run)

    kept = spread(given.frame, SAMPLE_ROWS)
    manifest = msgspec.structs.replace(manifest, parity=parity.as_manifest(), sample_rows=len(kept))
    files = {MODEL_FILE: data, SAMPLE_NAME: shipped.sample(kept)}
    bundle = make_bundle(manifest, files | reference_files(given, shipped, uncounted=uncounted))
    compiled = Compiled(bundle, parity, speed)
    if is_slower(speed):
        raise SlowerCompiled(slower_sentence(speed), compiled)
    return compiled
