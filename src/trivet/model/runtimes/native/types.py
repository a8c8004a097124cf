"""Types that a skops file may hold besides those that skops itself takes for harmless: a list per library, by full name.

Each is data of a fitted estimator, or a function that only computes. What is on no list waits until a person accepts it;
`functools.partial`, which can hold any call, is never listed. A list is a convenience: what confines is the sandbox.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable

LISTS_VERSION = 2  # grows when a list changes


def _names(module: str, names: str) -> set[str]:
    return {f"{module}.{name}" for name in names.split()}


METRICS = (
    *("BrayCurtis", "Canberra", "Chebyshev", "Dice", "Euclidean", "Hamming", "Haversine", "Jaccard", "Kulsinski"),
    *("Mahalanobis", "Manhattan", "Matching", "Minkowski", "RogersTanimoto", "RussellRao", "SEuclidean"),
    *("SokalMichener", "SokalSneath", "WMinkowski"),
)
SEARCHES = (  # what a search, or a tuned threshold, keeps of its training
    _names(
        "sklearn.metrics._scorer",
        "_CurveScorer _PassthroughScorer _PredictScorer _ProbaScorer _Scorer _ThresholdScorer",
    )
    | _names(
        "sklearn.metrics._classification",
        """accuracy_score balanced_accuracy_score f1_score jaccard_score log_loss matthews_corrcoef precision_score
        recall_score""",
    )
    | _names("sklearn.metrics._ranking", "average_precision_score roc_auc_score top_k_accuracy_score")
    | _names(
        "sklearn.metrics._regression",
        """explained_variance_score max_error mean_absolute_error mean_absolute_percentage_error mean_squared_error
        mean_squared_log_error median_absolute_error r2_score root_mean_squared_error""",
    )
    | _names(
        "sklearn.model_selection._split",
        "GroupKFold KFold ShuffleSplit StratifiedGroupKFold StratifiedKFold StratifiedShuffleSplit TimeSeriesSplit",
    )
    | _names("sklearn.model_selection._classification_threshold", "_CurveScorer")  # 1.5
    | _names("sklearn.utils._metadata_requests", "MetadataRequest MethodMetadataRequest")
)
SCIKIT_LEARN = (
    _names("sklearn.calibration", "_CalibratedClassifier _SigmoidCalibration _TemperatureScaling")
    | _names("sklearn.compose._column_transformer", "_RemainderColsList")  # 1.5 to 1.8
    | _names("sklearn.tree._tree", "Tree")
    | _names("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor")
    | _names(  # 1.3 and before
        "sklearn.ensemble._gb_losses",
        """BinomialDeviance ExponentialLoss HuberLossFunction LeastAbsoluteError LeastSquaresError MultinomialDeviance
        QuantileLossFunction""",
    )
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
    | SEARCHES
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
