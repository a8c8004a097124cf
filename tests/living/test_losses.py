"""Loss models: what they expect is what comes, also where what is asked has moved to where errors are larger."""

import math

import msgspec
import numpy as np
import pytest

from tests.living.chance import most_of_poisson
from tests.living.test_shortfall import BUDGET, told
from tests.rents import LABELLED, compiled_rents, rents, trained
from tests.scale import scaled
from trivet.control.monitoring.regression import estimated_regression
from trivet.control.monitoring.tasks import task_of
from trivet.control.monitoring.usual import Usual
from trivet.core.profile.losses import Loss, loss_inputs, loss_sums
from trivet.core.profile.making import make_reference, with_losses
from trivet.core.profile.reference import REFERENCE_NAME, decode_reference
from trivet.core.signature import Input, Output, Signature
from trivet.model.bundle.loss import LOSS_NAME
from trivet.model.runtimes.loss import LossModel

ROWS = 20_000
TOLERANCE = 0.06  # of an estimate of 20,000 rows, relative; seen 0.04 at most
SIGNATURE = Signature(
    inputs=(Input(name="x", datatype="FP64", shape=(-1, 1)),),
    outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),),
    task="regression",
)


@pytest.fixture(scope="module")
def reference():
    return decode_reference(compiled_rents().bundle.files[REFERENCE_NAME])


@pytest.fixture(scope="module")
def model():
    return LossModel.load(compiled_rents().bundle.files[LOSS_NAME])


def expected_and_real(reference, model, flats, costs):
    """Return what is expected of each row, and its error."""
    predictions = trained().predict(flats)
    columns = {name: flats[name].to_numpy(None if name != "district" else object) for name in flats}
    inputs = loss_inputs(reference.features, columns, predictions)
    return *model.expect(inputs), predictions - costs


def figures(reference, absolute, squared):
    unit = reference.scores[0].unit
    found = estimated_regression(loss_sums(absolute, squared, unit), reference.loss, unit)
    return found["mae"], found["rmse"]


@pytest.mark.parametrize(
    "shift", [{}, {"large": 0.5}, {"docks": 0.6}, {"large": 0.5, "docks": 0.5}], ids=["none", "large", "docks", "both"]
)
def test_what_is_expected_of_rows_nobody_has_labels_of_is_what_comes(shift, reference, model):
    """Errors rise to the double, and so does what is expected: what is asked moved, errors of what is asked did not."""
    absolute, squared, errors = expected_and_real(reference, model, *rents(ROWS, 3, **shift))
    mae, rmse = figures(reference, absolute, squared)
    assert mae.value == pytest.approx(np.abs(errors).mean(), rel=TOLERANCE)
    assert rmse.value == pytest.approx(math.sqrt((errors**2).mean()), rel=TOLERANCE)
    usual = Usual(task_of(reference)).band(ROWS)
    assert usual.holds(mae.value) is not bool(shift)


def test_beyond_what_the_reference_has_it_expects_what_it_does_at_the_edge(reference, model):
    """Of flats that are larger than nearly all it knows, it expects more than usual, and less than comes."""
    absolute, squared, errors = expected_and_real(reference, model, *rents(ROWS, 3, large=2.5))
    mae, _ = figures(reference, absolute, squared)
    assert Usual(task_of(reference)).band(ROWS).high < mae.value < 0.95 * np.abs(errors).mean()


def test_an_estimate_is_off_by_no_more_than_its_sampling_error_says(reference, model):
    """Of windows of 500 rows, 95 % are within two of them, and what is off for good is little beside."""
    absolute, squared, errors = expected_and_real(reference, model, *rents(500 * 200, 4))
    off = []
    for window in range(200):
        rows = slice(500 * window, 500 * window + 500)
        mae, rmse = figures(reference, absolute[rows], squared[rows])
        real = np.abs(errors[rows]).mean(), math.sqrt((errors[rows] ** 2).mean())
        off.append(
            [(found.value - value) / found.sampling_error for found, value in zip((mae, rmse), real, strict=True)]
        )
    within = (np.abs(off) <= 2).mean(axis=0)
    assert (within >= 0.88).all(), within
    assert np.std(off, axis=0) == pytest.approx([1, 1], abs=0.25)


