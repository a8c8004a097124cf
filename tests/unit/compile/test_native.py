"""Models that run unchanged: saved as data, proved by a round trip, pinned to their library, refused with a reason."""

import functools
import json
import os
import pickle
import re
import zipfile
from io import BytesIO

import catboost
import lightgbm
import msgspec
import numpy as np
import pandas as pd
import pytest
import sklearn.base
import xgboost
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.multioutput import ClassifierChain, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid, RadiusNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer

from trivet.core.errors import BundleError, CompileError, ParityFailed, SlowerCompiled
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.native import Column
from trivet.model.compile import child, compiler, native, speed
from trivet.model.compile.given_graph import bundle_given_graph
from trivet.model.compile.native import native_bundle
from trivet.model.compile.opening import Opened
from trivet.model.compile.saving import UnlistedTypes, canonical, saved
from trivet.model.compile.wire import Failure, Task
from trivet.model.runtimes.base import runtime_class
from trivet.model.runtimes.native.types import unlisted_types

ROWS = 80


@pytest.fixture(autouse=True, scope="module")
def in_no_time():
    """Measure no costs here: they are not what these tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "MOST_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 80, ROWS),
            "income": np.where(rng.random(ROWS) < 0.2, np.nan, rng.normal(size=ROWS)),
            "plan": np.where(rng.random(ROWS) < 0.2, None, rng.choice(["free", "pro"], ROWS)),
            "member": rng.random(ROWS) < 0.5,
        }
    )


@pytest.fixture(scope="module")
def matrix():
    return np.random.default_rng(4).normal(size=(ROWS, 3))


@pytest.fixture(scope="module")
def labels(matrix):
    return np.where(matrix[:, 0] > 0, "yes", "no")


@pytest.fixture(scope="module")
def bundle(matrix, labels):
    return native_bundle(KNeighborsClassifier().fit(matrix, labels), why="a reason", sample=matrix).bundle


def given_by(bundle, tensors):
    names = [output.name for output in bundle.signature.outputs]
    runtime = runtime_class(bundle.manifest.runtime).load(bundle)
    return dict(zip(names, runtime.run(tensors, names), strict=True))


def test_a_table_reaches_the_pipeline_as_it_was_trained_on_columns_datatypes_and_gaps(table, labels):
    model = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), SplineTransformer()), ["age", "income"]),
            (OneHotEncoder(handle_unknown="ignore"), ["plan", "member"]),
        ),
        LogisticRegression(),
    ).fit(table, labels)
    made = native_bundle(model, why="splines", sample=table)
    columns = [(column.name, column.datatype, column.gap) for column in made.bundle.manifest.native.columns]
    assert columns == [
        ("age", "INT64", "nan"),
        ("income", "FP64", "nan"),
        ("plan", "BYTES", "nan"),  # as pandas writes a gap among words
        ("member", "BOOL", "nan"),
    ]
    words = np.array([["\ue000" if pd.isna(word) else word] for word in table.plan], dtype=object)
    tensors = {name: table[[name]].to_numpy() for name in ("age", "income", "member")} | {"plan": words}
    answers = given_by(made.bundle, tensors)
    assert answers["probabilities"].tolist() == model.predict_proba(table).tolist()
    assert answers["label"].tolist() == model.predict(table).tolist()
    assert made.parity.by_kind["missing"] > 0
    assert made.parity.largest == 0


@pytest.mark.parametrize(
    ("model", "runtime", "file"),
    [
        (xgboost.XGBClassifier(n_estimators=4), "xgboost", "model.ubj"),
        (lightgbm.LGBMClassifier(n_estimators=4, verbose=-1), "lightgbm", "model.txt"),
        (catboost.CatBoostClassifier(iterations=4, verbose=0, allow_writing_files=False), "catboost", "model.cbm"),
        (HistGradientBoostingClassifier(max_iter=4), "skops", "model.skops"),
        (make_pipeline(SimpleImputer(), xgboost.XGBClassifier(n_estimators=4)), "skops", "model.skops"),
        (make_pipeline(SimpleImputer(), lightgbm.LGBMClassifier(n_estimators=4, verbose=-1)), "skops", "model.skops"),
        (MLPClassifier((4,), max_iter=500, tol=0.1), "skops", "model.skops"),
    ],
    ids=["xgboost", "lightgbm", "catboost", "sklearn", "xgboost in a pipeline", "lightgbm in a pipeline", "mlp"],
)
def test_a_classifier_is_kept_in_its_librarys_own_format_else_as_skops(model, runtime, file, matrix):
    model.fit(matrix, (np.abs(matrix[:, 0]) * 2).astype(int) % 3)
    made = native_bundle(model, why="a reason", sample=matrix)
    assert made.bundle.manifest.runtime == runtime
    assert file in made.bundle.files
    answers = given_by(made.bundle, {"X": matrix})
    assert answers["probabilities"].tolist() == model.predict_proba(matrix).tolist()
    assert answers["label"].tolist() == model.predict(matrix).ravel().tolist()


@pytest.mark.parametrize(
    "model",
    [
        xgboost.XGBRegressor(n_estimators=4),
        lightgbm.LGBMRegressor(n_estimators=4, verbose=-1),
        catboost.CatBoostRegressor(iterations=4, verbose=0, allow_writing_files=False),
        KNeighborsRegressor(algorithm="ball_tree", metric="manhattan"),
        GaussianProcessRegressor(RBF(), optimizer=None),
        RadiusNeighborsRegressor(radius=3.0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_regressor_predicts_as_the_object_in_memory(model, matrix):
    model.fit(matrix, matrix[:, 0] * 2 + matrix[:, 1])
    made = native_bundle(model, why="a reason", sample=matrix)
    assert given_by(made.bundle, {"X": matrix})["prediction"].tolist() == model.predict(matrix).tolist()


def test_lightgbms_text_format_keeps_no_classes_so_the_signature_does(matrix, labels):
    model = lightgbm.LGBMClassifier(n_estimators=4, verbose=-1).fit(matrix, labels)
    answers = given_by(native_bundle(model, why="a reason", sample=matrix).bundle, {"X": matrix})
    assert answers["label"].tolist() == model.predict(matrix).tolist()
    model.fit(matrix, labels == "yes")
    answers = given_by(native_bundle(model, why="a reason", sample=matrix).bundle, {"X": matrix})
    assert answers["label"].tolist() == model.predict(matrix).astype(int).tolist()


@pytest.mark.parametrize(
    ("model", "asks"),
    [
        (IsolationForest(n_estimators=5), {"label": "predict", "scores": "decision_function"}),
        (KMeans(3, n_init=1), {"label": "predict", "distances": "transform"}),
        (NearestCentroid(), {"label": "predict", "probabilities": "predict_proba"}),
        (MultiOutputRegressor(Ridge()), {"prediction_0": "predict", "prediction_1": "predict"}),
        (
            KNeighborsClassifier(),
            dict.fromkeys(("label_0", "label_1"), "predict") | {"probabilities_1": "predict_proba"},
        ),
        (MLPClassifier((4,), max_iter=500, tol=0.1), {"label_0": "predict", "probabilities_0": "predict_proba"}),
        (ClassifierChain(LogisticRegression()), {"label_1": "predict", "probabilities_1": "predict_proba"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_outliers_clusters_and_several_targets_run_unchanged(model, asks, matrix, labels):
    two = (matrix[:, :2] > 0).astype(int)
    truth = labels if isinstance(model, IsolationForest | KMeans | NearestCentroid) else two
    made = native_bundle(model.fit(matrix, truth), why="a reason", sample=matrix)
    assert asks.items() <= {asked.output: asked.method for asked in made.bundle.manifest.native.answers}.items()
    assert made.parity.largest < 1e-9  # of numbers up to 1e30, added up in another order
    answers = given_by(made.bundle, {"X": matrix})
    if "label_1" in answers:
        assert answers["label_1"].tolist() == model.predict(matrix)[:, 1].tolist()


def test_the_same_object_is_the_same_bundle_and_nothing_in_it_tells_of_memory_or_clock(matrix, labels, bundle):
    again = native_bundle(KNeighborsClassifier().fit(matrix, labels), why="a reason", sample=matrix).bundle
    assert again.digest == bundle.digest
    with zipfile.ZipFile(BytesIO(bundle.files["model.skops"])) as file:
        assert {entry.date_time[0] for entry in file.infolist()} == {1980}
        assert all(name.rpartition(".")[0].isdigit() or name == "schema.json" for name in file.namelist())
    assert canonical(bundle.files["model.skops"]) == bundle.files["model.skops"]


def test_the_manifest_says_state_and_reason_and_pins_the_minor_version(bundle):
    manifest = bundle.manifest
    assert (manifest.compile["state"], manifest.compile["why"]) == ("native", "a reason")
    assert manifest.compile["may_run_inline"] is False
    assert manifest.requires["scikit-learn"].count(".") == 1


def test_another_version_of_the_library_refuses_and_says_which_it_needs(bundle):
    older = make_bundle(msgspec.structs.replace(bundle.manifest, requires={"scikit-learn": "1.2"}), bundle.files)
    with pytest.raises(
        BundleError, match=r"needs scikit-learn 1\.2; here is 1\.\d+\.\d+\. Serve it from an environment"
    ):
        runtime_class("skops").load(older)
    absent = make_bundle(msgspec.structs.replace(bundle.manifest, requires={"skl-nothing": "1.2"}), bundle.files)
    with pytest.raises(BundleError, match="which is not installed here"):
        runtime_class("skops").load(absent)


class Shout(FunctionTransformer):
    """A step of somebody's own, importable, on no list."""


