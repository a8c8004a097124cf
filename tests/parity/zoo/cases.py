"""The zoo: what is trained, on which rows, and the state it must end in."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from catboost import CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn import (
    calibration,
    cluster,
    compose,
    covariance,
    cross_decomposition,
    decomposition,
    discriminant_analysis,
    dummy,
    ensemble,
    feature_extraction,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    kernel_approximation,
    kernel_ridge,
    linear_model,
    mixture,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    semi_supervised,
    svm,
    tree,
)
from tests.parity.zoo.custom import RootOfSize
from xgboost import XGBClassifier, XGBRegressor, XGBRFClassifier, XGBRFRegressor

from trivet.demo.flights import CATEGORICAL as WORDS_OF_FLIGHTS, NUMERIC as NUMBERS_OF_FLIGHTS

COMPILED, NATIVE, REFUSED = "compiled", "native", "refused"
STATES = (COMPILED, NATIVE, REFUSED)


@dataclass(frozen=True)
class Case:
    """One model. `note` says in a few words what is special about it."""

    family: str
    name: str
    data: str
    model: Any
    state: str = COMPILED


def cases() -> tuple[Case, ...]:
    """Return the whole zoo, in the order of the page; names are unique."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a library will drop is still in people's files
        return tuple(Case(family, *row) for family, rows in FAMILIES.items() for row in rows())


def _chain(*steps: Any) -> Any:
    return pipeline.make_pipeline(*steps)


def _linear() -> Iterator[tuple[Any, ...]]:
    m = linear_model
    for model in (
        m.LinearRegression(),
        m.Ridge(),
        m.RidgeCV(),
        m.Lasso(),
        m.LassoCV(cv=3),
        m.ElasticNet(),
        m.ElasticNetCV(cv=3),
        m.Lars(),
        m.LarsCV(cv=3),
        m.LassoLars(),
        m.LassoLarsCV(cv=3),
        m.LassoLarsIC(),
        m.OrthogonalMatchingPursuit(),
        m.OrthogonalMatchingPursuitCV(cv=3),
        m.HuberRegressor(),
        m.RANSACRegressor(random_state=0),
        m.TheilSenRegressor(random_state=0, max_iter=30, n_subsamples=20, max_subpopulation=100),
        m.QuantileRegressor(alpha=0.01),
        m.PoissonRegressor(),
        m.GammaRegressor(),
        m.TweedieRegressor(power=1.5),
        m.ARDRegression(),
        m.BayesianRidge(),
        m.SGDRegressor(random_state=0),
        m.PassiveAggressiveRegressor(random_state=0) if hasattr(m, "PassiveAggressiveRegressor") else m.Ridge(2.0),
        cross_decomposition.PLSRegression(),
        svm.LinearSVR(random_state=0),
    ):
        yield type(model).__name__, "diabetes", model
    yield "TweedieRegressor, identity link", "diabetes", m.TweedieRegressor(power=0)
    for model in (
        m.LogisticRegression(),
        m.LogisticRegressionCV(cv=3, Cs=3, l1_ratios=(0,), use_legacy_attributes=False, scoring="accuracy"),
        m.SGDClassifier(random_state=0),
        m.RidgeClassifier(),
        m.RidgeClassifierCV(),
        m.Perceptron(random_state=0),
        m.PassiveAggressiveClassifier(random_state=0),
        svm.LinearSVC(random_state=0),
    ):
        yield type(model).__name__, "cancer scaled", model
    yield "LogisticRegression, three classes", "iris", m.LogisticRegression(max_iter=500)
    yield "LogisticRegression, ten classes", "digits", m.LogisticRegression(max_iter=30, tol=0.1)
    yield "SGDClassifier, log loss", "cancer scaled", m.SGDClassifier(loss="log_loss", random_state=0)
    yield "SGDClassifier, log loss, three classes", "iris", m.SGDClassifier(loss="log_loss", random_state=0)
    yield "SGDClassifier, modified Huber", "iris", m.SGDClassifier(loss="modified_huber", random_state=0)
    yield "LinearSVC, three classes", "iris", svm.LinearSVC(random_state=0)
    yield "RidgeClassifier, three classes", "iris", m.RidgeClassifier()


def _classifiers() -> Iterator[tuple[Any, ...]]:
    d = discriminant_analysis
    yield "LinearDiscriminantAnalysis", "cancer scaled", d.LinearDiscriminantAnalysis()
    yield "LinearDiscriminantAnalysis, three classes", "iris", d.LinearDiscriminantAnalysis()
    yield "QuadraticDiscriminantAnalysis", "cancer scaled", d.QuadraticDiscriminantAnalysis(reg_param=0.01)
    yield "QuadraticDiscriminantAnalysis, three classes", "iris", d.QuadraticDiscriminantAnalysis()
    yield "GaussianNB", "cancer scaled", naive_bayes.GaussianNB()
    yield "GaussianNB, three classes", "iris", naive_bayes.GaussianNB()
    yield "BernoulliNB", "counts", naive_bayes.BernoulliNB(binarize=1.5)
    yield "MultinomialNB", "counts", naive_bayes.MultinomialNB()
    yield "ComplementNB", "counts", naive_bayes.ComplementNB()
    yield "CategoricalNB", "counts", naive_bayes.CategoricalNB(min_categories=20)
    yield "SVC, decision function", "cancer scaled", svm.SVC()
    yield "SVC, linear kernel, three classes", "iris", svm.SVC(kernel="linear")
    yield "SVC, polynomial kernel", "iris", svm.SVC(kernel="poly")
    yield "SVC, sigmoid kernel", "cancer scaled", svm.SVC(kernel="sigmoid")
    yield "SVC, one against one", "iris", svm.SVC(decision_function_shape="ovo")
    yield "NuSVC", "cancer scaled", svm.NuSVC()
    yield "MLPClassifier", "cancer scaled", neural_network.MLPClassifier((8,), max_iter=60, random_state=0, tol=1e-2)
    yield (
        "MLPClassifier, three classes",
        "iris",
        neural_network.MLPClassifier((8, 4), activation="tanh", max_iter=60, random_state=0, tol=1e-2),
    )
    yield "KNeighborsClassifier", "iris", neighbors.KNeighborsClassifier(), NATIVE
    yield "RadiusNeighborsClassifier", "iris", neighbors.RadiusNeighborsClassifier(5.0), NATIVE
    yield "NearestCentroid", "iris", neighbors.NearestCentroid(), NATIVE
    yield "GaussianProcessClassifier", "iris", gaussian_process.GaussianProcessClassifier(), NATIVE
    yield "LabelSpreading", "iris numbers", semi_supervised.LabelSpreading(), NATIVE


