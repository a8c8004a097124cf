"""What is usual of a measure, as far as the measure can be it."""

import math

import numpy as np
import pytest

from tests.living.test_shortfall import SIGNATURE, reference_of
from trivet.control.monitoring.estimates import Band
from trivet.control.monitoring.measures import METRICS, OF_CLASSES, RANGES, mean_name
from trivet.control.monitoring.tasks import Task, task_of
from trivet.control.monitoring.usual import Limit, Usual
from trivet.core.profile.making import make_reference

ROWS = 2_000  # ten pieces of 200
ENDS = {
    **dict.fromkeys(("auc", "average_precision", "accuracy", "precision", "recall", "specificity", "f1"), (0.0, 1.0)),
    **dict.fromkeys(("brier", "calibration_error"), (0.0, 1.0)),
    **dict.fromkeys(("log_loss", "mae", "rmse"), (0.0, math.inf)),
    "me": (-math.inf, math.inf),
    "r2": (-math.inf, 1.0),
}


class Told(Task):
    """A version whose measure was 0 and `far` in turns, from one piece of its reference to the next."""

    def __init__(self, reference, metric, far):
        super().__init__(reference)
        self.metric, self._far, self._pieces = metric, far, 0

    def values(self, counts, table):
        self._pieces += 1
        return {self.metric: self._far * (self._pieces % 2)}


@pytest.fixture(scope="module")
def reference():
    return reference_of(np.random.default_rng(45), ROWS)


def test_each_measure_has_a_range():
    assert set(ENDS) == set(METRICS) == set(RANGES)


@pytest.mark.parametrize("far", [1.0, -1.0])
@pytest.mark.parametrize(("measure", "ends"), [*ENDS.items(), *((mean_name(one), ENDS[one]) for one in OF_CLASSES)])
def test_no_band_goes_beyond_what_its_measure_can_be(measure, ends, far, reference):
    """Pieces are at 0 and at ±1: the band would end at ±½ ± 3/2, so at -1 and 2, or at -2 and 1."""
    low, high = ends
    found = Usual(Told(reference, measure, far)).band(200)
    assert (found.mean, found.deviation, found.chunks) == (far / 2, 0.5, 10)
    assert found.low == min(max(far / 2 - 1.5, low), high)
    assert found.high == min(max(far / 2 + 1.5, low), high)


def test_a_version_that_is_nearly_always_right_is_usually_right_at_most_always():
    random = np.random.default_rng(46)
    truths = random.random(ROWS) < 0.1
    scores = np.where(truths, 0.9, 0.02) + random.uniform(-0.01, 0.01, ROWS)
    scores[np.flatnonzero(truths)[:8]] = 0.02  # missed, all in the first piece
    words = np.where(scores >= 0.5, "yes", "no").tolist()
    outputs = {"label": words, "probabilities": np.stack([1 - scores, scores], axis=1).ravel()}
    labels = np.where(truths, "yes", "no").tolist()
    usual = Usual(task_of(make_reference(SIGNATURE, {"x": np.zeros(ROWS)}, outputs, ROWS, labels=labels)))
    found = usual.bands(["recall", "brier"], 200)
    recall, error = found["recall"], found["brier"]
    assert recall.mean + 3 * recall.deviation > 1 == recall.high
    assert error.mean - 3 * error.deviation < 0 == error.low
    assert 0 < recall.low < recall.mean
    assert error.mean < error.high < 1


@pytest.mark.parametrize("is_error", [True, False])
def test_how_far_a_value_has_moved_is_not_measured_by_a_band_that_was_cut(is_error):
    """What is usual is 1 ± 3, cut to 0 and 1.5: a move of 2 may be chance, one of 3.5 is none."""
    limit = Limit(at=4.0, band=Band(0.0, 1.5, 1.0, 1.0, 10), is_error=is_error)
    sign = 1 if is_error else -1
    assert not limit.is_far(5.0 + sign * 2.0, 5.0)
    assert limit.is_far(5.0 + sign * 3.5, 5.0)
