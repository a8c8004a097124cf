"""Models of bare texts: a row is a text, without columns, and travels as one tensor of the shape (rows,)."""

import json

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union

from trivet.core.errors import CompileError
from trivet.core.snapshot import ModelEntry, Route, Snapshot, VersionEntry
from trivet.dataplane.authentication import trusted
from trivet.dataplane.engines.inline import InlineEngine
from trivet.dataplane.frontends.rest import Exchange
from trivet.dataplane.plane import Plane
from trivet.dataplane.reconcile import Reconciler
from trivet.dataplane.spool import Spool
from trivet.model.bundle.bundle import make_bundle
from trivet.model.compile import speed
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.native import native_bundle
from trivet.model.runtimes.base import runtime_class

RNG = np.random.default_rng(11)
WORDS = ["good", "bad", "food", "room", "the", "of", "slow", "quick", "view_2"]
TEXTS = [" ".join(RNG.choice(WORDS, 6)) for _ in range(150)]
LABELS = np.array(["liked" if ("good" in text) != ("slow" in text) else "disliked" for text in TEXTS], object)
STRANGE = ["", "the", "GOOD, Food!", "good\nfood\tgood_food", "Gööd 漢字 bad\u00a0room", "İstanbul ǅ good", "x" * 5000]


@pytest.fixture(autouse=True)
def _hardly_timed(monkeypatch):
    """Speed is not what these tests are about: a few calls of each kind will do."""
    monkeypatch.setattr(speed, "CALLS", 5)
    monkeypatch.setattr(speed, "WARM_UPS", 1)


def words(vectoriser=None):
    return make_pipeline(vectoriser or TfidfVectorizer(), LogisticRegression())


def answered(compiled, texts):
    runtime = runtime_class(compiled.bundle.manifest.runtime).load(compiled.bundle)
    return runtime.run({compiled.signature.inputs[0].name: np.array(texts, object)}, ["label", "probabilities"])


@pytest.mark.parametrize(
    "model",
    [
        words(),
        words(CountVectorizer(binary=True, lowercase=False)),
        words(make_union(CountVectorizer(), TfidfVectorizer(stop_words="english"))),
        CalibratedClassifierCV(words(), cv=3),
        GridSearchCV(words(), {"logisticregression__C": [1.0, 10.0]}, cv=3),
        VotingClassifier([("a", words()), ("b", words(CountVectorizer()))], voting="soft"),
    ],
    ids=["Tfidf", "Count", "union", "calibrated", "search", "voting"],
)
def test_texts_are_compiled_and_answered_as_the_original_answers_them(model):
    compiled = compile_model(model.fit(TEXTS, LABELS), sample=TEXTS)
    [text] = compiled.signature.inputs
    assert (text.name, text.datatype, text.shape, text.nullable) == ("text", "BYTES", (-1,), False)
    assert compiled.parity.by_kind["unseen"] >= 10
    label, probabilities = answered(compiled, STRANGE)
    assert np.abs(probabilities - model.predict_proba(STRANGE)).max() <= 1e-12
    assert label.tolist() == model.predict(STRANGE).tolist()


@pytest.mark.parametrize(
    ("sample", "name"),
    [
        (np.array(TEXTS, object), "text"),
        (np.array(TEXTS), "text"),
        (pd.Series(TEXTS, name="review"), "review"),
        (pd.DataFrame({"review": TEXTS}), "review"),
        (None, "text"),
    ],
    ids=["array", "array of str", "Series", "DataFrame", "made up"],
)
def test_a_sample_of_texts_comes_in_any_form_and_gives_the_input_its_name(sample, name):
    compiled = compile_model(words().fit(TEXTS, LABELS), sample=sample)
    assert compiled.signature.field_names == (name,)
    assert compiled.parity.synthetic == (sample is None)
    assert answered(compiled, STRANGE)[0].tolist() == words().fit(TEXTS, LABELS).predict(STRANGE).tolist()


def test_texts_are_asked_for_as_a_tensor_of_one_dimension_or_as_rows_with_its_name(tmp_path):
    model = words().fit(TEXTS, LABELS)
    plane = serving(compile_model(model, sample=pd.Series(TEXTS, name="review")).bundle, tmp_path)
    tensor = {"name": "review", "datatype": "BYTES", "shape": [len(STRANGE)], "data": STRANGE}
    outputs = {o["name"]: o["data"] for o in asked(plane, "infer", {"inputs": [tensor]})["outputs"]}
    assert outputs["label"] == model.predict(STRANGE).tolist()
    assert np.abs(np.reshape(outputs["probabilities"], (-1, 2)) - model.predict_proba(STRANGE)).max() <= 1e-12
    rows = asked(plane, "predict", {"rows": [{"review": text} for text in STRANGE], "outputs": ["label"]})["rows"]
    assert [row["outputs"]["label"] for row in rows] == outputs["label"]


def serving(bundle, folder):
    """Return a plane that serves `bundle` in this process, where a web worker would ask a model worker."""
    manifest = msgspec.structs.replace(bundle.manifest, compile={**bundle.manifest.compile, "may_run_inline": True})
    here = make_bundle(manifest, bundle.files)
    plane = Plane(Reconciler([InlineEngine()], lambda _digest: here, 1024), Spool(folder, "texts"))
    version = VersionEntry(1, here.digest, "onnx", here.signature)
    plane.follow(Snapshot(1, {"reviews": ModelEntry("reviews", {1: version}, (Route(1, 100),), {"champion": 1})}))
    return plane


def asked(plane, verb, body):
    exchange = Exchange(plane, "POST", f"/v2/models/reviews/{verb}", {b"host": b"localhost"}, trusted("test"))
    response = exchange.begin() or exchange.receive(json.dumps(body).encode()) or exchange.run()
    assert response.status == 200, response.body
    return json.loads(response.body)


@pytest.mark.parametrize(
    ("vectoriser", "reason"),
    [
        (TfidfVectorizer(ngram_range=(1, 2)), "n-grams"),
        (TfidfVectorizer(analyzer="char"), "n-grams or characters"),
        (HashingVectorizer(n_features=32), "HashingVectorizer"),
        (TfidfVectorizer(vocabulary=["good", "très"]), "beyond ASCII"),
        (TfidfVectorizer(strip_accents="unicode"), "strip_accents"),
    ],
    ids=["bigrams", "characters", "hashes", "beyond ASCII", "accents"],
)
def test_what_the_tokeniser_reads_otherwise_runs_unchanged(vectoriser, reason):
    model = words(vectoriser).fit(TEXTS, LABELS)
    with pytest.raises(CompileError) as left:
        compile_model(model, sample=TEXTS)
    assert reason in left.value.message
    native = native_bundle(model, why=left.value.message, sample=TEXTS)
    assert native.signature.inputs[0].shape == (-1,)
    assert answered(native, STRANGE)[1].tolist() == model.predict_proba(STRANGE).tolist()


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (pd.DataFrame({"a": TEXTS, "b": TEXTS}), "the model takes one text a row, the sample has 2 columns"),
        (["good", 3.5], "the model takes one text a row, the sample holds '3.5'"),
        ([], "the sample has no rows"),
    ],
)
def test_a_sample_that_holds_no_text_a_row_is_refused(sample, reason):
    with pytest.raises(CompileError, match=reason):
        compile_model(words().fit(TEXTS, LABELS), sample=sample)


def test_made_up_texts_need_a_vocabulary():
    with pytest.raises(CompileError, match="push with a sample of its texts"):
        compile_model(words(HashingVectorizer(n_features=32)).fit(TEXTS, LABELS))