def test_of_the_rows_it_learned_from_others_say_what_is_expected(reference, model):
    """Cross-fitted: what it says itself of rows that it has seen fits them better than it fits any other."""
    flats, costs = rents(LABELLED, 2)
    absolute, own_squared, errors = expected_and_real(reference, model, flats, costs)
    real = np.abs(errors)
    seen = 1 - np.square(real - absolute).mean() / real.var()
    other, _, errors = expected_and_real(reference, model, *rents(ROWS, 5))
    unseen = 1 - np.square(np.abs(errors) - other).mean() / np.abs(errors).var()
    assert reference.loss.explained == pytest.approx(unseen, abs=0.04)
    assert seen > unseen + 0.05
    unit = reference.scores[0].unit
    own = loss_sums(absolute, own_squared, unit)
    assert own[3] != pytest.approx(reference.whole.losses[3], rel=1e-3)
    assert reference.whole.losses[1] * unit / LABELLED == pytest.approx(real.mean(), rel=0.02)
    chunks = [chunk.losses for chunk in reference.chunks]
    assert tuple(map(sum, zip(*chunks, strict=True))) == reference.whole.losses


def simulated(random, rows):
    """Return the deviations of rows' errors, and these."""
    deviations = np.exp(random.normal(0.0, 0.6, rows))
    return deviations, deviations * random.normal(size=rows)


def reference_of(random, rows):
    """Return the reference of a version of whose errors all is known that can be."""
    deviations, errors = simulated(random, rows)
    truths = random.normal(20, 3, rows)
    made = make_reference(SIGNATURE, {"x": deviations}, {"prediction": truths + errors}, rows, labels=truths.tolist())
    return with_losses(made, Loss(rows, 0.4, 3.0), deviations * math.sqrt(2 / math.pi), deviations**2)


def windows_of(random, reference, rows, windows, *, harder=1.0):
    """Return the estimates of windows."""
    unit = reference.scores[0].unit
    for _ in range(windows):
        deviations = simulated(random, rows)[0] * harder
        sums = loss_sums(deviations * math.sqrt(2 / math.pi), deviations**2, unit)
        yield estimated_regression(sums, reference.loss, unit)["mae"].value


@pytest.mark.parametrize(("rows", "of_window"), [(20_000, 500), (4_000, 500), (2_000, 2_000)])
def test_regressions_that_stay_as_they_were_raise_no_more_alarms_than_the_budget(rows, of_window):
    seeds, alarms = scaled(test=4, ci=30, full=120), 0
    for seed in range(seeds):
        random = np.random.default_rng([43, seed])
        reference = reference_of(random, rows)
        limit = Usual(task_of(reference)).limit(of_window)
        assert limit is not None
        alarms += len(told(list(windows_of(random, reference, of_window, 720)), limit))
    assert alarms <= most_of_poisson(seeds * 720 / BUDGET)


def test_a_regression_that_is_asked_harder_rows_is_told_of_in_the_second_window():
    random = np.random.default_rng(44)
    reference = reference_of(random, 20_000)
    limit = Usual(task_of(reference)).limit(500)
    fine = list(windows_of(random, reference, 500, 10))
    hard = list(windows_of(random, reference, 500, 10, harder=1.5))
    easy = list(windows_of(random, reference, 500, 10, harder=0.5))
    assert told([*fine, *easy, *hard], limit) == [21]


def test_only_what_is_expected_is_watched():
    """Of a metric that was declared and that nobody expects, no alarm comes, and none of a version without a loss model."""
    reference = reference_of(np.random.default_rng(45), 2_000)
    assert [task_of(reference, metric).is_watched for metric in ("mae", "rmse", "me", "r2")] == [
        True,
        True,
        False,
        False,
    ]
    assert not task_of(msgspec.structs.replace(reference, loss=None)).is_watched
    root = task_of(reference, "rmse")
    assert Usual(root).band(2_000).holds(root.watched(reference.whole).value)