def test_a_type_on_no_list_waits_until_a_person_accepts_it(matrix, labels):
    model = make_pipeline(Shout(), KNeighborsClassifier()).fit(matrix, labels)
    name = f"{Shout.__module__}.Shout"
    with pytest.raises(UnlistedTypes, match=f"--accept-types {name}") as caught:
        native_bundle(model, why="a reason", sample=matrix)
    assert caught.value.types == (name,)
    made = native_bundle(model, why="a reason", sample=matrix, accepted_types=[name, "of.another.Type"])
    assert made.bundle.manifest.native.accepted_types == (name,)
    unaccepted = msgspec.structs.replace(
        made.bundle.manifest, native=msgspec.structs.replace(made.bundle.manifest.native, accepted_types=())
    )
    with pytest.raises(BundleError, match=f"that nobody accepted: {name}"):
        runtime_class("skops").load(make_bundle(unaccepted, made.bundle.files))


def test_a_search_and_what_it_keeps_of_its_training_run_unchanged(matrix, labels):
    for scoring in (None, "roc_auc", "f1_macro", "neg_log_loss"):
        search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [3, 5]}, cv=StratifiedKFold(2), scoring=scoring)
        assert saved(search.fit(matrix, labels)).accepted_types == ()


@pytest.mark.parametrize(
    ("release", "module", "names"),
    [
        ("1.5.2", "sklearn.compose._column_transformer", "_RemainderColsList"),
        ("1.5.2", "sklearn.utils._metadata_requests", "MetadataRequest MethodMetadataRequest"),
        ("1.3.2", "sklearn.ensemble._gb_losses", "BinomialDeviance LeastSquaresError MultinomialDeviance"),
        ("1.3.2", "sklearn.metrics._scorer", "_PassthroughScorer _ThresholdScorer"),
    ],
)
def test_what_common_estimators_of_older_releases_hold_is_on_the_list(release, module, names):
    """Seen by asking skops about every estimator that fits with its defaults, in an environment with that release."""
    assert unlisted_types(f"{module}.{name}" for name in names.split()) == [], release