def _regressors() -> Iterator[tuple[Any, ...]]:
    yield "SVR", "diabetes", svm.SVR(C=100)
    yield "SVR, linear kernel", "diabetes", svm.SVR(kernel="linear", C=10)
    yield "SVR, polynomial kernel", "diabetes", svm.SVR(kernel="poly")
    yield "NuSVR", "diabetes", svm.NuSVR(C=100)
    yield (
        "MLPRegressor",
        "diabetes",
        neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=60, random_state=0, tol=10),
    )
    yield "IsotonicRegression", "single", isotonic.IsotonicRegression(out_of_bounds="clip")
    yield (
        "IsotonicRegression, decreasing",
        "single falling",
        isotonic.IsotonicRegression(increasing=False, out_of_bounds="clip"),
    )
    yield "KNeighborsRegressor", "diabetes", neighbors.KNeighborsRegressor(), NATIVE
    yield "RadiusNeighborsRegressor", "diabetes", neighbors.RadiusNeighborsRegressor(0.35), NATIVE
    yield "GaussianProcessRegressor", "diabetes", gaussian_process.GaussianProcessRegressor(alpha=1.0), NATIVE
    yield "KernelRidge", "diabetes", kernel_ridge.KernelRidge(kernel="rbf"), NATIVE


def _trees() -> Iterator[tuple[Any, ...]]:
    e, small = ensemble, {"n_estimators": 8, "max_depth": 6, "random_state": 0}
    yield "DecisionTreeClassifier", "cancer", tree.DecisionTreeClassifier(random_state=0)
    yield "DecisionTreeClassifier, missing values", "cancer gaps", tree.DecisionTreeClassifier(random_state=0)
    yield "DecisionTreeRegressor", "diabetes", tree.DecisionTreeRegressor(random_state=0, max_depth=6)
    yield "ExtraTreeClassifier", "iris", tree.ExtraTreeClassifier(random_state=0)
    yield "ExtraTreeRegressor", "diabetes", tree.ExtraTreeRegressor(random_state=0, max_depth=6)
    yield "RandomForestClassifier", "cancer", e.RandomForestClassifier(**small)
    yield "RandomForestClassifier, missing values", "cancer gaps", e.RandomForestClassifier(**small)
    yield "RandomForestClassifier, three classes", "iris", e.RandomForestClassifier(**small)
    yield "RandomForestClassifier, balanced", "wine", e.RandomForestClassifier(**small, class_weight="balanced")
    yield "RandomForestRegressor", "diabetes", e.RandomForestRegressor(**small)
    yield "RandomForestRegressor, missing values", "diabetes gaps", e.RandomForestRegressor(**small)
    yield "ExtraTreesClassifier", "cancer words", e.ExtraTreesClassifier(**small)
    yield "ExtraTreesClassifier, missing values", "cancer gaps", e.ExtraTreesClassifier(**small)
    yield "ExtraTreesRegressor", "diabetes", e.ExtraTreesRegressor(**small)
    full = {"n_estimators": 100, "random_state": 0}
    yield "RandomForestClassifier, 100 trees", "cancer", e.RandomForestClassifier(**full)
    yield "RandomForestRegressor, 100 trees", "diabetes", e.RandomForestRegressor(**full)
    yield "ExtraTreesClassifier, 100 trees", "wine", e.ExtraTreesClassifier(**full)
    yield (
        "RandomForestRegressor, absolute error",
        "diabetes",
        e.RandomForestRegressor(**small | {"max_depth": 3}, criterion="absolute_error"),
    )


