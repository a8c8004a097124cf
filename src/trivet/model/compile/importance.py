"""Importance: by how much what is shipped answers otherwise once the values of one feature are dealt out anew among rows.

Permutation importance (Breiman 2001) of the answers themselves rather than of their errors: no label is needed, and what the
model does not look at has none. It is a share, for one thing alone: how much of a drift is of what the model goes by.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping

import msgspec
import numpy as np
import pandas as pd

from trivet.core.decisions import decide
from trivet.core.profile.making import score_columns
from trivet.core.profile.reference import Reference
from trivet.model.compile.rows import places
from trivet.model.compile.shipped import Shipped

MOST_ROWS = 500  # chosen: a share is then known to a few points
LEAST_ROWS = 50
MOST_SECONDS = (
    60.0  # for what is slow beyond all others: how much is asked goes by counts, so that a bundle is always the same
)
SEED = 20_010_101  # chosen; the same rows have the same importance

Feed = dict[str, np.ndarray]


def with_importance(reference: Reference, shipped: Shipped, rows: pd.DataFrame, *, most: int) -> Reference:
    """Return `reference` with the importance of each of its features, found by asking `shipped` about `most` rows in all.

    Those are the same ones for each feature, 50 to 500 of `rows`. As it is where a feature is no column that is fed, answers
    cannot be had of other combinations of values or take longer than a minute, or nothing that is answered depends on any
    feature.
    """
    names = [bins.name for bins in reference.features]
    if not names:
        return reference
    some = rows.iloc[places(len(rows), max(LEAST_ROWS, min(MOST_ROWS, most // len(names))))]
    try:
        with np.errstate(all="ignore"):
            moved = _moved(reference, shipped, names, some)
    except Exception:  # noqa: BLE001  (the errors of runtimes share no base class)
        return reference
    total = sum(moved)
    if not (total > 0 and math.isfinite(total)):
        return reference
    return msgspec.structs.replace(reference, importance=tuple(one / total for one in moved))


def _moved(reference: Reference, shipped: Shipped, names: list[str], rows: pd.DataFrame) -> list[float]:
    """Return by how much answers to `rows` move with each feature; nothing where that takes too long."""
    deadline = time.monotonic() + MOST_SECONDS
    feed = {name: np.array(values) for name, values in shipped.feed(rows).items()}
    columns, order = _columns(shipped, feed), np.random.default_rng(SEED).permutation(len(rows))
    as_given = _answers(reference, shipped, feed, len(rows))
    moved = []
    for name in names:
        column = columns[name]
        kept = column.copy()
        column[:] = kept[order]
        moved.append(_apart(as_given, _answers(reference, shipped, feed, len(rows))))
        column[:] = kept
        if time.monotonic() > deadline:
            return []
    return moved


def _columns(shipped: Shipped, feed: Feed) -> dict[str, np.ndarray]:
    """Return where the values of each feature are in `feed`: what is written there is fed."""
    return {
        name: values if values.ndim == 1 else values[:, place]
        for tensor, names in _tensors(shipped)
        if (values := feed.get(tensor)) is not None
        for place, name in enumerate(names)
    }


def _tensors(shipped: Shipped) -> Iterator[tuple[str, tuple[str, ...]]]:
    for pack in shipped.layout.packs():
        yield pack.name, pack.columns
    for spec in shipped.signature.inputs:
        yield spec.name, spec.field_names


def _answers(reference: Reference, shipped: Shipped, feed: Feed, rows: int) -> np.ndarray:
    """Return what is answered as numbers on one scale, (rows, answers): scores, or else a column for each decision."""
    names = [output.name for output in shipped.signature.outputs]
    found = dict(zip(names, shipped.runtime.run(feed, names), strict=True))
    flat: Mapping[str, np.ndarray] = {name: values.reshape(-1) for name, values in found.items()}
    if reference.scores:
        scores = np.stack(score_columns(shipped.signature, reference.scores, flat, rows), axis=1)
        return np.where(np.isfinite(scores), scores, 0.0)
    words = [one.decision for one in decide(shipped.signature, {k: v.tolist() for k, v in flat.items()}, rows)]
    known = reference.decisions.common if reference.decisions is not None else ()
    return np.array([[word == one for one in known] for word in words], dtype=np.float64).reshape(rows, -1)


def _apart(before: np.ndarray, after: np.ndarray) -> float:
    """Return by how much answers differ on average, each in the deviations it has from row to row."""
    spread = before.std(axis=0)
    return float((np.abs(after - before).mean(axis=0) / np.where(spread > 0, spread, 1.0)).sum())
