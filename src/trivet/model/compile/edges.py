"""Where fitted steps cut or bend: bin edges, thresholds and knots, which the parity gate places rows on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import isotonic, preprocessing

from trivet.model.compile.columns import Table
from trivet.model.compile.graph import Graph, Split

KIND = "knot"


def note_edges(graph: Graph, step: Any, table: Table) -> None:
    """Remember where `step`, fitted on the columns of `table`, cuts each value of the caller that reaches it unbent."""
    reader = _READERS.get(type(step))
    if reader is None:
        return
    for origin, cuts in zip(table.origins, reader(step, table.width), strict=False):
        if origin is not None and len(cuts):
            graph.splits.append(Split(origin.field, origin.scale, origin.offset, np.unique(cuts), False, KIND))


def _bin_edges(step: Any, _width: int) -> Sequence[np.ndarray]:
    return [np.asarray(edges, np.float64) for edges in step.bin_edges_]


def _threshold(step: Any, width: int) -> Sequence[np.ndarray]:
    return [np.array([step.threshold], np.float64)] * width


def _spline_knots(step: Any, _width: int) -> Sequence[np.ndarray]:
    return [np.asarray(spline.t, np.float64) for spline in step.bsplines_]


def _quantiles(step: Any, _width: int) -> Sequence[np.ndarray]:
    return [np.asarray(column, np.float64) for column in step.quantiles_.T]


def _curve_knots(step: Any, _width: int) -> Sequence[np.ndarray]:
    return [np.asarray(step.X_thresholds_, np.float64)]


_READERS = {
    preprocessing.KBinsDiscretizer: _bin_edges,
    preprocessing.Binarizer: _threshold,
    preprocessing.SplineTransformer: _spline_knots,
    preprocessing.QuantileTransformer: _quantiles,
    isotonic.IsotonicRegression: _curve_knots,
}