def _boosting() -> Iterator[tuple[Any, ...]]:
    e = ensemble
    few = {"n_estimators": 15, "random_state": 0}
    rounds = {"max_iter": 15, "random_state": 0}
    yield "GradientBoostingClassifier", "cancer", e.GradientBoostingClassifier(**few)
    yield "GradientBoostingClassifier, three classes", "iris", e.GradientBoostingClassifier(**few)
    yield (
        "GradientBoostingClassifier, exponential loss",
        "cancer",
        e.GradientBoostingClassifier(**few, loss="exponential"),
    )
    yield (
        "GradientBoostingClassifier, started from another",
        "cancer scaled",
        e.GradientBoostingClassifier(**few, init=linear_model.LogisticRegression()),
    )
    yield "GradientBoostingRegressor", "diabetes", e.GradientBoostingRegressor(**few)
    yield "GradientBoostingRegressor, quantile", "diabetes", e.GradientBoostingRegressor(**few, loss="quantile")
    yield "GradientBoostingRegressor, from zero", "diabetes", e.GradientBoostingRegressor(**few, init="zero")
    yield "HistGradientBoostingClassifier", "cancer", e.HistGradientBoostingClassifier(**rounds)
    yield "HistGradientBoostingClassifier, missing values", "cancer gaps", e.HistGradientBoostingClassifier(**rounds)
    yield "HistGradientBoostingClassifier, three classes", "wine", e.HistGradientBoostingClassifier(**rounds)
    yield (
        "HistGradientBoostingClassifier, early stopping",
        "cancer words",
        e.HistGradientBoostingClassifier(**rounds, early_stopping=True),
    )
    yield "HistGradientBoostingRegressor", "diabetes", e.HistGradientBoostingRegressor(**rounds)
    yield (
        "HistGradientBoostingRegressor, Poisson loss",
        "diabetes gaps",
        e.HistGradientBoostingRegressor(**rounds, loss="poisson"),
    )
    yield (
        "HistGradientBoostingRegressor, quantile",
        "diabetes",
        e.HistGradientBoostingRegressor(**rounds, loss="quantile", quantile=0.8),
    )
    yield (
        "HistGradientBoostingClassifier, categories",
        "counts",
        e.HistGradientBoostingClassifier(**rounds, categorical_features=[0, 2]),
    )
    yield "AdaBoostClassifier", "cancer", e.AdaBoostClassifier(n_estimators=8, random_state=0)
    yield "AdaBoostClassifier, three classes", "iris", e.AdaBoostClassifier(n_estimators=8, random_state=0)
    yield "AdaBoostRegressor", "diabetes", e.AdaBoostRegressor(n_estimators=8, random_state=0)


def _libraries() -> Iterator[tuple[Any, ...]]:
    x = {"n_estimators": 12, "max_depth": 4, "n_jobs": 1, "random_state": 0}
    light = {"n_estimators": 12, "n_jobs": 1, "random_state": 0, "verbose": -1, "min_child_samples": 5}
    yield "XGBClassifier", "cancer", XGBClassifier(**x)
    yield "XGBClassifier, missing values", "cancer gaps", XGBClassifier(**x)
    yield "XGBClassifier, three classes", "iris numbers", XGBClassifier(**x)
    yield "XGBClassifier, exact trees", "cancer", XGBClassifier(**x, tree_method="exact")
    yield "XGBClassifier, zero means missing", "counts", XGBClassifier(**x, missing=0.0)
    yield "XGBClassifier, one base score", "cancer", XGBClassifier(**x, base_score=0.3)
    yield "XGBRegressor", "diabetes", XGBRegressor(**x)
    yield "XGBRegressor, missing values", "diabetes gaps", XGBRegressor(**x)
    yield "XGBRegressor, Poisson", "diabetes", XGBRegressor(**x, objective="count:poisson")
    yield "XGBRegressor, Tweedie", "diabetes", XGBRegressor(**x, objective="reg:tweedie")
    yield "XGBRegressor, absolute error", "diabetes", XGBRegressor(**x, objective="reg:absoluteerror")
    yield "XGBRegressor, dropout", "diabetes", XGBRegressor(**x, booster="dart", rate_drop=0.3)
    yield "XGBRegressor, linear", "diabetes", XGBRegressor(n_estimators=12, booster="gblinear", n_jobs=1)
    yield "XGBClassifier, pandas categories", "people categories", XGBClassifier(**x, enable_categorical=True), REFUSED
    yield "XGBRFClassifier", "cancer", XGBRFClassifier(**x)
    yield "XGBRFRegressor", "diabetes", XGBRFRegressor(**x)
    yield "XGBClassifier, parallel trees", "cancer", XGBClassifier(**x, num_parallel_tree=3)
    yield "LGBMClassifier", "cancer", LGBMClassifier(**light)
    yield "LGBMClassifier, missing values", "cancer gaps", LGBMClassifier(**light)
    yield "LGBMClassifier, three classes", "iris", LGBMClassifier(**light)
    yield "LGBMClassifier, words as classes", "cancer words", LGBMClassifier(**light)
    yield (
        "LGBMClassifier, random forest",
        "cancer",
        LGBMClassifier(**light, boosting_type="rf", bagging_freq=1, bagging_fraction=0.7),
    )
    yield "LGBMClassifier, dropout", "cancer", LGBMClassifier(**light, boosting_type="dart")
    yield "LGBMClassifier, one against rest", "iris", LGBMClassifier(**light, objective="multiclassova")
    yield "LGBMClassifier, zero means missing", "counts", LGBMClassifier(**light, zero_as_missing=True)
    yield "LGBMRegressor", "diabetes", LGBMRegressor(**light)
    yield "LGBMRegressor, missing values", "diabetes gaps", LGBMRegressor(**light)
    yield "LGBMRegressor, Poisson", "diabetes", LGBMRegressor(**light, objective="poisson")
    yield "LGBMRegressor, quantile", "diabetes", LGBMRegressor(**light, objective="quantile", alpha=0.8)
    yield "LGBMRegressor, root of the target", "diabetes", LGBMRegressor(**light, reg_sqrt=True)
    yield "LGBMRegressor, linear trees", "diabetes", LGBMRegressor(**light, linear_tree=True), NATIVE
    cat = {
        "iterations": 12,
        "depth": 4,
        "thread_count": 1,
        "random_seed": 0,
        "allow_writing_files": False,
        "silent": True,
    }
    yield "CatBoostClassifier", "cancer", CatBoostClassifier(**cat), NATIVE
    yield "CatBoostClassifier, missing values", "cancer gaps", CatBoostClassifier(**cat), NATIVE
    yield "CatBoostClassifier, three classes", "iris", CatBoostClassifier(**cat), NATIVE
    yield (
        "CatBoostClassifier, categories",
        "people without gaps",
        CatBoostClassifier(**cat, cat_features=["city", "plan"]),
        NATIVE,
    )
    yield "CatBoostRegressor", "diabetes", CatBoostRegressor(**cat), NATIVE


