"""Kinds of model besides classifiers and regressors: outlier detectors, cluster models, several targets, labels alone."""

import numpy as np
import pytest
from sklearn.cluster import DBSCAN, Birch, KMeans, MeanShift
from sklearn.ensemble import IsolationForest, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.mixture import GaussianMixture
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from trivet.core.errors import CompileError, ParityFailed
from trivet.model.bundle.sample import decode_sample
from trivet.model.compile import proving
from trivet.model.compile.columns import matrix
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.converters.answers import Answer
from trivet.model.compile.original import LABEL, as_answers
from trivet.model.compile.preparing import prepare
from trivet.model.compile.signature import outputs_of
from trivet.model.runtimes.onnx import OnnxRuntime

ROWS = 120
X = np.random.default_rng(11).normal(size=(ROWS, 3))
WORDS = np.where(X[:, 0] > 0, "high", np.where(X[:, 1] > 0, "mid", "low"))
TWO = np.column_stack([WORDS, np.where(X[:, 2] > 0, "yes", "no")])
FLAGS = (X > 0).astype(int)


def scaled(model):
    return make_pipeline(StandardScaler(), model)


def described(model, y=None):
    given = prepare(model.fit(X, y) if y is not None else model.fit(X), sample=X)
    outputs = outputs_of(given.original, given.first)
    return given.original.task, [(o.name, o.datatype, o.shape, o.classes) for o in outputs]


def test_an_outlier_detector_has_a_label_and_a_score():
    expected = ("outlier", [("label", "INT64", (-1,), ("-1", "1")), ("scores", "FP64", (-1,), None)])
    assert described(IsolationForest(n_estimators=5, random_state=0)) == expected
    assert described(scaled(LocalOutlierFactor(novelty=True))) == expected


def test_a_cluster_model_has_a_label_and_what_it_is_based_on():
    names = ("0", "1")
    label = ("label", "INT64", (-1,), names)
    assert described(scaled(KMeans(2, n_init=1))) == (
        "cluster",
        [label, ("distances", "FP64", (-1, 2), names)],
    )
    assert described(GaussianMixture(2)) == ("cluster", [label, ("probabilities", "FP64", (-1, 2), names)])
    for without in (Birch(n_clusters=2), MeanShift(bandwidth=1.0)):
        assert described(without) == ("cluster", [("label", "INT64", (-1,), None)])


def test_several_targets_have_an_output_each():
    assert described(LinearRegression(), X[:, :2])[1] == [
        ("prediction_0", "FP64", (-1,), None),
        ("prediction_1", "FP64", (-1,), None),
    ]
    three, two = ("high", "low", "mid"), ("no", "yes")
    for model in (RandomForestClassifier(3, random_state=0), MultiOutputClassifier(LogisticRegression())):
        assert described(scaled(model), TWO) == (
            "classification",
            [
                ("label_0", "BYTES", (-1,), three),
                ("probabilities_0", "FP64", (-1, 3), three),
                ("label_1", "BYTES", (-1,), two),
                ("probabilities_1", "FP64", (-1, 2), two),
            ],
        )


