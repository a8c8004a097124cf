"""Tables of labels that several tests count on: of the car-loan chunks, and of models that are right about their chances."""

import numpy as np

from tests.living import car_loan
from trivet.control.monitoring.truths import SCORE_UNIT, Truths

EXACT = np.arange(100) / 100 + 1e-9  # the car-loan scores have two decimals: each has one of these bins to itself


def table_of_rows(edges, scores, predicted, labels):
    """Return the table of rows: `scores`, `predicted` (0, 1) and `labels` (0, 1) of shape (rows,), none missing.

    Bin b holds the scores in (edges[b-1], edges[b]]; `edges` ascend, and there is one bin more than edges.
    """
    bins = len(edges) + 1
    cell = 2 * np.searchsorted(edges, scores, side="left") + np.asarray(predicted, np.int64)
    counts = np.bincount(cell, minlength=2 * bins)
    positives = np.bincount(cell[np.asarray(labels) == 1], minlength=2 * bins)
    sums = np.bincount(cell, np.round(np.asarray(scores) / SCORE_UNIT), minlength=2 * bins) * SCORE_UNIT
    return Truths(*(part.reshape(bins, 2) for part in (positives, counts - positives, sums)))


def reference_edges(bins=512):
    """Return the edges of bins that hold as many reference rows each, or as near as the hundred scores allow."""
    return np.unique(np.quantile(car_loan.reference()["y_pred_proba"], np.arange(1, bins) / bins))


def of_chunk(number, edges=EXACT):
    """Return the label table of a chunk of the analysis rows."""
    rows = car_loan.chunk(car_loan.analysis(), number)
    labels = car_loan.chunk(car_loan.analysis_targets(), number)["repaid"]
    return table_of_rows(edges, rows["y_pred_proba"], rows["y_pred"], labels)


def of_reference_chunk(number, edges=EXACT):
    """Return the label table of a chunk of the reference rows."""
    rows = car_loan.chunk(car_loan.reference(), number)
    return table_of_rows(edges, rows["y_pred_proba"], rows["y_pred"], rows["repaid"])


def sample(rows, seed=0, bins=512, threshold=0.5):
    """Return edges, scores, predicted classes and labels of a model that is right about its own chances."""
    random = np.random.default_rng(seed)
    scores = random.beta(2, 5, rows)
    edges = np.unique(np.quantile(random.beta(2, 5, 50_000), np.arange(1, bins) / bins))
    return edges, scores, scores >= threshold, (random.random(rows) < scores).astype(int)