def _wrappers() -> Iterator[tuple[Any, ...]]:
    e, m = ensemble, linear_model
    logistic, bayes = m.LogisticRegression(max_iter=300), naive_bayes.GaussianNB()
    forest = e.RandomForestClassifier(6, max_depth=4, random_state=0)
    members = [("linear", logistic), ("bayes", bayes), ("forest", forest)]
    numbers = [("ridge", m.Ridge()), ("tree", tree.DecisionTreeRegressor(max_depth=4, random_state=0))]
    yield "VotingClassifier, soft", "cancer scaled", e.VotingClassifier(members, voting="soft", weights=[2, 1, 1])
    yield "VotingClassifier, three classes", "iris", e.VotingClassifier(members, voting="soft")
    yield "VotingRegressor", "diabetes", e.VotingRegressor(numbers)
    yield "StackingClassifier", "cancer scaled", e.StackingClassifier(members, cv=3)
    yield "StackingClassifier, with its inputs", "iris", e.StackingClassifier(members, cv=3, passthrough=True)
    yield (
        "StackingClassifier, scores",
        "cancer scaled",
        e.StackingClassifier([("svm", svm.LinearSVC(random_state=0)), ("forest", forest)], cv=3),
    )
    yield "StackingRegressor", "diabetes", e.StackingRegressor(numbers, cv=3)
    yield "BaggingClassifier", "cancer", e.BaggingClassifier(n_estimators=5, random_state=0)
    yield (
        "BaggingClassifier, of some columns",
        "cancer scaled",
        e.BaggingClassifier(logistic, n_estimators=5, max_features=0.5, random_state=0),
    )
    yield (
        "BaggingClassifier, of votes",
        "cancer scaled",
        e.BaggingClassifier(svm.LinearSVC(random_state=0), n_estimators=5, random_state=0),
    )
    yield "BaggingRegressor", "diabetes", e.BaggingRegressor(n_estimators=5, random_state=0)
    c = calibration.CalibratedClassifierCV
    yield "CalibratedClassifierCV, sigmoid", "cancer scaled", c(svm.LinearSVC(random_state=0), cv=3)
    yield "CalibratedClassifierCV, isotonic", "cancer scaled", c(bayes, method="isotonic", cv=3)
    yield "CalibratedClassifierCV, isotonic, three classes", "iris", c(bayes, method="isotonic", cv=3)
    yield "CalibratedClassifierCV, one fit", "cancer scaled", c(logistic, method="isotonic", cv=3, ensemble=False)
    yield "CalibratedClassifierCV, temperature", "iris", c(logistic, method="temperature", cv=3)
    yield "OneVsRestClassifier", "iris", multiclass.OneVsRestClassifier(logistic)
    yield "OneVsRestClassifier, scores", "iris", multiclass.OneVsRestClassifier(svm.LinearSVC(random_state=0))
    yield "OneVsOneClassifier", "iris", multiclass.OneVsOneClassifier(logistic)
    yield "OneVsOneClassifier, forests", "wine", multiclass.OneVsOneClassifier(forest)
    yield "OutputCodeClassifier", "iris", multiclass.OutputCodeClassifier(logistic, random_state=0), NATIVE
    s = model_selection
    yield "GridSearchCV", "cancer scaled", s.GridSearchCV(logistic, {"C": [0.1, 1.0]}, cv=3)
    yield (
        "RandomizedSearchCV",
        "diabetes",
        s.RandomizedSearchCV(m.Ridge(), {"alpha": [0.1, 1.0, 5.0]}, n_iter=2, cv=3, random_state=0),
    )
    yield "FixedThresholdClassifier", "cancer scaled", s.FixedThresholdClassifier(logistic, threshold=0.8)
    yield "TunedThresholdClassifierCV", "cancer scaled", s.TunedThresholdClassifierCV(logistic, cv=3)
    yield "TunedThresholdClassifierCV, forest", "cancer", s.TunedThresholdClassifierCV(forest, cv=3)
    yield "SelfTrainingClassifier", "iris numbers", semi_supervised.SelfTrainingClassifier(logistic)
    t = compose.TransformedTargetRegressor
    yield "TransformedTargetRegressor, logarithm", "diabetes", t(m.Ridge(), func=np.log1p, inverse_func=np.expm1)
    yield "TransformedTargetRegressor, scaled", "diabetes", t(m.Ridge(), transformer=preprocessing.StandardScaler())
    yield (
        "TransformedTargetRegressor, square root",
        "diabetes",
        t(e.RandomForestRegressor(6, max_depth=4, random_state=0), func=np.sqrt, inverse_func=np.square),
    )
    yield "TransformedTargetRegressor, to a range", "diabetes", t(m.Ridge(), transformer=preprocessing.MinMaxScaler())
    yield "VotingClassifier, hard", "iris", e.VotingClassifier(members)


