"""A41: what a model keeps of its training is said, and is in no answer and no description."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.impute import KNNImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelPropagation
from sklearn.svm import SVC, SVR, OneClassSVM

from trivet.core.errors import SlowerCompiled
from trivet.core.examples import made_up_row
from trivet.dataplane.protocol.openapi import document
from trivet.model.bundle.packing import pack_columns
from trivet.model.bundle.sample import SAMPLE_NAME, decode_sample
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.kept import kept_of_training
from trivet.model.compile.native import native_bundle
from trivet.model.runtimes.base import runtime_class

WORD, NUMBER = "canary51c6f2", 51621.625  # in one row of the training
ROWS = np.random.default_rng(0).normal(size=(60, 2))
TRAINED_ON = np.vstack([ROWS, [[NUMBER, 0.5]]])
TARGET, LABEL = TRAINED_ON @ [1.0, 2.0], (TRAINED_ON[:, 1] > 0).astype(int)
TEXTS = pd.DataFrame({"text": ["good work", "bad work", "good day", "bad luck"] * 15})
SAID = np.array(["bad" not in text for text in TEXTS["text"]] + [True])


def of_texts(vectoriser):
    model = make_pipeline(ColumnTransformer([("words", vectoriser, "text")]), LogisticRegression())
    return model.fit(pd.concat([TEXTS, pd.DataFrame({"text": [f"good {WORD}"]})]), np.where(SAID, "yes", "no"))


KEEP = {
    "rows (KNeighborsRegressor)": lambda: KNeighborsRegressor(2).fit(TRAINED_ON, TARGET),
    "rows (KNeighborsClassifier)": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier()).fit(TRAINED_ON, LABEL),
    "rows (GaussianProcessRegressor)": lambda: GaussianProcessRegressor().fit(TRAINED_ON, TARGET),
    "rows (SVR)": lambda: SVR().fit(TRAINED_ON, TARGET),
    "words (TfidfVectorizer)": lambda: of_texts(TfidfVectorizer()),
    "words (CountVectorizer)": lambda: of_texts(CountVectorizer()),
}  # fmt: skip


COMPILED = ("rows (SVR)", "words (TfidfVectorizer)", "words (CountVectorizer)")


@pytest.mark.parametrize(
    ("kept", "how"),
    [*((kept, "unchanged") for kept in KEEP if "Count" not in kept), *((kept, "compiled") for kept in COMPILED)],
)
def test_A41_a_row_that_a_model_keeps_is_said_and_shown_by_nothing(kept, how):
    model, sample = KEEP[kept](), TEXTS if "words" in kept else ROWS
    bundle = bundled(model, sample, how)
    manifest = bundle.manifest
    assert manifest.compile["keeps"] == [kept]
    inputs, answers = decode_sample(manifest.signature, bundle.files[SAMPLE_NAME])
    names = list(answers)
    found = runtime_class(manifest.runtime).load(bundle).run(pack_columns(manifest.packs, inputs), names)
    described = document("kept", 1, manifest.signature, made_up_row(manifest.signature), max_rows=8)
    shown = [bundle.manifest_bytes.decode(), bundle.files[SAMPLE_NAME].decode(), repr(described), repr(found)]
    assert not [text for text in shown if WORD in text or str(int(NUMBER)) in text]


def bundled(model, sample, how):
    if how == "unchanged":
        return native_bundle(model, why="a reason", sample=sample).bundle
    try:
        return compile_model(model, sample=sample).bundle
    except SlowerCompiled as error:
        return error.compiled.bundle


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        (GaussianProcessClassifier(), "rows (_BinaryGaussianProcessClassifierLaplace)"),
        (KernelRidge(), "rows (KernelRidge)"),
        (SVC(), "rows (SVC)"),
        (OneClassSVM(), "rows (OneClassSVM)"),
        (LocalOutlierFactor(novelty=True), "rows (LocalOutlierFactor)"),
        (LabelPropagation(), "rows (LabelPropagation)"),
        (make_pipeline(KNNImputer(), LinearRegression()), "rows (KNNImputer)"),
        (make_pipeline(Nystroem(n_components=5), LinearRegression()), "rows (Nystroem)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_A41_every_kind_that_keeps_rows_is_known(model, kept):
    assert kept in kept_of_training(model.fit(ROWS, LABEL[: len(ROWS)]))


def test_A41_nothing_hides_behind_a_large_vocabulary():
    words = CountVectorizer().fit([" ".join(f"w{number}" for number in range(150_000))])
    assert kept_of_training([KNNImputer().fit(ROWS), words]) == ("rows (KNNImputer)", "words (CountVectorizer)")


def test_A41_one_that_keeps_weights_alone_has_nothing_to_say():
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(ROWS, TARGET[:60])
    assert kept_of_training(model) == ()
    assert "keeps" not in compile_model(model, sample=ROWS).bundle.manifest.compile
