"""What `compile_model` promises about signature, digest, refusals and the gate."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from catboost import CatBoostClassifier
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import LinearSVC

from trivet.core.datatypes import MISSING_TEXT
from trivet.core.errors import CompileError, ParityFailed
from trivet.model.bundle.sample import decode_sample
from trivet.model.compile import proving
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.converters.answers import Answer
from trivet.model.runtimes.onnx import OnnxRuntime

ROWS = 300


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, ROWS),
            "income": rng.normal(50_000, 10_000, ROWS).round(2),
            "city": rng.choice(["Lyon", "Nice", "Paris"], ROWS),
            "member": rng.random(ROWS) < 0.5,
        }
    )
    frame.loc[::7, "income"] = np.nan
    stays = np.where((frame["age"] > 40) ^ (frame["city"] == "Nice"), "stays", "churned")
    return frame, stays


def churn_model(people, handle_unknown="ignore", numbers=None):
    prepare = ColumnTransformer(
        [
            ("numbers", numbers or make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income", "member"]),
            ("words", OneHotEncoder(handle_unknown=handle_unknown), ["city"]),
        ]
    )
    return make_pipeline(prepare, LogisticRegression()).fit(*people)


def test_signature_names_every_column_with_its_datatype_bounds_and_policies(people):
    frame, _ = people
    signature = compile_model(churn_model(people), sample=frame).signature
    age, income, city, member = signature.inputs
    assert [i.name for i in signature.inputs] == list(frame.columns)
    assert [i.datatype for i in signature.inputs] == ["INT64", "FP64", "BYTES", "BOOL"]
    assert all(i.shape == (-1, 1) for i in signature.inputs)
    assert (age.low, age.high, age.nullable) == (frame["age"].min(), frame["age"].max(), False)
    assert (income.nullable, city.nullable, member.nullable) == (True, True, False)
    assert (city.categories, city.unknown) == (("Lyon", "Nice", "Paris"), "pass")
    label, probabilities = signature.outputs
    assert (label.name, label.datatype, label.classes) == ("label", "BYTES", ("churned", "stays"))
    assert (probabilities.name, probabilities.shape) == ("probabilities", (-1, 2))
    assert signature.task == "classification"


def test_what_the_original_refuses_the_signature_refuses(people):
    frame, _ = people
    model = churn_model((frame.fillna(0), people[1]), handle_unknown="error", numbers=StandardScaler())
    strict = make_pipeline(model[0], LogisticRegression()).fit(frame.fillna(0), people[1])
    _, income, city, _ = compile_model(strict, sample=frame.fillna(0)).signature.inputs
    assert income.nullable is False
    assert (city.unknown, city.nullable) == ("reject", False)


def test_the_bundle_answers_a_row_with_everything_missing_and_unseen_as_the_original(people):
    frame, _ = people
    model = churn_model(people)
    runtime = OnnxRuntime.load(compile_model(model, sample=frame).bundle)
    strange = pd.DataFrame(
        {"age": [30], "income": [np.nan], "city": pd.Series([np.nan], dtype=object), "member": [True]}
    )
    tensors = {
        "age": np.array([[30]]),
        "income": np.array([[np.nan]]),
        "city": np.array([[MISSING_TEXT]], dtype=object),
        "member": np.array([[True]]),
    }
    (answer,) = runtime.run(tensors, ["probabilities"])
    np.testing.assert_allclose(answer, model.predict_proba(strange), atol=1e-12)
    tensors["city"] = np.array([["Marseille"]], dtype=object)
    strange["city"] = "Marseille"
    (answer,) = runtime.run(tensors, ["probabilities"])
    np.testing.assert_allclose(answer, model.predict_proba(strange), atol=1e-12)


def test_a_matrix_travels_as_one_tensor(people):
    x = np.random.default_rng(0).normal(size=(ROWS, 5))
    model = LogisticRegression().fit(x, x[:, 0] > 0)
    compiled = compile_model(model, sample=x)
    (tensor,) = compiled.signature.inputs
    assert (tensor.name, tensor.shape, tensor.nullable) == ("X", (-1, 5), False)
    label = compiled.signature.output("label")
    assert (label.datatype, label.classes) == ("INT64", ("False", "True"))


def test_scores_and_predictions_have_their_names():
    x = np.random.default_rng(0).normal(size=(ROWS, 3))
    scores = compile_model(LinearSVC().fit(x, x[:, 0] > 0), sample=x).signature
    assert [(o.name, o.shape) for o in scores.outputs] == [("label", (-1,)), ("scores", (-1, 1))]
    prediction = compile_model(LinearRegression().fit(x, x[:, 0]), sample=x).signature
    assert [(o.name, o.shape) for o in prediction.outputs] == [("prediction", (-1,))]
    assert prediction.task == "regression"


def test_the_same_object_compiles_to_the_same_digest(people):
    frame, stays = people
    for model in (churn_model(people), RandomForestClassifier(5, random_state=0).fit(frame[["age"]], stays)):
        sample = frame[list(model.feature_names_in_)]
        first, second = (compile_model(model, sample=sample).bundle for _ in range(2))
        assert first.digest == second.digest
        assert compile_model(model, sample=sample.iloc[::-1]).bundle.digest != first.digest


COMPILES = """
import sys
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from trivet.model.compile.compiler import compile_model
x = np.random.default_rng(3).normal(size=(80, 3))
model = RandomForestClassifier(4, random_state=0).fit(x, np.where(x[:, 0] > 0, "b", "a"))
sys.stdout.write(compile_model(model, sample=x).bundle.digest)
"""


def test_C7_another_process_with_another_hash_seed_compiles_the_same_digest():
    digests = {
        subprocess.run(
            [sys.executable, "-c", COMPILES],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    }
    assert [len(digest) for digest in digests] == [64]


def test_the_manifest_states_in_what_the_thresholds_compare(people):
    manifest = compile_model(churn_model(people), sample=people[0]).bundle.manifest
    assert manifest.compile["threshold_precision"] == "float64"


def test_the_manifest_says_where_it_comes_from_and_how_it_was_judged(people):
    frame, _ = people
    manifest = compile_model(churn_model(people), sample=frame, source={"sha256": "ab"}).bundle.manifest
    assert manifest.runtime == "onnx"
    assert manifest.requires["opset"] == {"": 21, "ai.onnx.ml": 3}
    assert manifest.source["class"] == "sklearn.pipeline.Pipeline"
    assert manifest.source["sha256"] == "ab"
    assert manifest.parity["rows"] == sum(manifest.parity["by_kind"].values())
    assert {"sample", "numeric", "missing", "categorical", "unseen"} <= manifest.parity["by_kind"].keys()
    assert manifest.sample_rows == 200
    assert manifest.compile["may_run_inline"] is True


def test_the_sample_in_the_bundle_replays(people):
    frame, _ = people
    bundle = compile_model(churn_model(people), sample=frame).bundle
    inputs, outputs = decode_sample(bundle.signature, bundle.files["sample.jsonl"])
    label, probabilities = OnnxRuntime.load(bundle).run(inputs, ["label", "probabilities"])
    np.testing.assert_array_equal(label, outputs["label"])
    np.testing.assert_allclose(probabilities, outputs["probabilities"], rtol=0, atol=1e-12)


def test_without_a_sample_the_report_says_that_rows_were_made_up(people):
    compiled = compile_model(churn_model(people))
    assert compiled.parity.synthetic
    assert "synthetic rows" in compiled.parity.line()
    city = compiled.signature.inputs[2]
    assert (city.datatype, city.categories) == ("BYTES", ("Lyon", "Nice", "Paris"))
    assert {(spec.low, spec.high) for spec in compiled.signature.inputs} == {
        (None, None)
    }  # nobody saw such rows in training


def test_compiled_is_faster(people):
    frame, _ = people
    speed = compile_model(churn_model(people), sample=frame).speed
    assert 0 < speed.compiled < speed.native


def test_the_gate_names_the_worst_row_and_leaves_nothing_behind(people, monkeypatch):
    frame, _ = people
    model = churn_model(people)
    real = proving.emit

    def slightly_wrong(graph, estimator, table):
        answer = real(graph, estimator, table)
        spoiled = graph.add("Mul", answer.probabilities, graph.constant(1.0001, np.float64))
        return Answer(probabilities=spoiled, label=answer.label)

    monkeypatch.setattr(proving, "emit", slightly_wrong)
    with pytest.raises(
        ParityFailed, match=r"parity failed on \d+ of \d+ rows: row \d+, native [\d.]+, compiled [\d.]+"
    ) as e:
        compile_model(model, sample=frame)
    assert "tolerance 1e-5" in e.value.message
    differences = [row["difference"] for row in e.value.worst]
    assert differences == sorted(differences, reverse=True)
    assert {"row", "kind", "native", "compiled", "difference", "native_label", "compiled_label"} < set(e.value.worst[0])
    assert list(e.value.worst[0]["inputs"])[:4] == ["age", "income", "city", "member"]
    assert compile_model(model, sample=frame, tolerance=1e-3).parity.tolerance == 1e-3


def test_a_wrong_label_fails_the_gate_even_where_probabilities_agree(people, monkeypatch):
    frame, _ = people
    real = proving.emit

    def first_class_always(graph, estimator, table):
        answer = real(graph, estimator, table)
        zero = graph.add(
            "Mul",
            graph.cast(graph.add("ArgMax", answer.probabilities, axis=1, keepdims=0), "INT64"),
            graph.constant(0, np.int64),
        )
        label = graph.add("Gather", graph.constant(np.array(["churned", "stays"], object)), zero, axis=0)
        return Answer(probabilities=answer.probabilities, label=label)

    monkeypatch.setattr(proving, "emit", first_class_always)
    with pytest.raises(ParityFailed, match="'stays' became 'churned'"):
        compile_model(churn_model(people), sample=frame)


@pytest.mark.parametrize("tolerance", [0, -1, 2e-3, float("nan")])
def test_the_tolerance_has_bounds(tolerance, people):
    with pytest.raises(CompileError, match="tolerance"):
        compile_model(churn_model(people), sample=people[0], tolerance=tolerance)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (LogisticRegression(), "not fitted"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "not fitted"),
        (LogisticRegression, "not a trained estimator"),
        ({"weights": [1]}, "not a trained estimator"),
        ("model.joblib", "not a trained estimator"),
    ],
)
def test_what_is_no_fitted_estimator_is_refused(model, reason):
    with pytest.raises(CompileError, match=reason):
        compile_model(model)


class Doubles(FunctionTransformer):
    """A step of somebody's own."""

    def transform(self, X):
        return X * 2


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (DummyClassifier(), "same for every row"),
        (KNeighborsClassifier(), r"operator Scan, which is not compiled\. Most estimators of .*; this one is not\.$"),
        (LabelSpreading(), r"^sklearn's LabelSpreading cannot be compiled\. Most estimators of .*; this one is not\.$"),
        (
            make_pipeline(Doubles(), LogisticRegression()),
            r"Doubles cannot be compiled\. .* custom steps are best done before",
        ),
        (make_pipeline(FunctionTransformer(lambda x: x * 2), LogisticRegression()), "before the model is asked"),
    ],
    ids=["constant", "neighbours", "spreading", "own step", "lambda"],
)
def test_what_cannot_be_compiled_is_refused_and_the_way_out_named(model, reason):
    x = np.random.default_rng(0).normal(size=(ROWS, 3))
    with pytest.raises(CompileError, match=reason) as refused:
        compile_model(model.fit(x, x[:, 0] > 0), sample=x)
    assert not isinstance(refused.value, ParityFailed)


