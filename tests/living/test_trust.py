"""Whether reality agrees with an estimate: figures, what a bet may never do, and what it may not depend on."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.living import car_loan
from tests.living.chance import most_of_poisson
from tests.living.tables import table_of_rows
from trivet.control.monitoring.trust import (
    ALPHA,
    BothSides,
    Side,
    Trust,
    Verdict,
    cells,
    differences,
    errors_against,
    usual_error,
)
from trivet.core.calibration import decide_calibration

DRIFTED = slice(25_000, 50_000)  # chunks 5 to 9


def car_loan_differences(labels):
    """Return loss minus expected loss of all analysis rows, under the calibration of the reference rows."""
    reference, rows = car_loan.reference(), car_loan.analysis()
    calibration = decide_calibration(reference["y_pred_proba"], reference["repaid"]).calibration
    return differences(rows["y_pred_proba"], rows["y_pred"], labels, calibration)


def path(trust, gaps):
    """Return the evidence after labels that come one at a time, and `log_e` after each: as the paper has it, label by label."""
    count, sum_x, sum_sq, log_e, cusum = trust.count, trust.sum_x, trust.sum_sq, trust.log_e, trust.log_cusum
    after = []
    for gap in np.asarray(gaps).tolist():
        mean, x = sum_x / count, gap - trust.tolerance
        gain = math.log1p(min(max(mean / (sum_sq / count + mean**2), 0), 0.5 / (1 + trust.tolerance)) * x)
        log_e, cusum = log_e + gain, gain + max(cusum, 0.0)
        count, sum_x, sum_sq = count + 1, sum_x + x, sum_sq + (x - mean) ** 2
        after.append(log_e)
    return Trust(trust.tolerance, log_e, cusum, count, sum_x, sum_sq, trust.labels + len(gaps)), np.array(after)


def labels_until(log_e, alpha):
    reached = np.flatnonzero(log_e >= -math.log(alpha))
    return reached[0] + 1 if len(reached) else None


def test_L12_true_labels_never_speak_against_the_estimate():
    gaps = car_loan_differences(car_loan.analysis_targets()["repaid"])
    for rows in (slice(25_000), DRIFTED):
        now, log_e = path(Trust(), gaps[rows])
        assert labels_until(log_e, 0.05) is None
        assert now.standing(10_000) is Verdict.TRUSTED
    assert max(path(Trust(tolerance=0.0), gaps[rows])[1].max() for rows in (slice(25_000), DRIFTED)) == pytest.approx(
        0.67, abs=0.005
    )


@pytest.mark.parametrize(("tolerance", "labels"), [(0.0, 319), (0.01, 582), (0.02, 997)])
def test_L12_labels_of_which_one_in_twenty_is_wrong_are_found_out(tolerance, labels):
    flipped = np.random.default_rng(0).random(50_000) < 0.05
    truth = np.where(flipped, 1 - car_loan.analysis_targets()["repaid"], car_loan.analysis_targets()["repaid"])
    now, log_e = path(Trust(tolerance=tolerance), car_loan_differences(truth)[DRIFTED])
    assert labels_until(log_e, 0.05) == pytest.approx(labels, abs=1)
    assert now.standing(1 / ALPHA) is Verdict.NOT_TRUSTED


@pytest.mark.parametrize("tolerance", [0.0, 0.01])
def test_L15_a_right_estimate_that_is_watched_at_every_label_is_seldom_blamed(tolerance):
    """On the edge of the null, where the loss is worse by all of the tolerance, and watched 400 times: at most 5 %."""
    runs, labels = 600, 400
    random = np.random.default_rng(15)
    chances = random.beta(1, 6, (runs, labels))  # that a row is wrong, as estimated
    wrong = random.random((runs, labels)) < chances + tolerance * (1 - chances) / (1 - 1 / 7)
    blamed = sum(
        labels_until(path(Trust(tolerance=tolerance), run)[1], 0.05) is not None for run in wrong * 1.0 - chances
    )
    assert blamed <= 0.05 * runs + 2.33 * math.sqrt(0.05 * 0.95 * runs), blamed  # one-sided 99 %


def test_L15_blocks_of_any_size_are_as_seldom_blamed():
    runs, random = 600, np.random.default_rng(16)
    blamed = 0
    for _ in range(runs):
        now, worst = Trust(tolerance=0.0), -math.inf
        for size in (1, 5, 200, 2, 40, 100, 3, 60):
            chances = random.beta(1, 6, size)
            now = now.update((random.random(size) < chances) - chances)
            worst = max(worst, now.log_e)
        blamed += worst >= math.log(20)
    assert blamed <= 0.05 * runs + 2.33 * math.sqrt(0.05 * 0.95 * runs), blamed


GAPS = st.lists(st.floats(-1, 1), min_size=1, max_size=40)


@given(GAPS, st.floats(0, 1))
@settings(deadline=None)
def test_labels_one_at_a_time_are_bet_on_as_the_paper_has_it(gaps, tolerance):
    now, log_e = path(Trust(tolerance=tolerance), np.array(gaps))
    step = Trust(tolerance=tolerance)
    for place, gap in enumerate(gaps):
        step = step.update(np.array([gap]))
        assert step.log_e == pytest.approx(log_e[place], abs=1e-9)
    assert msgspec.structs.astuple(step) == pytest.approx(msgspec.structs.astuple(now), abs=1e-9)
    assert now.labels == len(gaps)


@given(GAPS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_within_a_block_order_does_not_matter_and_equal_cells_may_be_counted(gaps, random):
    before = Trust().update(np.array([1.0, 1.0]))
    unique, counts = np.unique(gaps, return_counts=True)
    shuffled = random.sample(gaps, len(gaps))
    blocks = [before.update(np.array(gaps)), before.update(np.array(shuffled)), before.update(unique, counts)]
    for block in blocks[1:]:
        assert msgspec.structs.astuple(block) == pytest.approx(msgspec.structs.astuple(blocks[0]), abs=1e-9)


@given(GAPS, st.floats(0, 1))
@settings(deadline=None)
def test_nobody_can_lose_more_than_half_of_the_money_at_one_label_or_bet_on_less_than_nothing(gaps, tolerance):
    now = Trust(tolerance=tolerance)
    for gap in gaps:
        assert 0 <= now.bet <= 0.5 / (1 + tolerance)
        after = now.update(np.array([gap]))
        assert after.log_e - now.log_e >= math.log(0.5) - 1e-12
        assert after.log_cusum >= after.log_e - 1e-9
        now = after


def test_an_empty_block_changes_nothing():
    now = Trust().update(np.array([0.5]))
    assert now.update(np.array([])) == now
    assert now.update(np.array([0.3, -0.2]), np.array([0, 0])) == now


@pytest.mark.parametrize("gap", [1.01, -1.01, math.nan, math.inf])
def test_what_is_no_difference_of_losses_is_refused(gap):
    with pytest.raises(ValueError, match="within -1 and 1"):
        Trust().update(np.array([gap]))


def test_a_label_cannot_be_taken_back_from_the_evidence():
    with pytest.raises(ValueError, match="not negative"):
        Trust().update(np.array([0.5]), np.array([-1]))
    with pytest.raises(ValueError, match="A tolerance is between 0 and 1"):
        Trust(tolerance=-0.1)


def test_until_200_labels_have_come_nothing_is_known_unless_it_is_wrong():
    quiet = np.full(199, -0.02)
    now, _ = path(Trust(), quiet)
    assert now.standing(1 / ALPHA) is Verdict.UNKNOWN
    assert now.update(quiet[:1]).standing(1 / ALPHA) is Verdict.TRUSTED
    wrong, log_e = path(Trust(), np.full(50, 0.9))
    assert wrong.standing(1 / ALPHA) is Verdict.NOT_TRUSTED
    assert log_e[-1] > math.log(100)


def test_what_goes_wrong_late_is_found_by_the_form_that_begins_anew_with_each_label():
    random = np.random.default_rng(17)
    good = random.choice([-0.05, 0.95], 5_000, p=[0.95, 0.05])
    bad = random.choice([-0.05, 0.95], 2_000, p=[0.75, 0.25])
    now, _ = path(Trust(), good)
    assert not now.is_changed(budget=10_000)
    found = None
    for place, gap in enumerate(bad):
        now = now.update(np.array([gap]))
        if now.is_changed(budget=10_000):
            found = place
            break
    assert found is not None


def test_evidence_comes_back_from_the_database_as_it_was():
    now, _ = path(Trust(), np.array([0.4, -0.1, 0.9]))
    assert Trust(*msgspec.structs.astuple(now)) == now
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(now), type=Trust) == now


def test_a_loss_is_expected_to_be_what_its_chance_makes_of_it():
    scores, predicted = np.array([0.0, 0.2, 0.7, 1.0]), np.array([0, 0, 1, 1])
    if_positive = differences(scores, predicted, np.ones(4), None)
    if_negative = differences(scores, predicted, np.zeros(4), None)
    np.testing.assert_allclose(scores * if_positive + (1 - scores) * if_negative, 0, atol=1e-12)
    assert np.abs([if_positive, if_negative]).max() <= 1


def test_a_cohort_is_read_from_its_table():
    random = np.random.default_rng(18)
    scores = np.round(random.random(400), 2)
    predicted, labels = scores >= 0.5, random.random(400) < scores
    table = table_of_rows(np.unique(scores), scores, predicted, labels)
    gaps, counts = cells(table, None)
    assert gaps.shape == counts.shape == (*table.positives.shape, 2)
    by_rows = Trust().update(differences(scores, predicted, labels, None))
    by_cells = Trust().update(gaps, counts)
    assert msgspec.structs.astuple(by_cells) == pytest.approx(msgspec.structs.astuple(by_rows), abs=1e-6)


def test_rows_that_are_paired_with_the_wrong_labels_are_not_trusted():
    random = np.random.default_rng(19)
    now = Trust()
    for _ in range(6):  # matured cohorts of a day
        scores = random.random(500)
        labels = random.random(500) < 0.5  # nothing to do with the scores any more
        table = table_of_rows(np.arange(1, 64) / 64, scores, scores >= 0.5, labels)
        now = now.update(*cells(table, None))
    assert now.standing(1 / ALPHA) is Verdict.NOT_TRUSTED


def test_a_score_that_rounding_put_beyond_1_is_1_and_one_further_out_is_refused():
    single = np.array([1.0000001, -0.0000001])
    gaps = differences(single, np.array([1, 0]), np.array([0, 1]), None)
    assert gaps.tolist() == [1.0, 1.0]
    assert Trust().update(gaps).labels == 2
    with pytest.raises(ValueError, match="no probabilities"):
        differences(np.array([1.01]), np.array([1]), np.array([0]), None)


def alarms_of(random, error, usual, days, labels=300):
    """Return how often evidence against the reference reaches 1/α in `days`, beginning anew each time."""
    trust, alarms = Trust(), 0
    for wrong in random.binomial(labels, error, days).tolist():
        trust = trust.faded(0.7).update(*errors_against(wrong, labels, usual))
        if trust.is_changed(1 / ALPHA):
            trust, alarms = Trust(), alarms + 1
    return alarms


@pytest.mark.parametrize("worse", [0.0, 0.01], ids=["as it was", "as much worse as is tolerated"])
def test_a_version_that_is_as_it_was_is_told_of_no_more_often_than_once_in_a_hundred_days(worse):
    """Each of 40 versions has a reference of its own, of 2,000 labels."""
    random, days, alarms = np.random.default_rng(21), 300, 0
    for _ in range(40):
        usual = usual_error(int(random.binomial(2_000, 0.22)), 2_000)
        alarms += alarms_of(random, 0.22 + worse, usual, days)
    assert alarms <= most_of_poisson(40 * days * ALPHA)
    assert alarms_of(random, 0.23, 0.22, 3_000) <= most_of_poisson(3_000 * ALPHA), (
        "nor where the reference is no sample"
    )


def test_a_version_that_is_worse_than_it_was_is_found_within_days_without_an_estimate():
    usual = usual_error(8_800, 40_000)
    assert 0.22 < usual < 0.23
    assert alarms_of(np.random.default_rng(22), 0.32, usual, 5) >= 1
    assert usual_error(60, 199) is None


def test_bets_that_forget_blame_a_right_estimate_no_more_often() -> None:
    """A day is a block of 50 labels; the money reaches 1 / α in at most α of the runs, whatever the bets remember."""
    rng = np.random.default_rng(8)
    blamed = 0
    for _ in range(400):
        trust = Trust(tolerance=0.0)
        for _ in range(60):
            chances = rng.uniform(0.05, 0.4, 50)
            trust = trust.faded(0.7).update((rng.random(50) < chances) - chances)
            if trust.log_e >= math.log(20):
                blamed += 1
                break
    assert blamed <= 400 * 0.05 + 2.33 * math.sqrt(400 * 0.05 * 0.95)


def test_what_was_won_in_a_good_year_does_not_hide_a_bad_week() -> None:
    """After many days with fewer errors than expected, days with more of them are found within a week."""
    rng = np.random.default_rng(9)
    trust = Trust()
    for _ in range(120):
        trust = trust.faded(0.7).update((rng.random(300) < 0.15) - 0.22)
    assert trust.standing(90) == Verdict.TRUSTED
    days = 0
    while trust.standing(90) != Verdict.NOT_TRUSTED:
        trust = trust.faded(0.7).update((rng.random(300) < 0.30) - 0.22)
        days += 1
        assert days <= 7
    for _ in range(14):
        trust = trust.faded(0.7).update((rng.random(300) < 0.15) - 0.22)
    assert trust.standing(90) == Verdict.TRUSTED


# Both sides


BUDGET = 90  # days
FRESH = BothSides(Trust(), Trust())


def lived(random, days, *, surplus=0.0, labels=300, both=FRESH):
    """Yield the evidence of both sides after each of `days` on which the share of wrong rows is `surplus` over the estimate."""
    for _ in range(days):
        chances = random.beta(2, 7, labels)  # that a row is wrong, as estimated: 22 % on average
        wrong = random.random(labels) < np.clip(chances + surplus, 0, 1)
        both = both.faded(0.7).update(wrong - chances)
        yield both


def days_until(random, surplus):
    """Return after how many days an estimate that was right for two months is not trusted, and on which side."""
    *_, both = lived(random, 60)
    for day, now in enumerate(lived(random, 60, surplus=surplus, both=both), 1):
        if now.side(BUDGET) is not None:
            return day, now.side(BUDGET)
    return None


@pytest.mark.parametrize(
    ("surplus", "days"), [(0.10, 4), (0.05, 14), (-0.10, 4), (-0.05, 14)], ids=lambda value: f"{value}"
)
def test_an_estimate_that_becomes_wrong_is_found_out_on_its_side(surplus, days):
    found = [days_until(np.random.default_rng(seed), surplus) for seed in range(40)]
    assert {side for _, side in found} == {Side.MORE if surplus > 0 else Side.FEWER}
    assert np.median([day for day, _ in found]) <= days, found


@pytest.mark.parametrize(("surplus", "tolerance"), [(0.0, 0.0), (0.0, 0.01), (0.01, 0.01), (-0.01, 0.01)])
def test_both_sides_together_blame_a_right_estimate_no_more_often_than_the_budget_allows(surplus, tolerance):
    """In the middle of the null, on its edges, and where it is nothing but its edges; from nothing again after each alarm."""
    random, days, alarms = np.random.default_rng(23), 6_000, 0
    fresh = both = BothSides(Trust(tolerance=tolerance), Trust(tolerance=tolerance))
    for _ in range(days):
        (both,) = lived(random, 1, surplus=surplus, both=both, labels=100)
        if both.standing(BUDGET) is Verdict.NOT_TRUSTED:
            both, alarms = fresh, alarms + 1
    assert alarms <= most_of_poisson(days / BUDGET)


def test_each_side_has_to_win_twice_the_budget():
    """So that both together, which may be found wrong by chance on either, keep it."""
    enough = math.log(2 * BUDGET)
    for side in Side:
        for log_cusum, found in ((enough - 1e-6, None), (enough, side)):
            won = Trust(log_cusum=log_cusum, labels=500)
            both = FRESH._replace(**{side.value: won})
            assert both.side(BUDGET) == found
            assert (both.standing(BUDGET) is Verdict.NOT_TRUSTED) == (found is not None)


@given(GAPS, st.floats(0, 1))
@settings(deadline=None)
def test_what_is_more_for_one_side_is_fewer_for_the_other(gaps, tolerance):
    gaps = np.array(gaps)
    both = BothSides(Trust(tolerance=tolerance), Trust(tolerance=tolerance))
    there, back = both.update(gaps).faded(0.7).update(gaps), both.update(-gaps).faded(0.7).update(-gaps)
    assert (there.more, there.fewer) == (back.fewer, back.more)
    counted = both.update(*np.unique(gaps, return_counts=True))
    assert msgspec.structs.astuple(counted.fewer) == pytest.approx(
        msgspec.structs.astuple(both.update(gaps).fewer), abs=1e-9
    )


def test_of_two_sides_that_have_won_the_one_that_bets_now_is_told_and_then_the_one_with_more_money():
    loud, quiet, betting = Trust(log_cusum=90.0), Trust(log_cusum=8.0), Trust(log_cusum=6.0, sum_x=0.1)
    assert BothSides(loud, quiet).side(BUDGET) is Side.MORE
    assert BothSides(quiet, loud).side(BUDGET) is Side.FEWER
    assert BothSides(loud, betting).side(BUDGET) is Side.FEWER
    assert BothSides(loud, Trust(log_cusum=1.0, sum_x=0.1)).side(BUDGET) is Side.MORE, "it has not won"
    assert FRESH.side(BUDGET) is None


def test_a_side_that_began_later_leaves_the_verdict_until_it_says_something():
    *_, both = lived(np.random.default_rng(24), 5)
    later = both._replace(fewer=Trust())
    assert later.standing(BUDGET) is Verdict.TRUSTED
    *_, found = lived(np.random.default_rng(25), 5, surplus=-0.15, both=later)
    assert found.standing(BUDGET) is Verdict.NOT_TRUSTED
    assert FRESH.standing(BUDGET) is Verdict.UNKNOWN


def test_L12_true_labels_of_days_speak_against_neither_side():
    gaps, both = car_loan_differences(car_loan.analysis_targets()["repaid"]), FRESH
    for rows in np.split(gaps, 100):  # of 500 labels
        both = both.faded(0.7).update(rows)
        assert both.side(BUDGET) is None
    assert both.standing(BUDGET) is Verdict.TRUSTED


def test_scores_that_are_not_sure_enough_are_found_out_where_no_error_is_more_than_expected():
    random, both = np.random.default_rng(26), FRESH
    for _ in range(6):
        scores = np.round(random.uniform(0.3, 0.7, 500), 3)
        labels = random.random(500) < np.clip(0.5 + 2 * (scores - 0.5), 0, 1)  # twice as far from a half as they say
        both = both.faded(0.7).update(*cells(table_of_rows(np.arange(1, 64) / 64, scores, scores >= 0.5, labels), None))
    assert both.side(BUDGET) is Side.FEWER
