"""A transformer that can be imported but not compiled, as teams write them."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class RootOfSize(TransformerMixin, BaseEstimator):
    """The signed square root of each number."""

    def fit(self, x, y=None):
        """Remember the width."""
        self.n_features_in_ = np.asarray(x).shape[1]
        return self

    def transform(self, x):
        """Return sign(x) * sqrt(|x|)."""
        x = np.asarray(x, float)
        return np.sign(x) * np.sqrt(np.abs(x))
