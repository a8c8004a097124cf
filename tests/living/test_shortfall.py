"""Estimates that are low: no more often without a change than the budget allows, and soon enough where there is one."""

import numpy as np
import pytest

from tests.living.chance import most_of_poisson
from tests.scale import scaled
from trivet.control.monitoring.estimates import expected_labels
from trivet.control.monitoring.performance import MEASURES
from trivet.control.monitoring.shortfall import Shortfall
from trivet.control.monitoring.tasks import task_of
from trivet.control.monitoring.truths import scores_of
from trivet.control.monitoring.usual import Usual
from trivet.core.profile.layout import Answers
from trivet.core.profile.making import make_reference
from trivet.core.signature import Input, Output, Signature

SIGNATURE = Signature(
    inputs=(Input(name="x", datatype="FP64", shape=(-1, 1)),),
    outputs=(
        Output(name="label", datatype="BYTES", shape=(-1,), classes=("no", "yes")),
        Output(name="probabilities", datatype="FP64", shape=(-1, 2), classes=("no", "yes")),
    ),
    task="classification",
)
BUDGET = 2_160  # windows, of an hour: at most one false alarm in 90 days
POPULATION = 200_000


def people(random, rows, *, harder=0.0):
    """Return chances and what turned out true; `harder` draws chances towards a half."""
    chances = random.beta(0.8, 1.6, rows)
    chances += (0.5 - chances) * harder
    return chances, random.random(rows) < chances


def reference_of(random, rows, *, sharpness=1.0):
    """Return the reference of a version whose log-odds are `sharpness` times what they should be."""
    chances, truths = people(random, rows)
    scores = sharpened(chances, sharpness)
    outputs = {
        "label": np.where(scores >= 0.5, "yes", "no").tolist(),
        "probabilities": np.stack([1 - scores, scores], axis=1).ravel(),
    }
    return make_reference(
        SIGNATURE, {"x": np.zeros(rows)}, outputs, rows, labels=np.where(truths, "yes", "no").tolist()
    )


def sharpened(chances, sharpness):
    odds = (chances / (1 - chances)) ** sharpness
    return odds / (1 + odds)


def estimates_of(random, reference, metric, rows, windows, *, harder=0.0, sharpness=1.0):
    """Return the estimates of `windows` of `rows` rows each."""
    scores = sharpened(people(np.random.default_rng(1), POPULATION, harder=harder)[0], sharpness)
    words = np.where(scores >= 0.5, "yes", "no").tolist()
    counts, sums = scores_of(reference, reference.fold({"x": np.zeros(POPULATION)}, Answers([scores], words)))
    means = sums / np.maximum(counts, 1)
    drawn = random.multinomial(rows, (counts / counts.sum()).ravel(), windows).reshape(windows, *counts.shape)
    return MEASURES[metric].of(expected_labels(drawn, drawn * means, reference.calibration))


def told(estimates, limit, *, cycle=24, is_odd=True):
    """Return before which windows somebody was told, each time once."""
    now, is_open, times = Shortfall(), False, []
    for number, value in enumerate(estimates):
        now = now.after(is_low=limit.is_passed(value), is_odd=is_odd, is_under=False)
        if now.is_told(cycle) and not is_open:
            is_open = True
            times.append(number)
        is_open = is_open and not now.is_over
    return times


@pytest.mark.parametrize("metric", ["auc", "accuracy"])
@pytest.mark.parametrize(
    ("rows", "of_window", "sharpness"), [(20_000, 500, 1.0), (4_000, 500, 1.0), (2_000, 2_000, 1.0), (10_000, 500, 3.0)]
)
def test_versions_that_stay_as_they_were_raise_no_more_alarms_than_the_budget(metric, rows, of_window, sharpness):
    """References differ by chance, too: of each seed another one."""
    seeds, alarms = scaled(test=6, ci=30, full=120), 0
    for seed in range(seeds):
        random = np.random.default_rng([41, seed])
        reference = reference_of(random, rows, sharpness=sharpness)
        limit = Usual(task_of(reference, metric)).limit(of_window)
        assert limit is not None
        alarms += len(told(estimates_of(random, reference, metric, of_window, 720, sharpness=sharpness), limit))
    assert alarms <= most_of_poisson(seeds * 720 / BUDGET)


def test_fewer_pieces_than_ten_raise_no_alarm():
    """Their band is too narrow too often: by five, one version in two would have a false alarm in 90 days."""
    reference = reference_of(np.random.default_rng(42), 1_900)
    usual = Usual(task_of(reference, "auc"))
    assert 5 <= usual.band(500).chunks < 10
    assert usual.limit(500) is None


def test_a_band_of_pieces_that_are_larger_than_a_window_is_as_wide_as_one_of_pieces_like_it():
    random = np.random.default_rng(43)
    usual = Usual(task_of(reference_of(random, 40_000), "accuracy"))
    chances, truths = people(random, 500 * 400)
    realised = ((chances >= 0.5) == truths).reshape(400, 500).mean(axis=1)
    assert usual.band(500).deviation == pytest.approx(realised.std(), rel=0.2)
    assert usual.band(2_000).deviation == pytest.approx(realised.std() / 2, rel=0.4)


def test_a_version_that_is_asked_harder_rows_is_told_of_in_the_second_window():
    random = np.random.default_rng(44)
    reference = reference_of(random, 20_000)
    limit = Usual(task_of(reference, "auc")).limit(500)
    fine = estimates_of(random, reference, "auc", 500, 10)
    hard = estimates_of(random, reference, "auc", 500, 10, harder=0.5)
    assert told([*fine, *hard], limit) == [11]
    assert told([*fine, *hard, *hard, *hard], limit, is_odd=False) == [33], "a day, where the time of it may be why"


def test_nights_that_are_harder_are_no_harm():
    now = Shortfall()
    for hour in range(24 * 60):
        now = now.after(is_low=hour % 24 < 8, is_odd=False, is_under=False)
        assert not now.is_told(24)
        assert not now.is_over


def test_what_was_wrong_is_over_after_a_day_in_which_nothing_was():
    now = Shortfall().after(is_low=False, is_odd=False, is_under=True)
    for _ in range(24):
        assert not now.is_over
        now = now.after(is_low=False, is_odd=False, is_under=False)
    assert now == Shortfall(0, 0, 24)
    assert now.is_over