def test_nobody_is_told_to_encode_words_for_a_model_that_takes_words(people):
    frame, _ = people
    model = CatBoostClassifier(iterations=2, verbose=0, allow_writing_files=False, cat_features=["city"])
    model.fit(frame[["age", "city"]], frame["age"] > frame["age"].median())
    with pytest.raises(CompileError, match=r"^catboost's CatBoostClassifier cannot be compiled\."):
        compile_model(model, sample=frame[["age", "city"]])


def test_a_sample_that_does_not_fit_is_refused_by_name(people):
    frame, _ = people
    model = churn_model(people)
    with pytest.raises(CompileError, match="lacks the column 'city'"):
        compile_model(model, sample=frame.drop(columns="city"))
    wide = np.random.default_rng(0).normal(size=(8, 4_097))
    with pytest.raises(CompileError, match="4097 inputs; a version takes 1 to 4096"):
        compile_model(LinearRegression().fit(wide, wide[:, 0]), sample=wide)
    with pytest.raises(CompileError, match="no rows"):
        compile_model(model, sample=frame.head(0))
    with pytest.raises(CompileError, match="named columns"):
        compile_model(model, sample=frame.to_numpy())
    with pytest.raises(CompileError, match="Is it the right column"):
        compile_model(model, sample=frame, labels=frame["city"])
    with pytest.raises(CompileError, match="number before training"):
        compile_model(model, sample=frame.assign(age=pd.Timestamp("2013-01-01")))
