"""Several classes: what scikit-learn says of the rows, from counts; what is expected before labels; what is bet."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics

from tests.living.tables import table_of_rows
from trivet.control.monitoring.classes import (
    CLASS_MEASURES,
    cells_of_classes,
    class_values,
    estimated_classes,
    realised_classes,
)
from trivet.control.monitoring.estimates import Estimate
from trivet.control.monitoring.performance import NoFigure
from trivet.control.monitoring.trust import ALPHA, BothSides, Side, Trust, Verdict
from trivet.core.calibration import Calibration, fit_isotonic

NAMES = "abc"


def several(rows, seed, sharpness=1.0):
    """Return the scores (rows, 3) of a model whose log-odds are `sharpness` times what they should be, and the classes."""
    random = np.random.default_rng(seed)
    log_odds = random.normal(0, 1.5, (rows, 3))
    truth = np.exp(log_odds) / np.exp(log_odds).sum(1, keepdims=True)
    scores = np.exp(sharpness * log_odds) / np.exp(sharpness * log_odds).sum(1, keepdims=True)
    return scores, (truth.cumsum(1) > random.random((rows, 1))).argmax(1)


def tables_of(scores, classes):
    edges = np.unique(np.quantile(scores, np.arange(1, 256) / 256))
    return {
        name: table_of_rows(edges, scores[:, place], scores.argmax(1) == place, classes == place)
        for place, name in enumerate(NAMES)
    }


def windows_of(tables):
    return {name: (table.counts, table.score_sums) for name, table in tables.items()}


def matrix_of(truths, predictions, classes):
    """Return the confusion by prediction, then truth, with a place for all others."""
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(matrix, (predictions, truths), 1)
    return matrix


# What was


def test_figures_of_classes_are_those_of_scikit_learn():
    scores, truths = several(4_000, seed=6)
    predictions = scores.argmax(1)
    tables = tables_of(scores, truths)
    figures = realised_classes(matrix_of(truths, predictions, 3), NAMES, tables)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truths, predictions, average="macro")
    assert figures.accuracy.value == pytest.approx(metrics.accuracy_score(truths, predictions))
    for name, expected in {"precision": precision, "recall": recall, "f1": f1}.items():
        assert figures.macro[name].value == pytest.approx(expected)
        assert figures.macro[name].low < expected < figures.macro[name].high
    assert figures.by_class["c"]["f1"].value == pytest.approx(metrics.f1_score(truths, predictions, average=None)[2])
    areas = [metrics.roc_auc_score(truths == place, scores[:, place]) for place in range(3)]
    assert figures.by_class["b"]["auc"].value == pytest.approx(areas[1], abs=figures.by_class["b"]["auc"].binning)
    assert figures.macro["auc"].value == pytest.approx(
        metrics.roc_auc_score(truths, scores, multi_class="ovr"), abs=figures.macro["auc"].binning
    )
    assert figures.macro["auc"].binning < 5e-3
    values = class_values(matrix_of(truths, predictions, 3), tables)
    assert values == pytest.approx(
        {"accuracy": figures.accuracy.value, **{f"macro_{name}": of.value for name, of in figures.macro.items()}}
    )


def test_intervals_of_the_means_cover_what_they_should():
    """Of 200 samples 95 % cover the truth, which a large sample says; fewer than 89 % would be once in a thousand."""
    scores, truths = several(200 * 300, seed=7)
    predictions = scores.argmax(1)
    truth = realised_classes(matrix_of(truths, predictions, 3), NAMES, tables_of(scores, truths)).macro
    covered = dict.fromkeys(truth, 0)
    for rows in np.array_split(np.arange(len(truths)), 200):
        some = realised_classes(
            matrix_of(truths[rows], predictions[rows], 3), NAMES, tables_of(scores[rows], truths[rows])
        )
        for name, figure in some.macro.items():
            covered[name] += figure.low <= truth[name].value <= figure.high
    assert min(covered.values()) >= 178, covered


def test_a_class_that_never_was_has_no_figures_and_does_not_count():
    matrix = np.array([[150, 50, 0, 0], [50, 150, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    figures = realised_classes(matrix, NAMES, {})
    assert figures.by_class["c"]["recall"] == NoFigure("none of 400 labels is of this class")
    assert {name: figures.macro[name].value for name in ("precision", "recall", "f1")} == pytest.approx(
        {"precision": 0.75, "recall": 0.75, "f1": 0.75}
    )
    assert figures.macro["auc"] == NoFigure("no class has a score")
    assert {str(of) for of in realised_classes(np.zeros((3, 3)), "ab", {}).macro.values()} == {
        "not yet: 0 of 200 labels"
    }
    with pytest.raises(ValueError, match="2 classes have a matrix"):
        realised_classes(np.zeros((2, 2)), "ab", {})


def test_what_turned_out_to_be_a_class_without_a_name_was_wrong():
    matrix = np.array([[90, 10, 50], [10, 90, 0], [0, 100, 0]])  # 50 of a rare class, 100 decided to be it
    figures = realised_classes(matrix, "ab", {})
    assert figures.accuracy.value == pytest.approx(180 / 250)
    assert figures.by_class["a"]["precision"].value == pytest.approx(90 / 150)
    assert figures.by_class["b"]["recall"].value == pytest.approx(90 / 200)
    assert class_values(matrix, {})["accuracy"] == pytest.approx(180 / 250)


# What is to be expected


@pytest.mark.parametrize("sharpness", [1.0, 2.0])
def test_several_classes_are_estimated_one_against_all_others(sharpness):
    scores, classes = several(20_000, seed=15, sharpness=sharpness)
    calibrations = {name: fit_isotonic(scores[:, place], classes == place) for place, name in enumerate(NAMES)}
    scores, classes = several(20_000, seed=16, sharpness=sharpness)
    predictions = scores.argmax(1)
    found = estimated_classes(windows_of(tables_of(scores, classes)), calibrations)
    assert isinstance(found.accuracy, Estimate)
    assert found.accuracy.rows == 20_000
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(classes, predictions), abs=0.01)
    assert found.macro["f1"].value == pytest.approx(metrics.f1_score(classes, predictions, average="macro"), abs=0.01)
    assert found.macro["auc"].value == pytest.approx(
        np.mean([metrics.roc_auc_score(classes == place, scores[:, place]) for place in range(3)]), abs=0.01
    )


def test_of_calibrated_scores_the_estimate_is_what_the_rows_say():
    """Each class by itself, directly from rows: E[TP] = Σ c over the rows decided to be it, E[FN] = Σ c over the others."""
    scores, classes = several(3_000, seed=17)
    found = estimated_classes(windows_of(tables_of(scores, classes)), {})
    decided = scores.argmax(1)[:, None] == np.arange(3)
    hits, rows, chances = (scores * decided).sum(0), decided.sum(0), scores.sum(0)
    assert found.accuracy.value == pytest.approx(scores.max(1).mean(), abs=1e-6)
    assert found.accuracy.sampling_error == pytest.approx(
        math.sqrt((scores.max(1) * (1 - scores.max(1))).sum()) / 3_000, rel=1e-3
    )
    for place, name in enumerate(NAMES):
        assert found.by_class[name]["precision"].value == pytest.approx(hits[place] / rows[place], abs=1e-6)
        assert found.by_class[name]["recall"].value == pytest.approx(hits[place] / chances[place], abs=1e-6)
    assert found.macro["f1"].value == pytest.approx(np.mean(2 * hits / (rows + chances)), abs=1e-6)


def test_the_sampling_error_of_a_mean_is_not_too_small():
    scores, _ = several(400, seed=18)
    estimate = estimated_classes(windows_of(tables_of(scores, scores.argmax(1))), {}).macro["f1"]
    random, seen = np.random.default_rng(19), []
    for _ in range(300):
        truths = (scores.cumsum(1) > random.random((400, 1))).argmax(1)
        seen.append(class_values(matrix_of(truths, scores.argmax(1), 3), {})["macro_f1"])
    assert np.mean(seen) == pytest.approx(estimate.value, abs=0.005)
    assert np.std(seen) * 0.9 <= estimate.sampling_error <= np.std(seen) * 2


def test_classes_that_are_expected_more_often_than_there_are_rows_are_scaled_to_them():
    windows = windows_of(tables_of(*several(3_000, seed=17)))
    twice = Calibration((0.0, 0.5, 1.0), (0.0, 1.0, 1.0))  # every class twice as likely as it is, as far as that goes
    scaled = estimated_classes(windows, dict.fromkeys(NAMES, twice)).accuracy.value
    plain = estimated_classes(windows, dict.fromkeys(NAMES, twice), is_complete=False).accuracy.value
    truth = estimated_classes(windows, {}).accuracy.value
    assert abs(scaled - truth) < abs(plain - truth)


def test_several_classes_say_what_they_cannot():
    few = estimated_classes(windows_of(tables_of(*several(50, seed=18))), {})
    assert str(few.accuracy) == "not yet: 50 of 200 rows"
    assert set(few.macro) == set(CLASS_MEASURES)
    margins = {"a": (np.full((2, 2), 100), np.full((2, 2), 500.0))}
    assert isinstance(estimated_classes(margins, {}).accuracy, NoFigure)


@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(1, 300))
@settings(deadline=None, max_examples=30)
def test_windows_of_two_days_add_up_to_that_of_both(seed, first, second):
    """What is expected of both is the mean of what is expected of each, by rows: counts add, and nothing else is kept."""
    scores, classes = several(first + second, seed)
    edges = np.arange(1, 64) / 64

    def of(rows):
        return {
            name: table_of_rows(edges, scores[rows, place], scores[rows].argmax(1) == place, classes[rows] == place)
            for place, name in enumerate(NAMES)
        }

    one, other, both = of(slice(first)), of(slice(first, None)), of(slice(None))
    summed = {name: one[name] + other[name] for name in NAMES}
    estimates = [estimated_classes(windows_of(tables), {}, need=1).accuracy for tables in (one, other, summed, both)]
    assert estimates[2].value == pytest.approx(estimates[3].value, abs=1e-9)
    assert estimates[2].value * (first + second) == pytest.approx(
        estimates[0].value * first + estimates[1].value * second, rel=1e-6
    )


# What is bet


def test_each_row_is_bet_on_once_and_by_what_was_expected_of_it():
    scores, classes = several(900, seed=22)
    tables = tables_of(scores, classes)
    gaps, counts = cells_of_classes(tables, windows_of(tables), {}, is_complete=True)
    now = Trust().update(gaps, counts)
    assert now.labels == 900
    expected = estimated_classes(windows_of(tables), {}).accuracy.value
    assert (gaps * counts).sum() / 900 == pytest.approx(expected - (scores.argmax(1) == classes).mean(), abs=1e-9)
    assert now.standing(1 / ALPHA) is Verdict.TRUSTED


def test_where_scores_mean_something_else_the_estimate_is_not_trusted():
    now = Trust()
    for seed in range(23, 29):  # days on which the model is surer than it should be
        tables = tables_of(*several(500, seed, sharpness=3.0))
        now = now.update(*cells_of_classes(tables, windows_of(tables), {}, is_complete=True))
    assert now.standing(1 / ALPHA) is Verdict.NOT_TRUSTED


@pytest.mark.parametrize(("sharpness", "side"), [(3.0, Side.MORE), (0.3, Side.FEWER)])
def test_where_scores_are_surer_than_they_should_be_more_are_wrong_and_where_they_are_less_sure_fewer(sharpness, side):
    both = BothSides(Trust(), Trust())
    for seed in range(30, 38):
        tables = tables_of(*several(500, seed, sharpness=sharpness))
        both = both.faded(0.7).update(*cells_of_classes(tables, windows_of(tables), {}, is_complete=True))
    assert both.side(90) is side