def test_a_partial_always_waits(matrix, labels):
    step = FunctionTransformer(functools.partial(np.clip, a_min=-1, a_max=1))
    model = make_pipeline(step, KNeighborsClassifier()).fit(matrix, labels)
    with pytest.raises(UnlistedTypes, match=r"functools\.partial"):
        saved(model)
    assert unlisted_types(["functools.partial"]) == ["functools.partial"]


def test_what_skops_cannot_save_and_what_answers_nothing_are_refused(matrix, labels):
    model = make_pipeline(FunctionTransformer(lambda rows: rows), KNeighborsClassifier()).fit(matrix, labels)
    with pytest.raises(CompileError, match="lambda"):
        native_bundle(model, why="a reason", sample=matrix)
    with pytest.raises(CompileError, match="constant output"):
        native_bundle(KNeighborsClassifier(ROWS).fit(matrix, labels), why="a reason", sample=matrix)


def test_what_answers_otherwise_once_it_is_read_back_is_refused(matrix, labels, monkeypatch):
    model = KNeighborsClassifier().fit(matrix, labels)
    other = KNeighborsClassifier().fit(-matrix, labels)
    monkeypatch.setattr(native, "saved", lambda _model, accepted: saved(other, accepted))
    with pytest.raises(ParityFailed, match="saved and read back, it answers differently: parity failed") as failed:
        native_bundle(model, why="a reason", sample=matrix)
    assert failed.value.worst[0]["difference"] > 0.1