def _several() -> Iterator[tuple[Any, ...]]:
    m, o, e = linear_model, multioutput, ensemble
    small = {"n_estimators": 6, "max_depth": 5, "random_state": 0}
    yield "LinearRegression, two targets", "diabetes two", m.LinearRegression()
    yield "Ridge, two targets", "diabetes two", m.Ridge()
    yield "RandomForestRegressor, two targets", "diabetes two", e.RandomForestRegressor(**small)
    yield "DecisionTreeRegressor, two targets", "diabetes two", tree.DecisionTreeRegressor(max_depth=5, random_state=0)
    yield (
        "MLPRegressor, two targets",
        "diabetes two",
        neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=40, random_state=0, tol=50),
    )
    yield "PLSRegression, two targets", "diabetes two", cross_decomposition.PLSRegression()
    yield (
        "MultiOutputRegressor, boosting",
        "diabetes two",
        o.MultiOutputRegressor(e.GradientBoostingRegressor(n_estimators=8, random_state=0)),
    )
    yield (
        "MultiOutputRegressor, LightGBM",
        "diabetes two",
        o.MultiOutputRegressor(LGBMRegressor(n_estimators=8, n_jobs=1, verbose=-1)),
    )
    yield "MultiOutputClassifier, forests", "cancer sets", o.MultiOutputClassifier(e.RandomForestClassifier(**small))
    yield "MultiOutputClassifier, naive Bayes", "cancer sets", o.MultiOutputClassifier(naive_bayes.GaussianNB())
    yield "RandomForestClassifier, three labels", "cancer sets", e.RandomForestClassifier(**small)
    yield (
        "OneVsRestClassifier, three labels",
        "cancer sets",
        multiclass.OneVsRestClassifier(tree.DecisionTreeClassifier(max_depth=4, random_state=0)),
    )
    yield "RegressorChain", "diabetes two", o.RegressorChain(m.Ridge()), NATIVE
    yield "ClassifierChain", "cancer sets", o.ClassifierChain(naive_bayes.GaussianNB()), NATIVE


def _unlabelled() -> Iterator[tuple[Any, ...]]:
    yield "IsolationForest", "cancer", ensemble.IsolationForest(n_estimators=15, random_state=0)
    yield (
        "IsolationForest, some columns",
        "cancer",
        ensemble.IsolationForest(n_estimators=15, max_features=0.5, random_state=0),
    )
    yield (
        "IsolationForest, contamination",
        "cancer",
        ensemble.IsolationForest(n_estimators=15, contamination=0.1, random_state=0),
    )
    yield (
        "IsolationForest after a scaler",
        "cancer",
        _chain(preprocessing.StandardScaler(), ensemble.IsolationForest(n_estimators=15, random_state=0)),
    )
    yield "OneClassSVM", "cancer scaled", svm.OneClassSVM(nu=0.1)
    yield "OneClassSVM, linear kernel", "cancer scaled", svm.OneClassSVM(kernel="linear")
    yield "SGDOneClassSVM", "cancer scaled", linear_model.SGDOneClassSVM(random_state=0)
    yield "EllipticEnvelope", "cancer scaled", covariance.EllipticEnvelope(random_state=0, support_fraction=0.9), NATIVE
    yield "LocalOutlierFactor", "cancer scaled", neighbors.LocalOutlierFactor(novelty=True), NATIVE
    yield "KMeans", "cancer scaled", cluster.KMeans(3, n_init=1, random_state=0)
    yield "MiniBatchKMeans", "iris", cluster.MiniBatchKMeans(3, n_init=1, random_state=0)
    yield "BisectingKMeans", "iris", cluster.BisectingKMeans(3, random_state=0), NATIVE
    yield (
        "KMeans after a scaler",
        "wine",
        _chain(preprocessing.StandardScaler(), cluster.KMeans(3, n_init=1, random_state=0)),
    )
    g = mixture.GaussianMixture
    yield "GaussianMixture", "iris", g(n_components=3, random_state=0)
    yield "GaussianMixture, diagonal", "iris", g(n_components=3, covariance_type="diag", random_state=0)
    yield "GaussianMixture, tied", "iris", g(n_components=2, covariance_type="tied", random_state=0), NATIVE
    yield "GaussianMixture, spherical", "iris", g(n_components=3, covariance_type="spherical", random_state=0)


