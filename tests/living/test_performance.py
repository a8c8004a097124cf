"""How right a version was, from counts by score: against rows, against scikit-learn, against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics

from tests.living import car_loan
from tests.living.tables import of_chunk, reference_edges, sample, table_of_rows
from trivet.control.monitoring.performance import (
    MEASURES,
    NoFigure,
    area_interval,
    realised,
    reliability,
    wilson,
)
from trivet.control.monitoring.truths import Truths, confusion, confusion_at, cuts
from trivet.core import roc

ROWS = st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.booleans()), min_size=1, max_size=60)
EDGES = st.lists(st.integers(0, 30), max_size=12, unique=True).map(sorted)


def read(rows):
    """Return scores in 0 to 1 with steps of 1/32, predicted classes and labels of drawn rows."""
    scores, predicted, labels = np.array(rows, dtype=np.float64).T
    return scores / 32, predicted, labels


def rank_area(scores, labels):
    above, below = scores[labels == 1], scores[labels == 0]
    return np.mean(np.sign(above[:, None] - below[None, :]) / 2 + 0.5)


def by_score(table):
    return table.positives.sum(-1), table.negatives.sum(-1)


# The acceptance figures


REALISED = (0.970962, 0.970248, 0.976282, 0.967721, 0.969886, 0.960050, 0.958530, 0.959041, 0.963094, 0.957556)


@pytest.mark.parametrize("number", range(10))
def test_L03_realised_area_by_chunk(number):
    assert realised(of_chunk(number), ["auc"])["auc"].value == pytest.approx(REALISED[number], abs=1e-5)
    edges = reference_edges()
    assert len(edges) + 1 == 87  # the score takes about a hundred values
    binned = realised(of_chunk(number, edges), ["auc"])["auc"]
    assert binned.value == pytest.approx(REALISED[number], abs=1e-4)
    assert abs(binned.value - REALISED[number]) <= binned.binning


def test_L04_the_error_of_the_area_from_counts_and_from_rows():
    rows, labels = car_loan.chunk(car_loan.analysis(), 9), car_loan.chunk(car_loan.analysis_targets(), 9)["repaid"]
    scores = rows["y_pred_proba"]
    order = np.sign(scores[labels == 1][:, None] - scores[labels == 0][None, :]) / 2 + 0.5
    from_rows = math.sqrt(sum(order.mean(side).var(ddof=1) / order.shape[1 - side] for side in (0, 1)))
    assert from_rows == pytest.approx(0.00288022, abs=1e-6)
    assert float(roc.area_error(*by_score(of_chunk(9)))) == pytest.approx(from_rows, abs=1e-12)
    assert float(roc.area_error(*by_score(of_chunk(9, reference_edges())))) == pytest.approx(0.00288013, abs=1e-6)


@given(ROWS, EDGES)
@settings(deadline=None)
def test_L17_bins_never_move_the_area_by_more_than_the_bound(rows, edges):
    scores, predicted, labels = read(rows)
    table = table_of_rows(np.array(edges, dtype=np.float64) / 32, scores, predicted, labels)
    if 0 < labels.sum() < len(labels):
        bound = float(roc.area_binning_bound(*by_score(table)))
        assert abs(float(roc.area(*by_score(table))) - rank_area(scores, labels)) <= bound + 1e-12


@given(ROWS, EDGES)
@settings(deadline=None)
def test_bins_never_move_the_average_precision_by_more_than_its_bound(rows, edges):
    scores, predicted, labels = read(rows)
    table = table_of_rows(np.array(edges, dtype=np.float64) / 32, scores, predicted, labels)
    if labels.sum():
        exact = table_of_rows(np.unique(scores), scores, predicted, labels)
        moved = float(roc.average_precision(*by_score(table))) - float(roc.average_precision(*by_score(exact)))
        assert abs(moved) <= float(roc.average_precision_binning_bound(*by_score(table))) + 1e-12


def test_L17_with_512_bins_the_area_of_200_000_rows_is_as_exact_as_is_shown():
    edges, scores, predicted, labels = sample(200_000)
    figure = realised(table_of_rows(edges, scores, predicted, labels), ["auc"])["auc"]
    assert abs(figure.value - metrics.roc_auc_score(labels, scores)) <= 1e-4
    assert abs(figure.value - metrics.roc_auc_score(labels, scores)) <= figure.binning


# Laws


@given(ROWS)
@settings(deadline=None)
def test_where_each_score_has_a_bin_areas_are_those_of_ranks(rows):
    scores, predicted, labels = read(rows)
    table = table_of_rows(np.unique(scores), scores, predicted, labels)
    if 0 < labels.sum() < len(labels):
        assert float(roc.area(*by_score(table))) == pytest.approx(rank_area(scores, labels), abs=1e-12)
        assert float(roc.area(*by_score(table))) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
        theirs = metrics.average_precision_score(labels, scores)
        assert float(roc.average_precision(*by_score(table))) == pytest.approx(theirs, abs=1e-12)


@given(ROWS, EDGES, st.integers(0, 11))
@settings(deadline=None)
def test_the_confusion_at_an_edge_is_the_direct_count(rows, edges, which):
    scores, predicted, labels = read(rows)
    edges = np.array(edges, dtype=np.float64) / 32
    table = table_of_rows(edges, scores, predicted, labels)
    every = cuts(table)
    for place in range(len(edges) + 2):
        above = scores > edges[place - 1] if 0 < place <= len(edges) else np.full(len(scores), place == 0)
        if place <= len(edges) + 1 and place < len(every.recall):
            assert every.true_positives[place] == (above & (labels == 1)).sum()
            assert every.false_positives[place] == (above & (labels == 0)).sum()
            assert every.false_negatives[place] == (~above & (labels == 1)).sum()
            assert every.true_negatives[place] == (~above & (labels == 0)).sum()
    if which < len(edges):
        just_above = confusion_at(table, edges, float(np.nextafter(edges[which], 2)))
        assert just_above[:4] == tuple(
            part[which + 1]
            for part in (every.true_positives, every.false_positives, every.false_negatives, every.true_negatives)
        )


@given(ROWS, EDGES, st.floats(-0.5, 1.5))
@settings(deadline=None)
def test_at_any_other_threshold_the_rows_in_doubt_are_counted(rows, edges, threshold):
    scores, predicted, labels = read(rows)
    edges = np.array(edges, dtype=np.float64) / 32
    found = confusion_at(table_of_rows(edges, scores, predicted, labels), edges, threshold)
    above = scores >= threshold
    direct = [(above == side) & (labels == truth) for side, truth in ((1, 1), (1, 0), (0, 1), (0, 0))]
    assert sum(abs(mine - theirs.sum()) for mine, theirs in zip(found, direct, strict=False)) <= 2 * found.in_doubt
    assert found.labels == len(rows)


@given(ROWS, EDGES, st.integers(1, 31))
@settings(deadline=None)
def test_at_the_versions_own_threshold_nothing_is_misplaced_whatever_the_bins(rows, edges, step):
    scores, _, labels = read(rows)
    edges, threshold = np.array(edges, dtype=np.float64) / 32, step / 32
    table = table_of_rows(edges, scores, scores >= threshold, labels)
    assert confusion_at(table, edges, threshold)[:4] == confusion(table)[:4]


def test_where_scores_lie_on_edges_no_row_is_in_doubt():
    scores, labels = np.array([0.1, 0.2, 0.2, 0.3]), np.array([0, 1, 0, 1])
    table = table_of_rows(np.array([0.1, 0.2, 0.3]), scores, scores >= 0.3, labels)
    assert confusion_at(table, np.array([0.1, 0.2, 0.3]), 0.2) == (2, 1, 0, 1, 0)


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -math.inf])
def test_what_is_no_threshold_is_refused(threshold):
    with pytest.raises(ValueError, match="A threshold is a finite number"):
        confusion_at(Truths.empty(2), np.array([0.5]), threshold)


@given(ROWS, EDGES, st.floats(0, 1), st.booleans(), st.booleans())
@settings(deadline=None)
def test_a_label_that_is_added_and_taken_back_leaves_no_trace(rows, edges, score, predicted, label):
    edges = np.array(edges, dtype=np.float64) / 32
    before = table_of_rows(edges, *read(rows))
    one = table_of_rows(edges, np.array([score]), np.array([predicted]), np.array([label]))
    after = before + one - one
    for part in ("positives", "negatives", "score_sums"):
        assert getattr(after, part).tobytes() == getattr(before, part).tobytes()


@given(ROWS, EDGES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_table_does_not_depend_on_order_or_on_how_it_was_divided(rows, edges, random):
    edges = np.array(edges, dtype=np.float64) / 32
    whole = table_of_rows(edges, *read(rows))
    shuffled = random.sample(rows, len(rows))
    joined = Truths.empty(len(edges) + 1)
    for row in shuffled:
        joined += table_of_rows(edges, *read([row]))
    for part in ("positives", "negatives", "score_sums"):
        assert np.array_equal(getattr(joined, part), getattr(whole, part))


# Against scikit-learn


def test_figures_of_binned_scores_are_those_of_scikit_learn_within_what_bins_hide():
    edges, scores, predicted, labels = sample(20_000)
    figures = realised(table_of_rows(edges, scores, predicted, labels))
    exact = {
        "accuracy": metrics.accuracy_score,
        "precision": metrics.precision_score,
        "recall": metrics.recall_score,
        "f1": metrics.f1_score,
    }
    for name, score in exact.items():
        assert figures[name].value == pytest.approx(score(labels, predicted), abs=1e-12)
    assert figures["specificity"].value == pytest.approx(
        metrics.recall_score(labels, predicted, pos_label=0), abs=1e-12
    )
    # A bin of 512 is 0.002 of the rows; only the far tails are wider than 0.01 of the score.
    assert figures["auc"].value == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-5)
    precision = figures["average_precision"]
    assert precision.value == pytest.approx(metrics.average_precision_score(labels, scores), abs=precision.binning)
    assert precision.binning < 0.02
    assert figures["brier"].value == pytest.approx(metrics.brier_score_loss(labels, scores), abs=1e-4)
    assert figures["log_loss"].value == pytest.approx(metrics.log_loss(labels, scores), abs=1e-3)


def test_losses_are_exact_where_each_score_has_a_bin():
    scores, labels = np.array([0.0, 0.25, 0.25, 0.75, 1.0]), np.array([0, 0, 1, 1, 1])
    table = table_of_rows(np.unique(scores), scores, scores >= 0.5, labels)
    figures = realised(table, ["brier", "log_loss"], need=1)
    assert figures["brier"].value == pytest.approx(metrics.brier_score_loss(labels, scores), abs=1e-12)
    assert figures["log_loss"].value == pytest.approx(metrics.log_loss(labels, scores), abs=1e-8)


def test_what_was_called_impossible_and_happened_costs_much_and_not_everything():
    table = table_of_rows(np.array([0.5]), np.zeros(1), np.zeros(1), np.ones(1))
    assert realised(table, ["log_loss"], need=1)["log_loss"].value == pytest.approx(31 * math.log(2))


# Intervals


def test_intervals_cover_what_they_should():
    """Of 200 samples 95 % cover the truth, which a large sample says; fewer than 89 % would be once in a thousand."""
    names = ["auc", "accuracy", "f1", "brier"]
    edges, scores, predicted, labels = sample(400_000, seed=1, bins=32, threshold=0.3)
    truth = realised(table_of_rows(edges, scores, predicted, labels), names)
    covered = dict.fromkeys(names, 0)
    for rows in np.array_split(np.arange(200 * 400), 200):
        figures = realised(table_of_rows(edges, scores[rows], predicted[rows], labels[rows]), names)
        for name in names:
            covered[name] += figures[name].low <= truth[name].value <= figures[name].high
    assert min(covered.values()) >= 178, covered


def test_the_same_table_has_the_same_intervals():
    table = table_of_rows(*sample(1_000, bins=32))
    assert realised(table) == realised(table)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_those_of_newcombe(successes, trials, low, high):
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert wilson(successes, trials) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_a_perfect_sample_is_no_certainty():
    low, high = area_interval(np.array([0, 30]), np.array([200, 0]))
    assert 0.85 < low < 0.95
    assert high == 1
    assert area_interval(np.array([1, 0]), np.array([3, 3])) == (None, None)


# Too little, or nothing


def test_too_few_labels_say_how_many_and_are_never_0():
    figures = realised(table_of_rows(*sample(132, bins=16)))
    assert set(figures) == set(MEASURES)
    assert {str(figure) for figure in figures.values()} == {"not yet: 132 of 200 labels"}


def test_what_one_class_cannot_tell_is_told():
    scores = np.linspace(0.01, 0.99, 300)
    figures = realised(table_of_rows(np.array([0.3, 0.6]), scores, np.zeros(300), np.zeros(300)))
    assert figures["auc"] == NoFigure("all 300 labels are of one class")
    assert figures["average_precision"] == NoFigure("none of 300 labels is positive")
    assert figures["recall"] == NoFigure("none of 300 labels is positive")
    assert figures["precision"] == NoFigure("none of 300 rows was predicted positive")
    assert figures["f1"] == NoFigure("none of 300 rows is positive, in truth or as predicted")
    assert figures["accuracy"].value == figures["specificity"].value == 1
    assert figures["specificity"].low < 1


def test_an_empty_table_has_no_figure_at_all():
    assert {type(figure) for figure in realised(Truths.empty(4), need=0).values()} == {NoFigure}
    assert math.isnan(confusion(Truths.empty(4)).lift)
    assert reliability(Truths.empty(4)) == []


def test_what_is_no_table_is_refused():
    with pytest.raises(ValueError, match="three arrays of one shape"):
        Truths(np.zeros((3, 2)), np.zeros((3, 2)), np.zeros(3))


# Thresholds, costs and reliability


def test_lift_and_cost_are_read_at_any_threshold():
    scores = np.array([0.1, 0.4, 0.6, 0.9])
    table = table_of_rows(np.array([0.25, 0.5, 0.75]), scores, scores >= 0.5, np.array([0, 0, 1, 1]))
    at = confusion_at(table, np.array([0.25, 0.5, 0.75]), 0.5)
    assert (at.precision, at.recall, at.f1, at.lift, at.selection_rate) == (1, 1, 1, 2, 0.5)
    assert confusion(table).cost(1, 5) == 0
    assert cuts(table).cost(1, 5).tolist() == [0.5, 0.25, 0, 1.25, 2.5]
    assert cuts(table).precision.tolist()[:4] == [0.5, 2 / 3, 1, 1]
    assert math.isnan(cuts(table).precision[-1])


def test_reliability_says_what_scores_meant_with_its_interval():
    edges, scores, predicted, labels = sample(20_000)
    points = reliability(table_of_rows(edges, scores, predicted, labels))
    assert len(points) == 10
    assert sum(point.labels for point in points) == 20_000
    assert sum(point.low <= point.mean_score <= point.high for point in points) >= 8  # it is calibrated, at 95 % each