def test_a_file_that_is_none_is_refused_by_every_runtime(bundle):
    files = {"skops": "model.skops", "xgboost": "model.ubj", "lightgbm": "model.txt", "catboost": "model.cbm"}
    for runtime, file in files.items():
        native = msgspec.structs.replace(bundle.manifest.native, kind="classifier")
        manifest = msgspec.structs.replace(bundle.manifest, runtime=runtime, requires={}, native=native)
        with pytest.raises(BundleError, match="cannot load"):
            runtime_class(runtime).load(make_bundle(manifest, {file: b"nonsense"}))


def test_a_manifest_that_takes_or_gives_other_tensors_than_its_signature_is_no_bundle(bundle):
    native = bundle.manifest.native
    for stated, reason in (
        (msgspec.structs.replace(native, answers=native.answers[:1]), "other outputs"),
        (msgspec.structs.replace(native, columns=(Column("age", "FP64"),)), "other inputs"),
    ):
        with pytest.raises(BundleError, match=reason):
            make_bundle(msgspec.structs.replace(bundle.manifest, native=stated), bundle.files)


TASK = Task(0, None, None, 1e-5, "", 60, 1)


def outcome(model, sample):
    rows = pd.DataFrame(sample, columns=["a", "b", "c"])
    return child._compiled_or_native(TASK, Opened(model), rows, None, {"sha256": ""})


def test_what_fails_the_parity_gate_runs_unchanged_and_its_worst_rows_are_kept(matrix, labels, monkeypatch):
    def fails(*_, **__):
        raise ParityFailed("parity failed on 2 of 80 rows.", [{"row": 1, "inputs": {}}])

    monkeypatch.setattr(compiler, "compile_model", fails)
    done = outcome(RandomForestClassifier(3).fit(matrix, labels), matrix)
    stated = json.loads(done.manifest)["compile"]
    assert (stated["state"], stated["rejected"], stated["why"]) == (
        "native",
        "parity",
        "parity failed on 2 of 80 rows.",
    )
    assert done.worst == [{"row": 1, "inputs": {}}]
    with pytest.raises(ParityFailed, match=r"2 of 80 rows\. Nor can it run unchanged: it holds types") as caught:
        outcome(make_pipeline(Shout(), KNeighborsClassifier()).fit(matrix, labels), matrix)
    assert caught.value.worst == ({"row": 1, "inputs": {}},)