def _numeric() -> Iterator[tuple[Any, ...]]:
    p, logistic, ridge = preprocessing, linear_model.LogisticRegression(max_iter=300), linear_model.Ridge()
    forest = ensemble.RandomForestClassifier(6, max_depth=5, random_state=0)
    for step in (
        p.StandardScaler(),
        p.MinMaxScaler(),
        p.MinMaxScaler(clip=True),
        p.MaxAbsScaler(),
        p.RobustScaler(),
        p.Normalizer(),
        p.Normalizer("max"),
        p.PowerTransformer(),
        p.Binarizer(threshold=0.5),
        p.PolynomialFeatures(2),
        p.PolynomialFeatures(3, interaction_only=True, include_bias=False),
        p.KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"),
        p.KBinsDiscretizer(4, encode="ordinal", strategy="uniform"),
        decomposition.PCA(3),
        decomposition.PCA(3, whiten=True),
        decomposition.TruncatedSVD(3, random_state=0),
        decomposition.IncrementalPCA(3),
        feature_selection.VarianceThreshold(0.1),
        feature_selection.SelectKBest(k=3),
        feature_selection.SelectFromModel(tree.DecisionTreeClassifier(random_state=0)),
        feature_selection.RFE(linear_model.LogisticRegression(), n_features_to_select=3),
    ):
        settings = ", ".join(f"{v}" for v in _said(step))
        yield (
            f"{type(step).__name__}{f' ({settings})' if settings else ''} → logistic",
            "cancer scaled",
            _chain(step, logistic),
        )
    yield "PowerTransformer, Box-Cox → logistic", "wine", _chain(p.PowerTransformer("box-cox"), logistic)
    yield (
        "KBinsDiscretizer → tree",
        "diabetes",
        _chain(
            p.KBinsDiscretizer(5, encode="onehot-dense", quantile_method="averaged_inverted_cdf"),
            tree.DecisionTreeRegressor(max_depth=5, random_state=0),
        ),
    )
    yield "StandardScaler → forest", "cancer", _chain(p.StandardScaler(), forest)
    yield "PCA → forest", "cancer scaled", _chain(decomposition.PCA(4), forest)
    yield (
        "StandardScaler → HistGradientBoosting",
        "cancer gaps",
        _chain(p.StandardScaler(), ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0)),
    )
    yield "StandardScaler → SVC", "cancer", _chain(p.StandardScaler(), svm.SVC())
    yield (
        "StandardScaler → MLP",
        "cancer words",
        _chain(p.StandardScaler(), neural_network.MLPClassifier((8,), max_iter=50, random_state=0, tol=1e-2)),
    )
    yield "SimpleImputer → logistic", "cancer gaps", _chain(impute.SimpleImputer(), p.StandardScaler(), logistic)
    yield (
        "SimpleImputer with indicator → logistic",
        "cancer gaps",
        _chain(p.StandardScaler(), impute.SimpleImputer(add_indicator=True), logistic),
    )
    yield "SimpleImputer, median → forest", "cancer gaps", _chain(impute.SimpleImputer(strategy="median"), forest)
    yield "KNNImputer → logistic", "cancer gaps", _chain(p.StandardScaler(), impute.KNNImputer(), logistic), NATIVE
    yield (
        "MissingIndicator beside its input",
        "cancer gaps",
        _chain(pipeline.make_union(impute.SimpleImputer(), impute.MissingIndicator(features="all")), forest),
    )
    yield (
        "FeatureUnion of scaler and PCA → ridge",
        "diabetes",
        _chain(pipeline.make_union(p.StandardScaler(), decomposition.PCA(2)), ridge),
    )
    yield "FunctionTransformer, log1p → ridge", "counts", _chain(p.FunctionTransformer(np.log1p), ridge)
    yield (
        "passthrough and None as steps",
        "diabetes",
        pipeline.Pipeline([("a", "passthrough"), ("b", None), ("c", p.StandardScaler()), ("d", ridge)]),
    )
    yield "SplineTransformer → ridge", "diabetes", _chain(p.SplineTransformer(), ridge), NATIVE
    yield "QuantileTransformer → ridge", "diabetes", _chain(p.QuantileTransformer(n_quantiles=10), ridge)
    yield "Nystroem → ridge", "diabetes", _chain(kernel_approximation.Nystroem(random_state=0), ridge), NATIVE
    yield "RBFSampler → ridge", "diabetes", _chain(kernel_approximation.RBFSampler(random_state=0), ridge), NATIVE
    yield "KernelPCA → ridge", "diabetes", _chain(decomposition.KernelPCA(3, kernel="rbf"), ridge), NATIVE
    yield "a transformer of one's own → logistic", "cancer scaled", _chain(RootOfSize(), logistic), NATIVE


def _said(step: Any) -> Iterator[str]:
    for name, value in step.get_params(deep=False).items():
        default = type(step)().get_params().get(name) if not hasattr(step, "estimator") else value
        if value != default and name not in ("random_state", "n_components", "quantile_method", "k"):
            yield f"{name}={value}"


