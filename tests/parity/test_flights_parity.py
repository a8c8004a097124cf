"""C1: the five pipelines of the flights, stock and ours."""

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from tests.parity.stock import gate, ours, stock_graph, thresholds_to_nearest

from trivet.core.errors import ParityFailed
from trivet.demo.flights import CATEGORICAL, CLASSES, FEATURES, NUMERIC, TARGET
from trivet.demo.training import sample_of, train_boosted, train_linear
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.fields import layout_of
from trivet.model.runtimes.onnx import OnnxRuntime

SCALED = make_pipeline(SimpleImputer(), StandardScaler())
ONE_HOT = OneHotEncoder(handle_unknown="ignore")
ORDINAL = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)


def pipeline(numbers, words, model):
    prepare = ColumnTransformer([("numbers", numbers, list(NUMERIC)), ("words", words, list(CATEGORICAL))])
    return make_pipeline(prepare, model)


PIPELINES = {
    "one-hot, XGBoost": lambda: pipeline(
        SCALED, ONE_HOT, xgboost.XGBClassifier(n_estimators=20, max_depth=5, n_jobs=1)
    ),
    "one-hot, histogram boosting": lambda: pipeline(
        SCALED,
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        HistGradientBoostingClassifier(max_iter=20, random_state=0),
    ),
    "ordinal, forest": lambda: pipeline(
        SCALED, ORDINAL, RandomForestClassifier(10, max_depth=10, random_state=0, n_jobs=1)
    ),
    "one-hot, logistic": lambda: pipeline(SCALED, ONE_HOT, LogisticRegression(max_iter=300, tol=1e-3)),
    "indicator, logistic": lambda: pipeline(
        make_pipeline(StandardScaler(), SimpleImputer(add_indicator=True)),
        ONE_HOT,
        LogisticRegression(max_iter=300, tol=1e-3),
    ),
    "one-hot, LightGBM": lambda: pipeline(
        SCALED, ONE_HOT, lightgbm.LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1, random_state=0)
    ),
}


@pytest.fixture(scope="module")
def fitted(training_rows):
    x, y = training_rows
    cache = {}

    def fit(name):
        if name not in cache:
            target = (y == CLASSES[1]).astype(int) if "XGBoost" in name else y
            cache[name] = PIPELINES[name]().fit(x, target)
        return cache[name]

    return fit


@pytest.mark.parametrize("name", PIPELINES)
def test_C1_compiled_pipeline_answers_rows_it_never_saw_as_the_original_does(name, fitted, flights):
    train, later = flights
    model = fitted(name)
    compiled = compile_model(model, sample=sample_of(train, 500)[list(FEATURES)])
    rows = later[list(FEATURES)]
    layout, frame = layout_of(model, rows)
    label, probabilities = OnnxRuntime.load(compiled.bundle).run(layout.feed(frame), ["label", "probabilities"])
    native = model.predict_proba(frame)
    assert np.abs(probabilities - native).max() <= 1e-6
    sure = np.abs(native[:, 0] - 0.5) > 1e-6
    assert (label[sure] == model.predict(frame)[sure]).all()
    assert compiled.parity.largest <= 1e-6
    assert compiled.parity.labels_differ == 0


@pytest.mark.parametrize(
    ("name", "graph_of"),
    [
        ("one-hot, XGBoost", stock_graph),
        ("one-hot, histogram boosting", thresholds_to_nearest),  # the stock one fails outright under protobuf 7
        ("ordinal, forest", stock_graph),
        ("indicator, logistic", stock_graph),
    ],
)
def test_C1_C2_10_the_gate_rejects_what_the_stock_converter_makes_of_the_same_pipeline(name, graph_of, fitted, flights):
    train, _ = flights
    with pytest.raises(ParityFailed) as failed:
        gate(fitted(name), sample_of(train, 500)[list(FEATURES)], graph_of)
    assert failed.value.worst[0]["difference"] > 1e-5


@pytest.mark.parametrize("train_one", [train_linear, lambda rows: train_boosted(rows, iterations=30)])
def test_models_of_the_demonstration_are_exact_and_better_than_chance_later(train_one, flights):
    train, later = flights
    model = train_one(train)
    assert ours(model, sample_of(train, 500)[list(FEATURES)]).largest <= 1e-6
    late = model.predict_proba(later[list(FEATURES)])[:, list(model.classes_).index("late")]
    assert roc_auc_score(later[TARGET] == "late", late) > 0.6


def test_an_unseen_destination_and_a_missing_carrier_are_answered_not_refused(fitted, flights):
    train, _ = flights
    model = fitted("one-hot, logistic")
    signature = compile_model(model, sample=sample_of(train, 500)[list(FEATURES)]).signature
    dest = next(i for i in signature.inputs if i.name == "dest")
    assert (dest.datatype, dest.unknown, dest.nullable) == ("BYTES", "pass", True)
    assert "LAX" in dest.categories
