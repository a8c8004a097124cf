"""The reference that goes along: what the shipped model answers to all rows of the sample, as counts."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from trivet.core.profile.checking import MOST_BYTES
from trivet.core.profile.layout import Columns
from trivet.core.profile.losses import FEW, LEAST_LABELS, TOOLS
from trivet.core.profile.making import columns_of, counted_features, make_reference, score_columns, with_losses
from trivet.core.profile.reference import REFERENCE_NAME, REGRESSION, Reference, encode_reference
from trivet.core.signature import Signature
from trivet.model.bundle.loss import LOSS_NAME
from trivet.model.compile.importance import with_importance
from trivet.model.compile.preparing import Prepared
from trivet.model.compile.rows import places
from trivet.model.compile.shipped import Shipped

MOST_ROWS = 100_000  # chosen: more say next to nothing more of any bin
MOST_NATIVE_ROWS = 10_000  # of an object that runs unchanged: it may take milliseconds a row
LEAST_ROWS = 50  # chosen: of fewer, the first days of traffic tell more
MOST_CELLS = 10_000_000  # of inputs: 80 MB
MOST_ANSWERS = 2_000_000  # numbers: twenty classes of all rows
ROWS_AT_ONCE = 1_000
MOST_SECONDS = 10.0  # of answering: whoever is slower has no reference, rather than no version


class _Made(NamedTuple):
    """A reference, and the graph of its loss model, empty where it has none."""

    reference: Reference
    loss: bytes = b""


def reference_files(
    given: Prepared, shipped: Shipped, *, uncounted: Collection[str], most: int = MOST_ROWS
) -> dict[str, bytes]:
    """Return the file of the reference by its name: the sample's rows and what `shipped` answers to them, counted; of a
    regression with labels also its loss model.

    Nothing where the rows were made up, are fewer than 50, are no table, or take longer than ten seconds to answer. Of more
    than `most` rows, or of wide ones, some are taken, spread evenly in their order. Inputs called `uncounted` are left out.
    """
    signature = shipped.signature
    some = None if given.is_synthetic else _places(signature, len(given.frame), uncounted, most)
    if some is None:
        return {}
    rows = given.frame.iloc[some]
    outputs = _answered(shipped, rows)
    if outputs is None:
        return {}
    made = _made(signature, shipped.layout.tensors(rows), outputs, _truths_at(given.truths, some), uncounted)
    if made is None:
        return {}
    return _file(with_importance(made.reference, shipped, rows, most=most), made.loss)


def reference_of_answers(
    signature: Signature,
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    truths: Sequence[Any] | None,
    *,
    uncounted: Collection[str],
) -> dict[str, bytes]:
    """Return the same of rows that were answered already."""
    some = _places(signature, len(next(iter(inputs.values()))), uncounted, MOST_ROWS)
    if some is None:
        return {}
    made = _made(signature, _at(inputs, some), _at(outputs, some), _truths_at(truths, some), uncounted)
    return {} if made is None else _file(*made)


def _places(signature: Signature, rows: int, uncounted: Collection[str], most: int) -> np.ndarray | None:
    """Return the places of the rows that are counted, so many that neither they nor their answers take too much memory.

    None where there are too few, or nothing in them is counted.
    """
    if not signature.has_rows or rows < LEAST_ROWS or not counted_features(signature, uncounted):
        return None
    answers = sum(max(output.shape[-1], 1) if len(output.shape) > 1 else 1 for output in signature.outputs)
    most = min(most, MOST_CELLS // len(signature.field_names), MOST_ANSWERS // answers)
    return places(rows, max(LEAST_ROWS, most))


def _answered(shipped: Shipped, rows: pd.DataFrame) -> dict[str, np.ndarray] | None:
    """Return what is answered to `rows`, by name; None where they are refused, or it takes too long."""
    deadline = time.monotonic() + MOST_SECONDS
    parts = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        if time.monotonic() > deadline:
            return None
        try:
            parts.append(shipped.outputs(rows.iloc[start : start + ROWS_AT_ONCE]))
        except Exception:  # noqa: BLE001  (the errors of runtimes share no base class)
            return None
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _at(arrays: Mapping[str, np.ndarray], some: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[some] for name, values in arrays.items()}


def _truths_at(truths: Sequence[Any] | None, some: np.ndarray) -> list[Any] | None:
    return None if truths is None else [truths[place] for place in some.tolist()]


def _made(
    signature: Signature,
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    truths: Sequence[Any] | None,
    uncounted: Collection[str],
) -> _Made | None:
    rows = len(next(iter(inputs.values())))
    asked, answered = _flat(inputs), _flat(outputs)
    try:
        made = make_reference(signature, asked, answered, rows, labels=truths, uncounted=uncounted)
    except (TypeError, ValueError):  # outputs of a given graph that are called what they are not
        return None
    if made.task != REGRESSION or truths is None:
        return _Made(made)
    predictions = score_columns(signature, made.scores, answered, rows)[0]
    return _with_loss(made, columns_of(signature, asked, rows), predictions, truths)


def _file(made: Reference, loss: bytes) -> dict[str, bytes]:
    data = encode_reference(made)
    files = {REFERENCE_NAME: data, **({LOSS_NAME: loss} if loss else {})}
    return files if len(data) <= MOST_BYTES else {}


def _with_loss(made: Reference, columns: Columns, predictions: np.ndarray, truths: Sequence[Any]) -> _Made:
    """Return a reference with what a loss model expects of its rows, and its graph; or with why there is none."""
    if made.labels is None:
        return _Made(made)
    if made.labels.labels < LEAST_LABELS:  # what learns takes a while to import
        return _Made(msgspec.structs.replace(made, no_loss=FEW))
    try:
        from trivet.model.compile.loss import NotLearned, learn_loss
    except ImportError:  # in an environment of its own
        return _Made(msgspec.structs.replace(made, no_loss=TOOLS))
    try:
        learned = learn_loss(made, columns, predictions, truths)
    except NotLearned as error:
        return _Made(msgspec.structs.replace(made, no_loss=error.why))
    return _Made(with_losses(made, learned.loss, learned.absolute, learned.squared), learned.graph)


def _flat(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values.reshape(-1) for name, values in arrays.items()}
