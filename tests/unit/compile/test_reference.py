"""The reference in a bundle: all rows of the sample, answered by what is shipped, with what turned out true of them."""

import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from trivet.core.errors import CompileError
from trivet.core.profile.bins import CategoryBins
from trivet.core.profile.checking import check_reference
from trivet.core.profile.labels import confusion
from trivet.core.profile.reference import REFERENCE_NAME
from trivet.model.compile import importance, reference as making
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.given_graph import bundle_given_graph
from trivet.model.compile.native import native_bundle
from trivet.model.compile.preparing import prepare
from trivet.model.compile.reference import LEAST_ROWS, reference_files
from trivet.model.compile.shipped import Shipped
from trivet.model.runtimes.onnx import OnnxRuntime

ROWS = 3_000  # in twenty pieces


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(18, 80, ROWS), "income": np.arange(ROWS) + rng.normal(size=ROWS)})
    return frame, np.where(frame["age"] + rng.normal(scale=9, size=ROWS) > 45, "yes", "no")


@pytest.fixture(scope="module")
def model(people):
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*people)


@pytest.fixture(scope="module")
def compiled(model, people):
    frame, truth = people
    return compile_model(model, sample=frame, labels=truth)


@pytest.fixture
def made(model, compiled):
    """Make the reference of other rows, by the graph that there is."""

    def make(sample, labels=None, uncounted=(), **options):
        given = prepare(model, sample=sample, labels=labels, **options)
        runtime = OnnxRuntime.load(compiled.bundle)
        shipped = Shipped(runtime, compiled.signature, given.layout, given.targets, given.layout.feed)
        data = reference_files(given, shipped, uncounted=uncounted).get(REFERENCE_NAME)
        return None if data is None else check_reference(data, compiled.signature, uncounted)

    return make


def reference_of(compiled):
    return check_reference(compiled.bundle.files[REFERENCE_NAME], compiled.signature)


def test_every_row_of_the_sample_is_counted_in_its_order(compiled, model, people):
    frame, _ = people
    reference = reference_of(compiled)

    assert (reference.whole.rows, reference.source, reference.labels.labels) == (ROWS, "sample", ROWS)
    income = reference.features[1]
    found = [reference.layout.feature(chunk, income).bins for chunk in reference.chunks]
    middles = [np.average(np.arange(len(bins)), weights=bins) for bins in found]
    assert middles == sorted(middles)  # incomes rise from the first row to the last
    predicted = reference.layout.decisions(reference.whole).bins
    expected = dict(zip(*np.unique(model.predict(frame), return_counts=True), strict=True))
    assert dict(zip(reference.decisions.common, predicted[:2].tolist(), strict=True)) == expected


def test_labels_that_are_known_go_along(made, model, people):
    frame, truth = people
    labels = pd.Series(truth, dtype=object)
    labels[::3] = None
    labels[1::3] = [np.nan] * 500 + ["maybe"] * 500
    reference = made(frame, labels)

    assert reference.labels.labels == 1_500
    met = confusion(reference, reference.labels)
    assert np.trace(met[:2, :2]) == (model.predict(frame)[2::3] == truth[2::3]).sum()
    assert met[:, -2].sum() == 500  # what is no class is counted as none
    assert reference.line().endswith("labels of 1,500 rows, but 500 of them are none of its classes")
    assert sum(table.labels for table in reference.chunk_labels) == 1_500
    assert made(frame, [None] * ROWS).labels is None


def test_labels_that_are_not_one_a_row_or_no_classes_at_all_are_a_mistake(made, people):
    frame, truth = people
    with pytest.raises(CompileError, match="2999 labels for 3000 rows of the sample: give one for each"):
        made(frame, truth[1:])
    with pytest.raises(CompileError, match="the label 18 is no class of the model; it knows no, yes"):
        made(frame.sort_values("age"), np.sort(frame["age"]))


def test_a_bare_yes_or_no_is_no_label_where_neither_class_is_called_so(people):
    frame, truth = people
    words = np.where(truth == "yes", "gone", "stayed")
    numbers = frame.to_numpy(np.float32)
    tree = DecisionTreeClassifier(max_depth=4).fit(numbers, words)
    graph = to_onnx(tree, numbers[:1], options={"zipmap": False}, target_opset=21).SerializeToString()
    for labels in (words == "gone", (words == "gone").astype(int)):
        with pytest.raises(
            CompileError,
            match=r"the label '(true|false|1|0)' of the sample may be either of two classes: write gone or stayed",
        ):
            compile_model(tree, sample=numbers, labels=labels)
        with pytest.raises(CompileError, match="may be either of two classes"):
            bundle_given_graph(graph, sample=frame, labels=labels)


def test_the_order_of_rows_is_of_the_digest_and_nothing_else_is(compiled, model, people):
    frame, truth = people
    assert compile_model(model, sample=frame, labels=truth).bundle.digest == compiled.bundle.digest
    places = np.arange(ROWS)
    places[[1, ROWS - 2]] = places[[ROWS - 2, 1]]
    moved = compile_model(model, sample=frame.iloc[places], labels=truth[places]).bundle
    assert moved.files["model.onnx"] == compiled.bundle.files["model.onnx"]
    assert moved.files[REFERENCE_NAME] != compiled.bundle.files[REFERENCE_NAME]


def test_of_very_many_rows_some_are_taken_evenly(made, people, monkeypatch):
    frame, truth = people
    monkeypatch.setattr(making, "MOST_CELLS", 1_000)
    reference = made(frame, truth)

    assert reference.whole.rows == reference.labels.labels == 500
    income = reference.features[1]
    assert (income.low, income.high) == (frame["income"].iloc[0], frame["income"].iloc[-1])


