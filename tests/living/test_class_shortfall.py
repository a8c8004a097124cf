"""Estimates of several classes that are low: no more often without a change than the budget, and soon where there is one."""

from statistics import NormalDist

import numpy as np
import pytest

from tests.living.chance import most_of_poisson
from tests.living.test_shortfall import BUDGET, told
from tests.scale import scaled
from trivet.control.monitoring.measures import OF_CLASSES
from trivet.control.monitoring.tasks import task_of
from trivet.control.monitoring.usual import Usual
from trivet.core.profile.layout import Answers
from trivet.core.profile.making import MOST_CLASSES, make_reference
from trivet.core.profile.profile import Profile
from trivet.core.signature import Input, Output, Signature

THREE, RARE = (1, 1, 1), (25, 12, 8, 4, 1)  # how common classes are; of the last every fiftieth row is one
MANY = tuple(range(1, MOST_CLASSES + 6))  # more than have a place of their own
BLOCK, BLOCKS = 50, 400  # rows that are counted together, and dealt out into windows
WINDOWS = scaled(test=30, ci=60, full=120)


def people(random, rows, common, *, sharpness=1.0, harder=0.0):
    """Return scores (rows, classes) of a model whose log-odds are `sharpness` times what they should be, and the classes.

    `harder` draws log-odds together, as where inputs move to where classes are confused.
    """
    log_odds = random.normal(np.log(common), 1.5, (rows, len(common))) * (1 - harder)
    chances = softmax(log_odds)
    return softmax(sharpness * log_odds), (chances.cumsum(1) > random.random((rows, 1))).argmax(1)


def softmax(log_odds):
    odds = np.exp(log_odds - log_odds.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def reference_of(random, rows, common, *, sharpness=1.0):
    names = np.array([f"class {number:02}" for number in range(len(common))])
    scores, truths = people(random, rows, common, sharpness=sharpness)
    signature = Signature(
        inputs=(Input(name="x", datatype="FP64", shape=(-1, 1)),),
        outputs=(
            Output(name="label", datatype="BYTES", shape=(-1,), classes=tuple(names.tolist())),
            Output(name="probabilities", datatype="FP64", shape=(-1, len(names)), classes=tuple(names.tolist())),
        ),
        task="classification",
    )
    outputs = {"label": names[scores.argmax(1)].tolist(), "probabilities": scores.ravel()}
    return make_reference(signature, {"x": np.zeros(rows)}, outputs, rows, labels=names[truths].tolist())


def blocks_of(reference, common, **how):
    """Return what is counted of 400 blocks of 50 rows, the same rows each time."""
    scores, _ = people(np.random.default_rng(1), BLOCK * BLOCKS, common, **how)
    names = np.array(reference.classes)
    place_of = {name: place for place, name in enumerate(reference.classes)}
    places = [place_of[bins.name] for bins in reference.scores]
    return [
        reference.fold(
            {"x": np.zeros(BLOCK)}, Answers([part[:, place] for place in places], names[part.argmax(1)].tolist())
        )
        for part in scores.reshape(BLOCKS, BLOCK, len(common))
    ]


def estimates_of(random, task, blocks, rows, windows):
    """Return the estimates of `windows` of `rows` rows each, of blocks that chance takes."""
    found = []
    for _ in range(windows):
        some = [blocks[number] for number in random.integers(0, len(blocks), rows // BLOCK)]
        cells, sums = np.sum([one.cells for one in some], axis=0), np.sum([one.sums for one in some], axis=0)
        found.append(task.watched(Profile(rows, cells, sums)).value)
    return found


@pytest.mark.parametrize(
    ("common", "rows", "of_window", "sharpness"),
    [(THREE, 4_000, 500, 3.0), (RARE, 2_000, 200, 1.0), (RARE, 10_000, 500, 3.0), (MANY, 4_000, 500, 1.0)],
    ids=["three", "rare", "rare and too sure", "many"],
)
def test_versions_that_stay_as_they_were_raise_no_more_alarms_than_the_budget(common, rows, of_window, sharpness):
    """References differ by chance, too: of each seed another one.

    Beside the alarms that there were, those that are to be expected of as many windows as the budget has: two in a row are
    low by the square of the chance of one, which is read from how far estimates, as good as normal, lie from their limit.
    """
    seeds, alarms, expected = scaled(test=1, ci=6, full=40), 0, []
    for seed in range(seeds):
        random = np.random.default_rng([47, seed])
        reference = reference_of(random, rows, common, sharpness=sharpness)
        blocks = blocks_of(reference, common, sharpness=sharpness)
        for metric in OF_CLASSES:
            task = task_of(reference, metric)
            limit = Usual(task).limit(of_window)
            assert limit is not None
            estimates = estimates_of(random, task, blocks, of_window, WINDOWS)
            alarms += len(told(estimates, limit))
            expected.append(BUDGET * NormalDist(np.mean(estimates), np.std(estimates)).cdf(limit.at) ** 2)
    assert alarms <= most_of_poisson(len(expected) * WINDOWS / BUDGET)
    assert np.mean(expected) <= 1


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_what_is_watched_is_what_is_told_of_the_metric(metric):
    reference = reference_of(np.random.default_rng(46), 2_000, RARE)
    task = task_of(reference, metric)
    told_of = task.performance(reference.whole, []).estimated
    assert task.watched(reference.whole) == told_of[task.metric]
    assert len(told_of) == len(OF_CLASSES)


@pytest.mark.parametrize("common", [THREE, RARE], ids=["three", "rare"])
def test_a_version_that_is_asked_where_classes_are_confused_is_told_of_in_the_second_window(common):
    random = np.random.default_rng(48)
    reference = reference_of(random, 20_000, common)
    fine, hard = blocks_of(reference, common), blocks_of(reference, common, harder=0.5)
    scores, truths = people(np.random.default_rng(49), 20_000, common, harder=0.5)
    for metric in OF_CLASSES:
        task = task_of(reference, metric)
        limit = Usual(task).limit(500)
        low = estimates_of(random, task, hard, 500, 10)
        assert told([*estimates_of(random, task, fine, 500, 10), *low], limit) == [11], metric
        if metric == "accuracy":
            assert np.mean(low) == pytest.approx((scores.argmax(1) == truths).mean(), abs=0.02), "and it is that bad"


def test_bands_of_a_mean_over_classes_are_wider_where_a_class_is_rare():
    """In a piece of 200 rows a class of every fiftieth is decided once or twice, if at all: its precision is often 0 or 1."""

    def width(common):
        found = [Usual(task_of(reference_of(np.random.default_rng([50, seed]), 2_000, common))) for seed in range(4)]
        bands = [usual.bands(["macro_precision"], 200) for usual in found]
        return np.mean([of["macro_precision"].deviation / of["accuracy"].deviation for of in bands])

    assert width(THREE) == pytest.approx(1.0, abs=0.1)
    assert width(RARE) > 1.3
