"""Types that a skops file may hold besides those that skops itself takes for harmless: a list per library, by full name.

Each is data of a fitted estimator, or a function that only computes. What is on no list waits until a person accepts it;
`functools.partial`, which can hold any call, is never listed. A list is a convenience: what confines is the sandbox.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable

LISTS_VERSION = 1  # grows when a list changes


def _names(module: str, names: str) -> set[str]:
    return {f"{module}.{name}" for name in names.split()}


METRICS = (
    *("BrayCurtis", "Canberra", "Chebyshev", "Dice", "Euclidean", "Hamming", "Haversine", "Jaccard", "Kulsinski"),
    *("Mahalanobis", "Manhattan", "Matching", "Minkowski", "RogersTanimoto", "RussellRao", "SEuclidean"),
    *("SokalMichener", "SokalSneath", "WMinkowski"),
)
SCIKIT_LEARN = (
    _names("sklearn.calibration", "_CalibratedClassifier _SigmoidCalibration")
    | _names("sklearn.tree._tree", "Tree")
    | _names("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor")
    | _names("sklearn._loss.loss", "HalfTweedieLoss HalfTweedieLossIdentity")
    | _names("sklearn.cluster._bisect_k_means", "_BisectingTree")
    | _names("sklearn.multiclass", "_ConstantPredictor")
    | _names("sklearn.cluster._kmeans", "_kmeans_single_lloyd _kmeans_single_elkan")
    | _names("sklearn.gaussian_process._gpc", "_BinaryGaussianProcessClassifierLaplace")
    | _names(
        "sklearn.gaussian_process.kernels",
        """CompoundKernel ConstantKernel DotProduct Exponentiation ExpSineSquared Hyperparameter Matern PairwiseKernel
        Product RBF RationalQuadratic Sum WhiteKernel""",
    )
    | _names("sklearn.feature_selection._univariate_selection", "chi2 f_classif f_oneway f_regression r_regression")
    | _names("sklearn.feature_selection._mutual_info", "mutual_info_classif mutual_info_regression")
    | _names("sklearn.neighbors._kd_tree", "KDTree KDTree64 KDTree32")
    | _names("sklearn.neighbors._ball_tree", "BallTree BallTree64 BallTree32")
    | {
        f"sklearn.metrics._dist_metrics.{metric}Distance{width}"
        for metric, width in itertools.product(METRICS, ("", "32", "64"))
    }
    | _names("sklearn.neural_network._stochastic_optimizers", "AdamOptimizer SGDOptimizer")
    | _names("sklearn.utils._bunch", "Bunch")
)
NUMPY = _names("numpy", "dtype mean median max min std")
SCIPY = (
    _names("scipy._lib.array_api_compat.numpy._aliases", "asarray")
    | _names("scipy.interpolate._bsplines", "BSpline _BSpline")
    | _names("scipy.interpolate._interpolate", "interp1d")
    | _names("scipy.sparse._csr", "csr_matrix csr_array")
    | _names("scipy.sparse._csc", "csc_matrix csc_array")
    | _names("scipy.sparse._coo", "coo_matrix coo_array")
)
XGBOOST = _names("xgboost.core", "Booster") | _names(
    "xgboost.sklearn", "XGBClassifier XGBRFClassifier XGBRFRegressor XGBRanker XGBRegressor"
)
LIGHTGBM = (
    _names("lightgbm.basic", "Booster")
    | _names("lightgbm.sklearn", "LGBMClassifier LGBMRanker LGBMRegressor _LGBMLabelEncoder")
    | _names("collections", "OrderedDict")
)
ALLOWED = {
    "scikit-learn": SCIKIT_LEARN,
    "numpy": NUMPY,
    "scipy": SCIPY,
    "xgboost": XGBOOST,
    "lightgbm": LIGHTGBM,
}


def unlisted_types(types: Iterable[str], accepted: Collection[str] = ()) -> list[str]:
    """Return those of `types` that are on no list and that nobody accepted, sorted."""
    return sorted(set(types) - set().union(*ALLOWED.values()) - set(accepted))