@pytest.mark.parametrize(
    ("model", "numbers", "width"),
    [
        (MLPClassifier((4,), max_iter=20, random_state=0), "probabilities", 2),
        (ClassifierChain(LogisticRegression(), order=[2, 0, 1]), "probabilities", 2),
        (RidgeClassifier(), "scores", 1),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else "",
)
@pytest.mark.filterwarnings("ignore")
def test_labels_that_are_set_or_not_have_two_classes_each(model, numbers, width):
    _, outputs = described(model, FLAGS)
    assert [o[0] for o in outputs] == [f"{what}_{i}" for i in range(3) for what in ("label", numbers)]
    assert {o[2:] for o in outputs if o[0].startswith("label")} == {((-1,), ("0", "1"))}
    assert {o[2] for o in outputs if o[0].startswith(numbers)} == {(-1, width)}


def test_a_classifier_without_scores_has_a_label_alone():
    hard = VotingClassifier([("a", LogisticRegression()), ("b", LinearSVC())], voting="hard")
    assert described(hard, WORDS) == ("classification", [("label", "BYTES", (-1,), ("high", "low", "mid"))])
    several = MultiOutputClassifier(LinearSVC())
    assert [o[0] for o in described(several, TWO)[1]] == ["label_0", "label_1"]


def test_scores_of_pairs_of_classes_bear_no_class_names():
    four = np.arange(ROWS) % 4
    _, (label, scores) = described(SVC(decision_function_shape="ovo"), four)
    assert label[3] == ("0", "1", "2", "3")
    assert scores == ("scores", "FP64", (-1, 6), None)


def tensors_of(targets, answers):
    """Return `answers` as the output tensors of a signature: the other way round."""
    tensors = {}
    for place, target in enumerate(targets):
        if target.labels is not None and answers.labels is not None:
            column = answers.labels if answers.labels.ndim == 1 else answers.labels[:, place]
            tensors[LABEL + target.suffix] = column.astype(target.labels.dtype)
        if target.numbers is not None:
            values = answers.values[:, target.columns]
            tensors[target.numbers + target.suffix] = values.reshape(-1) if target.is_flat else values
    return tensors


@pytest.mark.parametrize(
    ("model", "y"),
    [
        (IsolationForest(n_estimators=5, random_state=0), None),
        (KMeans(3, n_init=1, random_state=0), None),
        (LinearRegression(), X[:, :2]),
        (RandomForestClassifier(3, random_state=0), TWO),
        (MultiOutputClassifier(LinearSVC()), TWO),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else "",
)
def test_answers_become_tensors_and_come_back(model, y):
    given = prepare(model.fit(X, y), sample=X)
    tensors = tensors_of(given.targets, given.first)
    outputs = outputs_of(given.original, given.first)
    assert list(tensors) == [o.name for o in outputs]
    assert [t.shape[1:] for t in tensors.values()] == [o.shape[1:] for o in outputs]
    back = as_answers(given.targets, tensors, len(given.first.values))
    assert np.array_equal(back.values, given.first.values)
    assert back.widths == given.first.widths
    assert back.labels is given.first.labels is None or np.array_equal(back.labels, given.first.labels)


def test_predictions_of_several_targets_compile_and_replay():
    compiled = compile_model(LinearRegression().fit(X, X[:, :2] * [1.0, 1000.0]), sample=X)
    assert compiled.parity.largest <= 1e-9
    inputs, answers = decode_sample(compiled.signature, compiled.bundle.files["sample.jsonl"])
    again = OnnxRuntime.load(compiled.bundle).run(inputs, ["prediction_1"])
    assert np.array_equal(again[0], answers["prediction_1"])
    assert again[0].shape == (ROWS,)


def centres(graph, model, table, *, spoiled=0.0):
    """Distances to the centres of KMeans, as a converter would give them."""
    block = matrix(graph, table)
    rows = graph.add("Unsqueeze", block.tensor, graph.constant([1], np.int64))
    apart = graph.add("Sub", rows, graph.constant(model.cluster_centers_[None] + spoiled))
    squares = graph.add("ReduceSum", graph.add("Mul", apart, apart), graph.constant([2], np.int64), keepdims=0)
    distances = graph.add("Sqrt", squares)
    return Answer(distances=distances, label=graph.add("ArgMin", distances, axis=1, keepdims=0))


def test_clusters_compile_with_their_distances(monkeypatch):
    model = KMeans(3, n_init=1, random_state=0).fit(X)
    monkeypatch.setattr(proving, "emit", centres)
    compiled = compile_model(model, sample=X)
    label, distances = OnnxRuntime.load(compiled.bundle).run({"X": X}, ["label", "distances"])
    assert np.array_equal(label, model.predict(X))
    assert np.abs(distances - model.transform(X)).max() < 1e-6
    monkeypatch.setattr(proving, "emit", lambda *given: centres(*given, spoiled=1e-3))
    with pytest.raises(ParityFailed):
        compile_model(model, sample=X)


def test_one_wrong_decision_of_one_target_fails_the_gate(monkeypatch):
    model = MultiOutputClassifier(LogisticRegression()).fit(X, TWO)
    real = proving.emit

    def each(graph, estimator, table):
        return Answer(targets=tuple(real(graph, member, table) for member in estimator.estimators_))

    monkeypatch.setattr(proving, "emit", each)
    assert compile_model(model, sample=X).parity.labels_differ == 0

    def wrong(graph, estimator, table):
        first, second = each(graph, estimator, table).targets
        always = graph.add("ArgMin", second.probabilities, axis=1, keepdims=0)
        label = graph.add("Gather", graph.constant(np.array(["no", "yes"], object)), always, axis=0)
        return Answer(targets=(first, Answer(probabilities=second.probabilities, label=label)))

    monkeypatch.setattr(proving, "emit", wrong)
    with pytest.raises(ParityFailed, match="became"):
        compile_model(model, sample=X)


def test_what_only_labels_its_own_rows_is_refused_with_a_way_out():
    with pytest.raises(CompileError, match="no predict for new ones"):
        compile_model(DBSCAN().fit(X), sample=X)
    with pytest.raises(CompileError, match="novelty=True"):
        compile_model(LocalOutlierFactor().fit(X), sample=X)
