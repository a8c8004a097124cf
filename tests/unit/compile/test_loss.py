"""The loss model in a bundle: learned at the push from labelled rows, proved like any graph, and never a reason to refuse one."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from tests.rents import LABELLED, compiled_rents, rents, trained

from trivet.core.errors import ParityFailed
from trivet.core.profile.checking import check_reference
from trivet.core.profile.losses import LEAST_LABELS, loss_inputs
from trivet.core.profile.reference import REFERENCE_NAME
from trivet.model.bundle.bundle import read_bundle, write_bundle
from trivet.model.bundle.loss import LOSS_NAME
from trivet.model.compile import loss as learning
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.given_graph import bundle_given_graph
from trivet.model.compile.native import native_bundle
from trivet.model.runtimes.loss import ROWS_AT_ONCE, LossModel
from trivet.model.runtimes.onnx import OnnxRuntime


def reference_of(bundle, uncounted=()):
    return check_reference(bundle.files[REFERENCE_NAME], bundle.signature, uncounted)


def compiled(rows=LEAST_LABELS, labels=None, uncounted=()):
    sample, costs = rents(rows, 2)
    return compile_model(
        trained(), sample=sample, labels=costs if labels is None else labels, uncounted=uncounted
    ).bundle


def columns_of(flats):
    return {name: flats[name].to_numpy(object if name == "district" else float) for name in flats}


def test_a_regression_with_labels_has_one_and_says_how_much_it_tells(tmp_path):
    bundle = compiled_rents().bundle
    reference = reference_of(bundle)
    assert reference.loss.rows == LABELLED
    assert 0.2 < reference.loss.explained < 0.4
    assert reference.whole.losses[0] == LABELLED
    assert reference.line() == (
        f"{LABELLED:,} rows, 3 features, labels yes, errors expected by {LABELLED:,} of them,"
        f" {reference.loss.explained:.0%} told by the inputs"
    )
    write_bundle(bundle, tmp_path / "bundle")
    assert read_bundle(tmp_path / "bundle", bundle.digest).files == bundle.files


def test_the_same_rows_give_the_same_one():
    bundle = compiled()
    assert bundle.files[LOSS_NAME] == compiled().files[LOSS_NAME]
    assert compiled(labels=rents(LEAST_LABELS, 2)[1] + 1).digest != bundle.digest


def test_fewer_labels_than_two_thousand_have_none_and_say_so():
    costs = rents(LEAST_LABELS, 2)[1].tolist()
    bundle = compiled(labels=[None, *costs[1:]])
    reference = reference_of(bundle)
    assert LOSS_NAME not in bundle.files
    assert (reference.loss, reference.no_loss, reference.whole.losses) == (None, "few", ())
    assert reference.line().endswith("no errors expected: a model of its errors takes 2,000 rows with labels")
    words = reference_of(compiled(labels=["cheap", *map(str, costs[1:])]))
    assert (words.no_loss, words.labels.labels) == ("few", LEAST_LABELS), "that are numbers"


def test_without_labels_nothing_is_said_of_it():
    sample, _ = rents(LEAST_LABELS, 2)
    bundle = compile_model(trained(), sample=sample).bundle
    assert LOSS_NAME not in bundle.files
    assert reference_of(bundle).line().endswith("labels no")


def failing(*_args, **_options):
    raise ParityFailed("it answers otherwise")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (("prove", failing), "failed"),
        (("MOST_SECONDS", 0.0), "slow"),
        (("MOST_LOSS_NODES", 3), "failed"),
        (("LOSS_OPERATORS", frozenset({"Add"})), "failed"),
    ],
    ids=["gate", "time", "size", "operators"],
)
def test_what_goes_wrong_with_it_fails_no_push(broken, why, monkeypatch):
    monkeypatch.setattr(learning, *broken)
    bundle = compiled()
    assert (reference_of(bundle).no_loss, LOSS_NAME in bundle.files) == (why, False)
    assert "no errors expected: " in reference_of(bundle).line()


@pytest.mark.parametrize("error", [0.0, 1e90], ids=["none", "beyond all numbers"])
def test_errors_that_nothing_can_be_learned_of_fail_no_push(error):
    sample, _ = rents(LEAST_LABELS, 2)
    bundle = compiled(labels=(answers_to(sample) + error).tolist())
    assert reference_of(bundle).no_loss == "failed"


def answers_to(sample):
    first = compile_model(trained(), sample=sample)
    tensors = {name: values.reshape(-1, 1) for name, values in columns_of(sample).items()}
    return OnnxRuntime.load(first.bundle).run(first.bundle.feed(tensors), ["prediction"])[0]


def test_its_graph_passes_the_gate_of_every_graph(monkeypatch):
    real = learning.prove

    def answering_otherwise(given, **options):
        predict = given.original.model.estimators_[1].predict
        given.original.model.estimators_[1].predict = lambda rows: predict(rows) * 1.01
        return real(given, **options)

    monkeypatch.setattr(learning, "prove", answering_otherwise)
    assert reference_of(compiled()).no_loss == "failed"


def test_a_hidden_input_is_not_needed_by_it():
    bundle = compiled(uncounted=["district"])
    reference = reference_of(bundle, ["district"])
    flats, _ = rents(50, 3)
    given = loss_inputs(reference.features, columns_of(flats.drop(columns="district")), np.zeros(50))
    assert given.shape == (50, 3)
    absolute, squared = LossModel.load(bundle.files[LOSS_NAME]).expect(given)
    assert (absolute > 0).all()
    assert (squared > 0).all()


def test_missing_unseen_and_infinite_inputs_are_expected_something_of():
    bundle = compiled_rents().bundle
    reference = reference_of(bundle)
    columns = {
        "area": np.array([math.nan, 70.0, 70.0, math.inf, -1e300]),
        "district": [None, "elsewhere", None, "docks", "north"],
        "floor": np.array([math.nan, 2.0, math.nan, 3.0, 1.0]),
    }
    given = loss_inputs(reference.features, columns, np.array([700.0] * 4 + [math.nan]))
    absolute, squared = LossModel.load(bundle.files[LOSS_NAME]).expect(given)
    assert np.isfinite([absolute, squared]).all()
    assert loss_inputs(reference.features, {"area": columns["area"]}, np.zeros(5)) is None


def test_as_many_rows_as_come_are_answered():
    model, reference = LossModel.load(compiled_rents().bundle.files[LOSS_NAME]), reference_of(compiled_rents().bundle)
    flats, costs = rents(2 * ROWS_AT_ONCE + 1, 3)
    given = loss_inputs(reference.features, columns_of(flats), costs)
    assert model.expect(given)[0][-1] == model.expect(given[-1:])[0][0]
    assert len(model.expect(given[:0])[0]) == 0


def test_what_runs_unchanged_and_a_given_graph_have_one_too():
    sample, costs = rents(LEAST_LABELS, 2)
    areas = sample[["area"]]
    neighbours = KNeighborsRegressor().fit(areas, costs)
    bundle = native_bundle(neighbours, why="a reason", sample=areas, labels=costs).bundle
    assert reference_of(bundle).loss.rows == LEAST_LABELS
    graph = compile_model(LinearRegression().fit(areas, costs), sample=areas).bundle.files["model.onnx"]
    given = bundle_given_graph(graph, sample=areas, labels=costs).bundle
    assert reference_of(given).loss.rows == LEAST_LABELS
    assert {*bundle.files, *given.files} >= {LOSS_NAME}
