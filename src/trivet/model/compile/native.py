"""`native_bundle`: what is not compiled becomes a bundle that runs it unchanged, proved to answer as the object in memory.

The object is saved in a format that is data (skops, or a boosting library's own), never as a pickle; read back from the
bytes to be shipped, asked by the runtime that will serve it, and compared with tolerance zero.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from trivet.core.errors import BundleError, CompileError, ParityFailed
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.libraries import REQUIREMENTS_NAME
from trivet.model.bundle.manifest import Manifest
from trivet.model.bundle.native import Asked, Column, Method, Native
from trivet.model.bundle.sample import SAMPLE_NAME, SAMPLE_ROWS
from trivet.model.compile.fields import Layout
from trivet.model.compile.kept import kept_as_manifest
from trivet.model.compile.original import LABEL, METHODS, PROBABILITIES, Target
from trivet.model.compile.parity import run_gate
from trivet.model.compile.preparing import Compiled, Prepared, environment, prepare, source_of
from trivet.model.compile.reference import MOST_NATIVE_ROWS, reference_files
from trivet.model.compile.report import DEFAULT_TOLERANCE, EXACT, ParityReport
from trivet.model.compile.rows import GateRows, gate_rows, spread
from trivet.model.compile.saving import Saved, saved
from trivet.model.compile.shipped import Shipped
from trivet.model.compile.signature import observe, signature_of
from trivet.model.compile.speed import measure
from trivet.model.runtimes.base import Runtime, runtime_class
from trivet.model.runtimes.native.types import LISTS_VERSION

MOST_ROWS = 2_000  # of the round trip: the same code answers twice, and slow objects are the ones that come here


def native_bundle(
    model: Any,
    *,
    why: str,
    sample: pd.DataFrame | pd.Series | np.ndarray | list[str] | None = None,
    labels: Any = None,
    tolerance: float = DEFAULT_TOLERANCE,
    source: Mapping[str, Any] | None = None,
    rejected: str = "conversion",
    accepted_types: Collection[str] = (),
    is_synthetic: bool = False,
    requirements: bytes = b"",
    uncounted: Collection[str] = (),
) -> Compiled:
    """Return `model`, a fitted estimator or pipeline, as a bundle of a native runtime.

    `why` it was not compiled and the gate that `rejected` it (conversion, parity or speed) go into the manifest;
    `accepted_types` are types on no list that a person accepted; `requirements` of this environment, canonical, where the
    bundle is to run in one like it. `sample`, `labels`, `source`, `is_synthetic` and `uncounted` are as in `compile_model`;
    `tolerance` is held to its bounds as there, and then not needed. Raises `UnlistedTypes` for other types, and
    `CompileError` for what cannot be saved or answers otherwise once it is read back.
    """
    given = prepare(model, sample=sample, labels=labels, tolerance=tolerance, is_synthetic=is_synthetic)
    original, frame, targets = given.original, given.frame, given.targets
    layout = observe(original, given.layout, frame, {})
    signature = signature_of(original, layout, frame, given.first, is_synthetic=given.is_synthetic)
    file = saved(model, accepted_types)
    manifest = Manifest(
        format=1,
        runtime=file.runtime,
        signature=signature,
        files=(),
        native=_native(file, layout, targets, is_listed=original.gives_list(frame.head(1))),
        requires=dict(file.requires),
        source={**source_of(model), **(source or {})},
        environment=environment(),
        compile={
            "state": "native",
            "why": why,
            "rejected": rejected,
            "types": LISTS_VERSION,
            "may_run_inline": False,
            **kept_as_manifest(model),
        },
    )

    shipped = Shipped(_read_back(manifest, file), signature, layout, targets, layout.tensors)
    parity = _round_trip(given, shipped)
    speed = measure(original, frame, shipped.run)

    kept = spread(frame, SAMPLE_ROWS)
    manifest = msgspec.structs.replace(manifest, parity=parity.as_manifest(), sample_rows=len(kept))
    files = {file.name: file.data, SAMPLE_NAME: shipped.sample(kept)}
    files |= reference_files(given, shipped, uncounted=uncounted, most=MOST_NATIVE_ROWS)
    if requirements:
        files[REQUIREMENTS_NAME] = requirements
    return Compiled(make_bundle(manifest, files), parity, speed)


def _native(file: Saved, layout: Layout, targets: Sequence[Target], *, is_listed: bool) -> Native:
    """Return what the runtime has to know of the object in `file`, to ask it as the original is asked."""
    return Native(
        answers=_answers(targets, is_listed=is_listed),
        columns=_columns(layout),
        kind=file.kind,  # type: ignore[arg-type]  # one of its words, or None
        accepted_types=file.accepted_types,
    )


def _answers(targets: Sequence[Target], *, is_listed: bool) -> tuple[Asked, ...]:
    """Return which method gives which output, and where in it; whether that is right, the round trip shows."""
    asked = []
    several = len(targets) > 1
    for place, target in enumerate(targets):
        if target.labels is not None:
            asked.append(Asked(LABEL + target.suffix, "predict", column=place if several else None))
        if target.numbers is not None:
            asked.append(_numbers(target, place if several else None, is_listed=is_listed))
    return tuple(asked)


def _numbers(target: Target, place: int | None, *, is_listed: bool) -> Asked:
    """Return how the numbers of a target are asked for: all of them, an item of a list, or a column."""
    method: Method = METHODS.get(target.numbers, "predict")  # type: ignore[assignment,arg-type]  # only those of the list
    name = f"{target.numbers}{target.suffix}"
    if place is None:
        return Asked(name, method)
    if target.numbers == PROBABILITIES and not is_listed:
        return Asked(name, method, column=place, is_of_two=True)
    if not is_listed:
        return Asked(name, method, column=place)
    return Asked(name, method, item=place)


def _columns(layout: Layout) -> tuple[Column, ...]:
    if layout.is_matrix or layout.is_text:
        return ()
    return tuple(
        Column(field.name, field.datatype, "none" if field.gap is None else "nan")  # type: ignore[arg-type]
        for field in layout.fields
    )


def _read_back(manifest: Manifest, file: Saved) -> Runtime:
    """Return the runtime that will serve `file`, loaded from its bytes."""
    try:
        return runtime_class(file.runtime).load(make_bundle(manifest, {file.name: file.data}))
    except BundleError as error:
        raise CompileError(f"it cannot be served unchanged: {error.message}") from error


def _round_trip(given: Prepared, shipped: Shipped) -> ParityReport:
    """Return the report that what was read back answers as the object in memory, to the last bit."""
    rows = _at_most(gate_rows(shipped.layout, given.frame, ()))
    try:
        return run_gate(
            given.original, shipped.answers, shipped.layout, rows, tolerance=EXACT, synthetic=given.is_synthetic
        )
    except ParityFailed as error:
        raise ParityFailed(f"saved and read back, it answers differently: {error.message}", error.worst) from error


def _at_most(rows: GateRows) -> GateRows:
    """Return the sample's rows and others spread evenly over the rest, 2,000 in all."""
    if len(rows.frame) <= MOST_ROWS:
        return rows
    others = np.linspace(rows.sample_rows, len(rows.frame) - 1, MOST_ROWS - rows.sample_rows).round().astype(int)
    places = np.unique(np.concatenate([np.arange(rows.sample_rows), others]))
    return GateRows(rows.frame.iloc[places].reset_index(drop=True), rows.kinds[places], rows.sample_rows)
