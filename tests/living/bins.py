"""Counts on bins that are frozen at a reference, as a profile has them: by quantiles, or one bin a value where there are few."""

from __future__ import annotations

import numpy as np


class Bins:
    """The bins of one column. Numbers and words alike; `places` are bounds of bins, or the values themselves."""

    def __init__(self, reference: np.ndarray, count: int = 64) -> None:
        values = np.unique(reference)
        self.is_by_value = values.size <= count
        if self.is_by_value:
            self.places = values
        else:
            quantiles = np.quantile(reference, np.arange(1, count) / count)
            self.places = np.concatenate([[values[0]], np.unique(quantiles), [values[-1]]])

    def count(self, column: np.ndarray) -> np.ndarray:
        """Return how many rows of `column` are in each bin; bin b is (edge b−1, edge b]. Values must be known ones."""
        edges = self.places if self.is_by_value else self.places[1:-1]
        bins = self.places.size if self.is_by_value else edges.size + 1
        return np.bincount(np.searchsorted(edges, column, side="left"), minlength=bins)