def _frames() -> Iterator[tuple[Any, ...]]:
    p, logistic = preprocessing, linear_model.LogisticRegression(max_iter=300)
    forest = ensemble.RandomForestClassifier(6, max_depth=6, random_state=0)
    ignore = p.OneHotEncoder(handle_unknown="ignore")
    ordinal = p.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    words = impute.SimpleImputer(strategy="most_frequent")
    yield "one-hot → logistic", "people", _chain(_columns(ignore), logistic)
    yield "one-hot → forest", "people", _chain(_columns(ignore), forest)
    yield (
        "one-hot → gradient boosting",
        "people",
        _chain(_columns(ignore), ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0)),
    )
    yield "one-hot → ridge", "people spend", _chain(_columns(ignore), linear_model.Ridge())
    yield (
        "one-hot → HistGradientBoosting",
        "people",
        _chain(
            _columns(p.OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
            ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0),
        ),
    )
    yield (
        "one-hot → XGBoost",
        "people numbers",
        _chain(_columns(ignore), XGBClassifier(n_estimators=10, max_depth=4, n_jobs=1)),
    )
    yield (
        "one-hot → LightGBM",
        "people",
        _chain(_columns(ignore), LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1)),
    )
    yield "one-hot → SVC", "people", _chain(_columns(ignore), svm.SVC())
    yield (
        "one-hot → MLP",
        "people",
        _chain(_columns(ignore), neural_network.MLPClassifier((6,), max_iter=40, random_state=0, tol=1e-2)),
    )
    yield (
        "one-hot, infrequent → logistic",
        "people",
        _chain(_columns(p.OneHotEncoder(min_frequency=30, handle_unknown="infrequent_if_exist")), logistic),
    )
    yield (
        "one-hot, at most three → logistic",
        "people",
        _chain(_columns(p.OneHotEncoder(max_categories=3, handle_unknown="ignore")), logistic),
    )
    yield (
        "one-hot, first dropped → logistic",
        "people",
        _chain(_columns(p.OneHotEncoder(drop="first", handle_unknown="ignore")), logistic),
    )
    yield "one-hot, of two dropped → logistic", "people", _chain(_columns(p.OneHotEncoder(drop="if_binary")), logistic)
    yield "one-hot, unknown refused → logistic", "people", _chain(_columns(p.OneHotEncoder()), logistic)
    yield "words imputed, one-hot → logistic", "people", _chain(_columns(_chain(words, ignore)), logistic)
    yield (
        "words imputed by a constant → forest",
        "people",
        _chain(_columns(_chain(impute.SimpleImputer(strategy="constant", fill_value="none"), ordinal)), forest),
    )
    yield "ordinal, missing and unknown → forest", "people", _chain(_columns(ordinal), forest)
    yield (
        "ordinal → HistGradientBoosting with categories",
        "people",
        _chain(
            _columns(ordinal),
            ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0, categorical_features=[3, 4]),
        ),
    )
    yield "target encoder → logistic", "people", _chain(_columns(p.TargetEncoder(random_state=0, cv=3)), logistic)
    yield (
        "target encoder → ridge",
        "people spend",
        _chain(_columns(p.TargetEncoder(random_state=0, cv=3)), linear_model.Ridge()),
    )
    yield (
        "indicator and one-hot → logistic",
        "people",
        _chain(_columns(ignore, _chain(p.StandardScaler(), impute.SimpleImputer(add_indicator=True))), logistic),
    )
    yield (
        "columns by type → logistic",
        "people",
        _chain(
            compose.make_column_transformer(
                (
                    _chain(impute.SimpleImputer(), p.StandardScaler()),
                    compose.make_column_selector(dtype_include="number"),
                ),
                (ignore, compose.make_column_selector(dtype_include=object)),
            ),
            logistic,
        ),
    )
    yield (
        "the rest passed through → forest",
        "people",
        _chain(compose.make_column_transformer((ordinal, ["city", "plan"]), remainder="passthrough"), forest),
    )
    yield (
        "weighted transformers → logistic",
        "people",
        _chain(
            compose.ColumnTransformer(
                [
                    ("n", _chain(impute.SimpleImputer(), p.StandardScaler()), ["age", "income"]),
                    ("w", ignore, ["city"]),
                ],
                transformer_weights={"n": 0.5, "w": 2.0},
            ),
            logistic,
        ),
    )
    yield (
        "selection behind one-hot → logistic",
        "people",
        _chain(
            _columns(ignore, impute.SimpleImputer()),
            feature_selection.SelectKBest(feature_selection.f_classif, k=6),
            p.StandardScaler(with_mean=False),
            logistic,
        ),
    )
    yield (
        "polynomials and binned ages → ridge",
        "people spend",
        _chain(
            compose.make_column_transformer(
                (p.KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), ["age"]),
                (_chain(impute.SimpleImputer(), p.StandardScaler(), p.PolynomialFeatures(2)), ["income", "debt"]),
                (ignore, ["city", "plan"]),
            ),
            linear_model.Ridge(),
        ),
    )
    yield (
        "KNN imputer and one-hot → logistic",
        "people",
        _chain(_columns(ignore, _chain(p.StandardScaler(), impute.KNNImputer(n_neighbors=3))), logistic),
        NATIVE,
    )
    yield (
        "search over a pipeline",
        "people",
        model_selection.GridSearchCV(_chain(_columns(ignore), logistic), {"logisticregression__C": [0.1, 1.0]}, cv=3),
    )
    yield (
        "calibrated pipeline, isotonic",
        "people",
        calibration.CalibratedClassifierCV(_chain(_columns(ignore), forest), method="isotonic", cv=3),
    )
    yield (
        "threshold on a pipeline",
        "people",
        model_selection.FixedThresholdClassifier(_chain(_columns(ignore), logistic), threshold=0.3),
    )
    yield (
        "stacked pipelines",
        "people",
        ensemble.StackingClassifier(
            [("a", _chain(_columns(ignore), logistic)), ("b", _chain(_columns(ordinal), forest))], cv=3
        ),
    )
    yield (
        "voting of pipelines",
        "people",
        ensemble.VotingClassifier(
            [("a", _chain(_columns(ignore), logistic)), ("b", _chain(_columns(ordinal), forest))], voting="soft"
        ),
    )
    yield (
        "scaler, DataFrame of numbers → neighbours",
        "people",
        _chain(
            compose.make_column_transformer(
                (_chain(impute.SimpleImputer(), p.StandardScaler()), ["age", "income", "debt"])
            ),
            neighbors.KNeighborsClassifier(),
        ),
        NATIVE,
    )


def _columns(words: Any, numbers: Any = None) -> Any:
    scaled = _chain(impute.SimpleImputer(), preprocessing.StandardScaler())
    return compose.ColumnTransformer(
        [("numbers", numbers or scaled, ["age", "income", "debt"]), ("words", words, ["city", "plan"])]
    )


