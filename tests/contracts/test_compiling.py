"""What is promised of compiling: each known error, each acceptance item and each verdict has a test that tells of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parity.zoo.cases import COMPILED, NATIVE, REFUSED, Case, cases

TESTS = Path(__file__).parents[1]
DECISIONS = TESTS.parent / "docs" / "explanation" / "decisions.md"
KNOWN_ERRORS = {  # of the stock converters, and what is to become of the model instead; test_C2_01 is of the first
    1: "forests and trees trained with missing values: exact",
    2: "HistGradientBoosting and LightGBM at thresholds: exact",
    3: "HistGradientBoosting with categories: exact",
    4: "SimpleImputer with indicator: exact",
    5: "Tfidf and Count on text beyond ASCII: native",
    6: "Tfidf and Count with bigrams: native",
    7: "isotonic calibration: exact",
    8: "TunedThresholdClassifierCV: exact",
    9: "MultiOutputClassifier of forests: ties, accepted and said so",
    10: "a scaler before trees, in float32: exact",
}
ACCEPTANCE = set(range(1, 11))

EXACT = """
LogisticRegression LogisticRegressionCV SGDClassifier SGDRegressor LinearRegression Ridge RidgeCV RidgeClassifier
RidgeClassifierCV Lasso LassoCV ElasticNet ElasticNetCV Lars LarsCV LassoLars LassoLarsCV OrthogonalMatchingPursuit
OrthogonalMatchingPursuitCV HuberRegressor RANSACRegressor TheilSenRegressor QuantileRegressor PoissonRegressor
GammaRegressor TweedieRegressor ARDRegression BayesianRidge PLSRegression Perceptron PassiveAggressiveClassifier LinearSVC
LinearSVR SVC NuSVC SVR NuSVR LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis GaussianNB BernoulliNB MultinomialNB
ComplementNB CategoricalNB MLPClassifier MLPRegressor DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier
ExtraTreeRegressor RandomForestClassifier RandomForestRegressor ExtraTreesClassifier ExtraTreesRegressor AdaBoostClassifier
AdaBoostRegressor BaggingClassifier BaggingRegressor GradientBoostingClassifier GradientBoostingRegressor
HistGradientBoostingClassifier HistGradientBoostingRegressor IsolationForest OneClassSVM KMeans MiniBatchKMeans
GaussianMixture VotingClassifier VotingRegressor StackingClassifier StackingRegressor CalibratedClassifierCV
OneVsRestClassifier OneVsOneClassifier MultiOutputClassifier MultiOutputRegressor IsotonicRegression GridSearchCV
RandomizedSearchCV FixedThresholdClassifier TunedThresholdClassifierCV SelfTrainingClassifier TransformedTargetRegressor
XGBClassifier XGBRegressor LGBMClassifier LGBMRegressor
SimpleImputer StandardScaler MinMaxScaler MaxAbsScaler RobustScaler Normalizer PowerTransformer PolynomialFeatures
KBinsDiscretizer Binarizer OneHotEncoder OrdinalEncoder TargetEncoder PCA TruncatedSVD VarianceThreshold SelectKBest
SelectFromModel RFE FeatureUnion ColumnTransformer CountVectorizer TfidfVectorizer
"""
UNCHANGED = """
KNeighborsClassifier KNeighborsRegressor RadiusNeighborsClassifier RadiusNeighborsRegressor LocalOutlierFactor
GaussianProcessClassifier GaussianProcessRegressor KernelPCA NearestCentroid OutputCodeClassifier RegressorChain
ClassifierChain KernelRidge EllipticEnvelope SplineTransformer Nystroem RBFSampler HashingVectorizer RootOfSize
"""
UNCHANGED_IN_SOME_FORM = (  # though their class is compiled: part of a case's name
    "Tfidf, characters",
    "Count, characters",
    "Tfidf, bigrams",
    "Tfidf, words beyond ASCII",
)
REFUSED_CASES = {"DummyClassifier", "DummyRegressor", "LinearRegression of a constant", "a lambda as a step"}
OTHERWISE = {  # what ends in another state than was meant: each has its reason in the decisions
    "KNNImputer": NATIVE,
    "GaussianMixture, tied": NATIVE,
    "CatBoostClassifier": NATIVE,
    "CatBoostRegressor": NATIVE,
    "XGBRFClassifier": COMPILED,
    "XGBRFRegressor": COMPILED,
    "QuantileTransformer": COMPILED,
    "HistGradientBoostingClassifier, categories": COMPILED,
    "XGBClassifier, pandas categories": REFUSED,
}


@pytest.fixture(scope="module")
def zoo() -> list[tuple[Case, set[str]]]:
    """The cases, each with the names of all classes in it."""
    return [(case, {type(part).__name__ for part in _parts(case.model)}) for case in cases()]


def test_every_known_error_of_the_stock_converters_has_a_test_with_its_number():
    assert {int(number) for number in _numbered(r"C2_(\d\d)")} == set(KNOWN_ERRORS)


def test_every_item_of_the_acceptance_list_has_a_test_with_its_number():
    assert {int(number) for number in _numbered(r"C(\d{1,2})(?![\d])")} == ACCEPTANCE


def test_every_estimator_that_is_to_be_exact_is_compiled_in_some_case_of_the_zoo(zoo):
    compiled = {kind for case, kinds in zoo if case.state == COMPILED for kind in kinds}
    assert sorted(set(EXACT.split()) - compiled) == []


def test_every_estimator_that_is_to_run_unchanged_does_so_in_every_case(zoo):
    states = {kind: {case.state for case, kinds in zoo if kind in kinds} for kind in UNCHANGED.split()}
    assert {kind for kind, found in states.items() if found != {NATIVE}} == set()
    for form in UNCHANGED_IN_SOME_FORM:
        assert {case.state for case, _ in zoo if form in case.name} == {NATIVE}, form


def test_what_answers_the_same_for_every_row_and_what_no_other_process_knows_is_refused(zoo):
    refused = {case.name for case, _ in zoo if case.state == REFUSED}
    assert refused - OTHERWISE.keys() == REFUSED_CASES


def test_what_ends_in_another_state_than_was_meant_has_its_reason_in_the_decisions(zoo):
    written = DECISIONS.read_text(encoding="utf-8")
    for name, state in OTHERWISE.items():
        found = {case.state for case, kinds in zoo if case.name == name or name in kinds}
        assert found == {state}, name
        assert name.partition(",")[0] in written


def _numbered(pattern: str) -> set[str]:
    """Return what `pattern` finds in the numbers that tests have before their sentence, as in `test_C1_C2_10_the_gate`."""
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        for numbers in re.findall(r"^def test_((?:[A-Z]?\d+_)+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            found |= set(re.findall(pattern, numbers))
    return found


def _parts(model: Any) -> Iterator[Any]:
    yield model
    if hasattr(model, "get_params"):
        yield from model.get_params().values()