def test_rows_that_were_made_up_or_are_few_are_no_reference(made, people):
    frame, _ = people
    assert made(None) is None
    assert made(frame, is_synthetic=True) is None
    assert made(frame.head(LEAST_ROWS - 1)) is None
    assert made(frame.head(LEAST_ROWS)).whole.rows == LEAST_ROWS


@pytest.mark.parametrize("trouble", ["slow", "refused"])
def test_rows_that_cannot_be_answered_are_no_reference_and_refuse_nothing(trouble, made, people, monkeypatch):
    def refuses(shipped, rows):
        raise RuntimeError("not these")

    if trouble == "slow":
        monkeypatch.setattr(making, "MOST_SECONDS", -1.0)
    else:
        monkeypatch.setattr(Shipped, "outputs", refuses)
    assert made(people[0]) is None


def test_what_is_hidden_is_in_no_reference(made, people):
    frame, _ = people
    assert [bins.name for bins in made(frame, uncounted=("income",)).features] == ["age"]
    assert made(frame, uncounted=("income", "age")) is None


def test_what_runs_unchanged_has_one_too(people):
    frame, truth = people
    neighbours = KNeighborsClassifier(3).fit(frame, truth)
    reference = reference_of(native_bundle(neighbours, why="a reason", sample=frame, labels=truth))

    assert (reference.whole.rows, reference.labels.labels) == (ROWS, ROWS)
    assert np.trace(confusion(reference, reference.labels)[:2, :2]) == (neighbours.predict(frame) == truth).sum()


def test_a_regression_and_several_targets_have_one(people):
    frame, truth = people
    wage = frame["income"] * 2
    one = reference_of(compile_model(LinearRegression().fit(frame, wage), sample=frame, labels=wage))
    assert one.labels.errors[0][0] == ROWS
    assert "labels yes," in one.line()
    dear = [*wage[:-9], *["dear"] * 9]
    told = reference_of(compile_model(LinearRegression().fit(frame, wage), sample=frame, labels=dear)).line()
    assert "labels yes, but 9 of them are no number" in told
    both = np.column_stack([truth, truth])
    several = reference_of(compile_model(DecisionTreeClassifier().fit(frame, both), sample=frame, labels=both))
    assert np.trace(confusion(several, several.labels)[:2, :2]) == ROWS


def test_words_are_counted_by_name(people):
    frame, truth = people
    words = frame.assign(city=np.where(frame["age"] % 2, "Oslo", None))
    columns = ColumnTransformer([("words", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder="passthrough")
    trained = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(words, truth)
    reference = reference_of(compile_model(trained, sample=words))
    city = next(bins for bins in reference.features if isinstance(bins, CategoryBins))
    counted = reference.layout.feature(reference.whole, city)
    assert (city.common, counted.missing) == (("Oslo",), int((frame["age"] % 2 == 0).sum()))


def test_a_given_graph_has_one_of_its_rows(people):
    frame, truth = people
    numbers = frame.to_numpy(np.float32)
    tree = DecisionTreeClassifier(max_depth=4).fit(numbers, truth)
    graph = to_onnx(tree, numbers[:1], options={"zipmap": False}, target_opset=21).SerializeToString()
    reference = reference_of(bundle_given_graph(graph, sample=frame, labels=truth))

    assert (reference.whole.rows, reference.labels.labels) == (ROWS, ROWS)
    assert [bins.name for bins in reference.features] == ["age", "income"]
    assert REFERENCE_NAME not in bundle_given_graph(graph).bundle.files


def test_features_have_the_importance_that_answers_give_them(people):
    frame, truth = people
    rows = frame.assign(noise=np.random.default_rng(1).normal(size=ROWS), place=np.where(frame["age"] % 2, "a", "b"))
    numbers = ["age", "income", "noise"]
    columns = ColumnTransformer([("n", StandardScaler(), numbers), ("c", OneHotEncoder(), ["place"])])
    model = make_pipeline(columns, DecisionTreeClassifier(max_depth=4, random_state=0)).fit(rows, truth)
    reference = reference_of(compile_model(model, sample=rows, labels=truth))
    shares = reference.importance_of
    assert list(shares) == [bins.name for bins in reference.features]
    assert sum(reference.importance) == pytest.approx(1)
    assert shares["age"] > 0.8, "the truth is of the age alone"
    assert shares["noise"] < 0.1
    assert shares["place"] < 0.1


def test_of_a_matrix_the_importance_is_that_of_a_linear_model_with_its_coefficients():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(4000, 3))
    model = LinearRegression().fit(matrix, matrix @ [1.0, 3.0, 0.0])
    reference = reference_of(compile_model(model, sample=matrix))
    assert reference.importance == pytest.approx((0.25, 0.75, 0.0), abs=0.03)


def test_the_importance_of_a_column_does_not_hang_on_its_name_or_kind(people):
    frame, truth = people
    rows = frame.rename(columns={"age": "self"}).assign(place=np.where(frame["income"] % 2 > 1, "a", "b"))
    columns = ColumnTransformer([("n", StandardScaler(), ["self", "income"]), ("c", OneHotEncoder(), ["place"])])
    model = make_pipeline(columns, LogisticRegression()).fit(rows, truth)
    compiled, native = compile_model(model, sample=rows), native_bundle(model, why="a reason", sample=rows)
    shares = reference_of(compiled).importance_of
    assert shares["self"] > 0.8
    assert reference_of(native).importance_of == pytest.approx(shares, abs=1e-6)


def test_without_importance_all_features_count_the_same(made, people, monkeypatch):
    frame, _ = people
    monkeypatch.setattr(importance, "MOST_SECONDS", -1.0)
    reference = made(frame)
    assert reference.importance == ()
    assert reference.importance_of == {"age": 0.5, "income": 0.5}