def test_what_is_slower_compiled_runs_unchanged_and_compiled_where_it_cannot(matrix, labels, monkeypatch):
    def is_slow(*_, **__):
        raise SlowerCompiled("compiled, it answers a row in 900 µs.", "the graph")

    monkeypatch.setattr(compiler, "compile_model", is_slow)
    monkeypatch.setattr(child, "Success", lambda **fields: fields)
    stated = json.loads(outcome(KNeighborsClassifier().fit(matrix, labels), matrix)["manifest"])["compile"]
    assert (stated["rejected"], stated["why"]) == ("speed", child.SLOWER)
    with pytest.raises(AttributeError, match="'str' object has no attribute 'bundle'"):
        outcome(make_pipeline(Shout(), KNeighborsClassifier()).fit(matrix, labels), matrix)


def test_what_is_wrong_with_the_object_itself_is_said_once(matrix):
    with pytest.raises(CompileError) as caught:
        outcome(KNeighborsClassifier(), matrix)
    assert caught.value.message == "this KNeighborsClassifier is not fitted: call fit before pushing it."


@pytest.mark.filterwarnings(
    "ignore:The 'float_precision' argument is deprecated"
)  # of pandas 3.1; the rows are the same
@pytest.mark.parametrize("requirements", [b"", b"numpy==2.1.3\n"])
@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ({"label_column": "c"}, r"the label .* is no class of the model; it knows no, yes\. Is it the right column\?"),
        ({"tolerance": 1.0}, "tolerance 1 is outside what is allowed: above 0, at most 0.001"),
    ],
)
@pytest.mark.parametrize("kind", [KNeighborsClassifier, LogisticRegression])
def test_a_mistake_in_an_option_refuses_the_model_whatever_it_is(
    *, kind, mistake, said, requirements, matrix, labels, tmp_path
):
    """Registered to run unchanged, a first version would be champion without the proof that was asked for."""
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(kind().fit(matrix[:, :2], labels)))
    rows = pd.DataFrame(matrix, columns=["a", "b", "c"])
    (rows if "label_column" in mistake else rows[["a", "b"]]).to_csv(tmp_path / "rows.csv", index=False)
    files = [os.open(tmp_path / name, os.O_RDONLY) for name in ("model.pkl", "rows.csv")]
    task = Task(*files, **{"label_column": None, "tolerance": 1e-5, **mistake}, sha256="", seconds=60, least_level=1)
    answer = child.answer_to(msgspec.structs.replace(task, requirements=requirements))
    assert isinstance(answer, Failure)
    assert re.match(said, answer.message)


LACKING = b"\x80\x02csklearn.ensemble._gb_losses\nBinomialDeviance\n)R."


@pytest.mark.parametrize("lacks", [True, False])
def test_a_file_of_another_version_than_its_requirements_name_is_told_so(
    *, lacks, matrix, labels, tmp_path, monkeypatch
):
    model = LogisticRegression().fit(matrix, labels)
    del model.l1_ratio  # a parameter that the other release does not have
    with monkeypatch.context() as other:
        other.setattr(sklearn.base, "__version__", "1.2.7")
        (tmp_path / "model.pkl").write_bytes(LACKING if lacks else pickle.dumps(model))
    file = os.open(tmp_path / "model.pkl", os.O_RDONLY)
    answer = child.answer_to(
        msgspec.structs.replace(TASK, model_descriptor=file, requirements=b"scikit-learn==1.5.2\n")
    )
    assert isinstance(answer, Failure)
    assert answer.message.endswith(child.DISAGREE)
    fact = (
        "'BinomialDeviance', which scikit-learn"
        if lacks
        else "trained with scikit-learn 1.2.7, and in its environment is"
    )
    assert fact in answer.message


def test_a_tolerance_that_is_not_allowed_refuses_a_graph_that_was_given():
    with pytest.raises(CompileError, match="tolerance 1 is outside what is allowed"):
        bundle_given_graph(b"", tolerance=1.0)


def test_an_isotonic_regression_runs_unchanged():
    x = np.arange(30.0)
    model = IsotonicRegression(out_of_bounds="clip").fit(x, x**2)
    made = native_bundle(model, why="a reason", sample=x.reshape(-1, 1))
    assert given_by(made.bundle, {"X": x.reshape(-1, 1)})["prediction"].tolist() == model.predict(x).tolist()