def _texts() -> Iterator[tuple[Any, ...]]:
    t, logistic = feature_extraction.text, linear_model.LogisticRegression()
    ascii_words = {"token_pattern": "[a-zA-Z0-9_]+"}
    for name, vectoriser, last in (
        ("Tfidf → logistic", t.TfidfVectorizer(), logistic),
        ("Count → naive Bayes", t.CountVectorizer(), naive_bayes.MultinomialNB()),
        ("Count, binary → logistic", t.CountVectorizer(binary=True), logistic),
        ("Tfidf, its own pattern → logistic", t.TfidfVectorizer(**ascii_words), logistic),
        ("Tfidf, stop words → linear SVM", t.TfidfVectorizer(stop_words="english"), svm.LinearSVC(random_state=0)),
        ("Tfidf, sublinear → logistic", t.TfidfVectorizer(sublinear_tf=True, norm="l1"), logistic),
        ("Tfidf, case kept → logistic", t.TfidfVectorizer(lowercase=False), logistic),
        ("Count → forest", t.CountVectorizer(), ensemble.RandomForestClassifier(6, max_depth=6, random_state=0)),
    ):
        yield f"{name}, beside numbers", "reviews", _chain(_text_columns(vectoriser), last)
    yield (
        "Tfidf → TruncatedSVD → logistic",
        "reviews",
        _chain(_text_columns(_chain(t.TfidfVectorizer(), decomposition.TruncatedSVD(5, random_state=0))), logistic),
    )
    yield (
        "Count → Tfidf weights → logistic",
        "reviews",
        _chain(_text_columns(_chain(t.CountVectorizer(), t.TfidfTransformer())), logistic),
    )
    for name, vectoriser in (
        ("Tfidf, bigrams", t.TfidfVectorizer(ngram_range=(1, 2))),
        ("Tfidf, characters", t.TfidfVectorizer(analyzer="char", ngram_range=(2, 3))),
        ("HashingVectorizer", t.HashingVectorizer(n_features=64)),
    ):
        yield f"{name} → logistic", "reviews", _chain(_text_columns(vectoriser), logistic), NATIVE
    yield (
        "Tfidf, words beyond ASCII → logistic",
        "reviews in French",
        _chain(_text_columns(t.TfidfVectorizer()), logistic),
        NATIVE,
    )
    small_forest = ensemble.RandomForestClassifier(6, max_depth=6, random_state=0)
    calibrated = calibration.CalibratedClassifierCV(_chain(t.TfidfVectorizer(), svm.LinearSVC(random_state=0)), cv=3)
    for name, model in (
        ("Tfidf → logistic", _chain(t.TfidfVectorizer(), logistic)),
        ("Count → naive Bayes", _chain(t.CountVectorizer(), naive_bayes.MultinomialNB())),
        ("Tfidf → forest", _chain(t.TfidfVectorizer(), small_forest)),
        ("Tfidf → linear SVM, calibrated", calibrated),
        (
            "Tfidf beside counts → logistic",
            _chain(pipeline.make_union(t.TfidfVectorizer(), t.CountVectorizer()), logistic),
        ),
    ):
        yield f"texts alone, {name}", "texts", model
    for name, data, vectoriser in (
        ("Tfidf, bigrams", "texts", t.TfidfVectorizer(ngram_range=(1, 2))),
        ("Count, characters", "texts", t.CountVectorizer(analyzer="char_wb", ngram_range=(2, 3))),
        ("HashingVectorizer", "texts", t.HashingVectorizer(n_features=64)),
        ("Tfidf, words beyond ASCII", "texts in French", t.TfidfVectorizer()),
    ):
        yield f"texts alone, {name} → logistic", data, _chain(vectoriser, logistic), NATIVE


def _text_columns(vectoriser: Any) -> Any:
    return compose.ColumnTransformer([("text", vectoriser, "text"), ("stars", preprocessing.MinMaxScaler(), ["stars"])])


def _real() -> Iterator[tuple[Any, ...]]:
    p = preprocessing
    ignore = p.OneHotEncoder(handle_unknown="ignore")
    ordinal = p.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    scaled = _chain(impute.SimpleImputer(), p.StandardScaler())
    flag = _chain(p.StandardScaler(), impute.SimpleImputer(add_indicator=True))
    logistic = linear_model.LogisticRegression(max_iter=200, tol=1e-2)
    few = {"n_estimators": 10, "max_depth": 5, "n_jobs": 1}
    for name, numbers, words, last in (
        ("flights, one-hot → logistic", scaled, ignore, logistic),
        ("flights, indicator → logistic", flag, ignore, logistic),
        ("flights, ordinal → forest", scaled, ordinal, ensemble.RandomForestClassifier(8, max_depth=8, random_state=0)),
        (
            "flights, one-hot → HistGradientBoosting",
            scaled,
            p.OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0),
        ),
        ("flights, one-hot → LightGBM", scaled, ignore, LGBMClassifier(**few, verbose=-1)),
        (
            "flights, target encoder → logistic",
            scaled,
            p.TargetEncoder(cv=3, random_state=0),
            logistic,
        ),
    ):
        yield name, "flights", _chain(_flight_columns(numbers, words), last)
    yield "flights, one-hot → XGBoost", "flights numbers", _chain(_flight_columns(scaled, ignore), XGBClassifier(**few))


def _flight_columns(numbers: Any, words: Any) -> Any:
    return compose.ColumnTransformer(
        [("numbers", numbers, list(NUMBERS_OF_FLIGHTS)), ("words", words, list(WORDS_OF_FLIGHTS))]
    )


def _refused() -> Iterator[tuple[Any, ...]]:
    yield "DummyClassifier", "iris", dummy.DummyClassifier(), REFUSED
    yield "DummyRegressor", "diabetes", dummy.DummyRegressor(), REFUSED
    yield (
        "LinearRegression of a constant",
        "single",
        compose.TransformedTargetRegressor(linear_model.Lasso(alpha=1e9)),
        REFUSED,
    )
    yield (
        "a lambda as a step",
        "diabetes",
        _chain(preprocessing.FunctionTransformer(lambda x: x * 2), linear_model.Ridge()),
        REFUSED,
    )


FAMILIES = {
    "linear models": _linear,
    "other classifiers": _classifiers,
    "other regressors": _regressors,
    "trees and forests": _trees,
    "gradient boosting": _boosting,
    "XGBoost, LightGBM and CatBoost": _libraries,
    "ensembles and wrappers": _wrappers,
    "several outputs": _several,
    "outliers and clusters": _unlabelled,
    "numeric pipelines": _numeric,
    "DataFrame pipelines": _frames,
    "text": _texts,
    "real data": _real,
    "never served": _refused,
}
