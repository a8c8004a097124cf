"""From what is stored to what can be measured: label tables and profiles of a version's own reference."""

import numpy as np
import pytest

from trivet.control.monitoring.classes import realised_classes
from trivet.control.monitoring.estimates import estimated
from trivet.control.monitoring.performance import realised
from trivet.control.monitoring.regression import RegressionSums, realised_regression
from trivet.control.monitoring.truths import classes_of, confusion, confusion_at, scores_of, truths_of
from trivet.core.profile.labels import empty_labels, fold_labels
from trivet.core.profile.layout import Answers
from trivet.core.profile.making import make_reference
from trivet.core.signature import Input, Output, Signature

INPUT = Input(name="x", datatype="FP64", shape=(-1, 1))
THRESHOLD = 0.4


def signature(*classes):
    return Signature(
        inputs=(INPUT,),
        outputs=(
            Output(name="label", datatype="BYTES", shape=(-1,), classes=classes),
            Output(name="probabilities", datatype="FP64", shape=(-1, len(classes)), classes=classes),
        ),
        task="classification",
        threshold=THRESHOLD if len(classes) == 2 else None,
    )


def late(rows, seed):
    """Return the answers of a model of two classes, and what turned out true."""
    random = np.random.default_rng(seed)
    chances = random.beta(1, 3, rows)
    words = np.where(chances >= THRESHOLD, "yes", "no").tolist()
    return Answers([chances], words), (random.random(rows) < chances).tolist()


@pytest.fixture(scope="module")
def reference():
    answers, _ = late(5_000, seed=1)
    chances = answers.scores[0]
    outputs = {"label": answers.decisions, "probabilities": np.stack([1 - chances, chances], axis=1).ravel().tolist()}
    return make_reference(signature("no", "yes"), {"x": [0.0] * 5_000}, outputs, 5_000)


def test_what_is_stored_is_measured_as_the_rows_would_be(reference):
    answers, labels = late(3_000, seed=2)
    profile, table = reference.fold({}, answers), fold_labels(reference, answers, labels)
    truths = truths_of(reference, table, profile)
    predicted, true = answers.scores[0] >= THRESHOLD, np.array(labels)
    assert confusion(truths)[:4] == (
        (predicted & true).sum(),
        (predicted & ~true).sum(),
        (~predicted & true).sum(),
        (~predicted & ~true).sum(),
    )
    brier = realised(truths, ["brier"])["brier"].value
    assert brier == pytest.approx(((answers.scores[0] - true) ** 2).mean(), abs=1e-4)


def test_the_own_threshold_is_exact_and_so_is_what_is_estimated_of_all_rows(reference):
    answers, labels = late(3_000, seed=3)
    profile, table = reference.fold({}, answers), fold_labels(reference, answers, labels)
    truths = truths_of(reference, table, profile)
    bins = reference.scores[0]
    assert confusion_at(truths, np.array(bins.edges), THRESHOLD, bins.unit)[:4] == confusion(truths)[:4]
    estimate = estimated(*scores_of(reference, profile), None, ["accuracy"])["accuracy"]
    chances = answers.scores[0]
    assert estimate.value == pytest.approx(np.where(chances >= THRESHOLD, chances, 1 - chances).mean(), abs=1e-9)
    assert estimate.rows == 3_000


def test_a_correction_moves_one_row_and_taking_it_back_leaves_no_trace(reference):
    answers, labels = late(300, seed=4)
    profile, table = reference.fold({}, answers), fold_labels(reference, answers, labels)
    first = Answers([answers.scores[0][:1]], answers.decisions[:1])
    was, became = (fold_labels(reference, first, [truth]) for truth in (labels[0], not labels[0]))
    corrected = truths_of(reference, table - was + became, profile)
    before = truths_of(reference, table, profile)
    assert np.abs(corrected.positives - before.positives).sum() == 1
    assert corrected.labels == before.labels == 300
    again = truths_of(reference, table - was + became - became + was, profile)
    assert again.positives.tobytes() == before.positives.tobytes()
    assert again.score_sums.tobytes() == before.score_sums.tobytes()


def test_labels_of_rows_that_no_profile_counted_have_the_score_of_their_bin(reference):
    answers, labels = late(400, seed=5)
    truths = truths_of(reference, fold_labels(reference, answers, labels), reference.empty)
    assert realised(truths, ["brier"])["brier"].value == pytest.approx(
        ((answers.scores[0] - np.array(labels)) ** 2).mean(), abs=0.01
    )


def test_before_the_first_label_nothing_is_claimed(reference):
    truths = truths_of(reference, empty_labels(reference), reference.empty)
    assert {str(figure) for figure in realised(truths).values()} == {"not yet: 0 of 200 labels"}


def test_several_classes_are_read_from_decisions_and_truths():
    random = np.random.default_rng(6)
    names = np.array(["a", "b", "c"])
    said, was = names[random.integers(0, 3, 600)], names[random.integers(0, 3, 600)]
    chances = (np.array([[name == word for name in names] for word in said]) * 0.8 + 0.2 / 3).ravel()
    reference = make_reference(
        signature("a", "b", "c"), {"x": [0.0] * 600}, {"label": said.tolist(), "probabilities": chances.tolist()}, 600
    )
    answers = Answers(
        [chances.reshape(600, 3)[:, names.tolist().index(s.name)] for s in reference.scores], said.tolist()
    )
    matrix, classes = classes_of(reference, fold_labels(reference, answers, was.tolist()))
    figures = realised_classes(matrix, classes, {})
    assert figures.accuracy.value == pytest.approx((said == was).mean())
    assert figures.by_class["b"]["recall"].value == pytest.approx((said == "b")[was == "b"].mean())
    assert figures.by_class["b"]["precision"].value == pytest.approx((was == "b")[said == "b"].mean())


def test_sums_of_a_regression_are_measured_in_its_own_unit():
    random = np.random.default_rng(7)
    numbers = random.normal(1_000, 300, 400)
    regression = Signature(
        inputs=(INPUT,), outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),), task="regression"
    )
    reference = make_reference(regression, {"x": [0.0] * 400}, {"prediction": numbers.tolist()}, 400)
    truths = numbers - random.normal(3, 10, 400)
    table = fold_labels(reference, Answers([numbers], [""] * 400), truths.tolist())
    figures = realised_regression([RegressionSums(*table.errors[0], reference.scores[0].unit)])
    assert figures["me"].value == pytest.approx((numbers - truths).mean(), abs=1e-4)
    assert figures["rmse"].value == pytest.approx(np.sqrt(((numbers - truths) ** 2).mean()), abs=1e-4)
    assert classes_of(reference, table)[1] == ()
