"""What is shipped is counted, in the transaction that ships it: once, whatever happens, and exactly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from django.utils import timezone

from tests.django.turns import hurry, is_idle
from tests.django.watched import NUMBERS, rows_of_churn, rows_of_numbers, watched_version
from tests.django.worlds import MADE_AT, ready, record
from trivet.control.monitoring.compacting import begin_of, compact
from trivet.control.monitoring.folding import Folding
from trivet.control.monitoring.models import Grain, Profile, ReferenceProfile
from trivet.control.monitoring.packing import total_of, unpack
from trivet.control.monitoring.references import watched
from trivet.control.predictions import shipping
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry.models import ModelVersion
from trivet.core.profile.profile import Profile as Counts
from trivet.core.profile.reference import Reference
from trivet.core.records import PredictionRecord
from trivet.serving.chores import Chore

pytestmark = pytest.mark.django_db
MINUTE = 60 * 10**9


def reference_of(version: ModelVersion) -> Reference:
    """Return what the rows of `version` are counted by."""
    found = watched(version.model.name, version.digest)
    assert found is not None
    return found.reference


def records(version: ModelVersion, number: int, *, every: int = MINUTE, **changes: Any) -> list[PredictionRecord]:
    """Return records of a row each, `every` so many nanoseconds."""
    inputs, outputs = rows_of_churn(number)
    return [
        record(
            version,
            made_at=MADE_AT + place * every,
            inputs=[[inputs["age"][place]], [inputs["plan"][place]]],
            outputs=[[outputs["label"][place]], outputs["probabilities"][2 * place : 2 * place + 2]],
            **changes,
        )
        for place in range(number)
    ]


def counted(version: ModelVersion, **where: Any) -> Counts:
    """Return all that was counted of `version`."""
    rows = Profile.objects.filter(version=version, **where)
    return total_of(rows.values_list("payload", flat=True), reference_of(version).empty)


def directly(version: ModelVersion, shipped: Sequence[PredictionRecord]) -> Counts:
    """Return what the rows of `shipped` amount to, counted all at once."""
    fold = Folding("direct")
    before = set(Profile.objects.values_list("pk", flat=True))
    fold([shipping.Shipped(one, range(one.rows)) for one in shipped])
    made = Profile.objects.exclude(pk__in=before)
    total = total_of(made.values_list("payload", flat=True), reference_of(version).empty)
    made.delete()
    return total


def test_what_is_shipped_is_counted_by_the_minute():
    version = watched_version()
    ship(records(version, 150, every=MINUTE // 60), beside=Folding("here"))

    rows = Profile.objects.order_by("start")
    assert [(row.grain, row.shard, row.arm) for row in rows] == [("m", "here", "champion")] * len(rows)
    assert {row.start.second for row in rows} == {0}
    assert sum(row.rows for row in rows) == 150
    ages = reference_of(version).layout.feature(counted(version), reference_of(version).features[0])
    assert (ages.rows, ages.missing, ages.under, ages.over) == (150, 0, 0, 0)
    assert ReferenceProfile.objects.get().version == version


def test_shipping_again_counts_nothing_twice():
    version = watched_version()
    sent = records(version, 30, every=MINUTE // 10)
    fold = Folding()
    ship(sent[:20], beside=fold)
    once = counted(version)
    ship([*sent[:20], *sent[:20]], beside=fold)
    assert counted(version) == once

    ship([*sent[10:], *sent[10:]], beside=fold)
    assert counted(version) == directly(version, sent)
    assert Prediction.objects.count() == 30


def test_of_a_record_that_is_partly_there_the_rest_is_counted():
    version = watched_version()
    inputs, outputs = rows_of_churn(6)
    whole = record(
        version, rows=6, inputs=[inputs["age"], inputs["plan"]], outputs=[outputs["label"], outputs["probabilities"]]
    )
    ship([whole])
    Prediction.objects.filter(row__in=(1, 4)).delete()
    ship([whole], beside=Folding())

    ages = reference_of(version).layout.feature(counted(version), reference_of(version).features[0])
    expected = reference_of(version).features[0].count(np.array([inputs["age"][1], inputs["age"][4]]))
    assert ages.rows == 2
    assert ages.bins.tolist() == expected[: len(ages.bins)].tolist()


def test_rows_and_counts_are_there_together_or_not_at_all(monkeypatch):
    version = watched_version()

    def killed(cursor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shipping, "move_cursor", killed)
        with pytest.raises(KeyboardInterrupt):
            ship(records(version, 5), cursor=("a", 7, 200), beside=Folding())
    assert (Prediction.objects.count(), Profile.objects.count()) == (0, 0)

    ship(records(version, 5), cursor=("a", 7, 200), beside=Folding())
    assert counted(version).rows == Prediction.objects.count() == 5


def test_minutes_hours_and_days_are_the_same_counts():
    """L18: compacted or not, of one machine or of several."""
    version = watched_version()
    sent = records(version, 400, every=17 * MINUTE)
    for shard, part in (("a", sent[::3]), ("b", sent[1::3]), ("c", sent[2::3])):
        ship(part, beside=Folding(shard))
    expected = directly(version, sent)
    assert counted(version) == expected

    first = datetime.fromtimestamp(MADE_AT / 1e9, tz=timezone.get_current_timezone())
    for later in (timedelta(days=3), timedelta(days=50), timedelta(days=92), timedelta(days=500)):
        list(compact(first + later))
        assert counted(version) == expected
    assert set(Profile.objects.values_list("grain", flat=True)) == {Grain.DAY}
    assert Profile.objects.filter(shard="a").count() == 6  # days


def test_a_late_record_is_added_to_the_hour_its_minute_became_part_of():
    version = watched_version()
    sent = records(version, 40, every=MINUTE)
    now = datetime.fromtimestamp(MADE_AT / 1e9, tz=timezone.get_current_timezone()) + timedelta(days=3)
    ship(sent[:30], beside=Folding("a"))
    list(compact(now))
    ship(sent[30:], beside=Folding("a"))
    list(compact(now))

    assert counted(version) == directly(version, sent)
    assert {(row.grain, row.start) for row in Profile.objects.all()} == {
        (Grain.HOUR, begin_of(row.start, Grain.HOUR)) for row in Profile.objects.all()
    }


def test_shadows_are_counted_apart_and_constants_not_at_all():
    version = watched_version()
    shadow = records(version, 4, kind="shadow", route="shadow")
    ship([*records(version, 3), *shadow], beside=Folding())
    constant = msgspec.structs.replace(record(version), version=0, digest="c" * 64)
    ship([constant], beside=Folding())

    assert counted(version, arm="champion").rows == 3
    assert counted(version, arm="shadow").rows == 4


def test_a_version_without_a_reference_is_shipped_and_not_counted():
    (version,) = ready()
    ship(records(version, 3), beside=Folding())

    assert (Prediction.objects.count(), Profile.objects.count()) == (3, 0)


def test_inputs_that_were_not_kept_leave_the_scores_counted():
    version = watched_version()
    ship([*records(version, 3, inputs_sha256="a" * 64), record(version, inputs=None)], beside=Folding())

    total = counted(version)
    reference = reference_of(version)
    assert reference.layout.feature(total, reference.features[0]).rows == 3
    assert reference.layout.score(total, 0)[0].sum() == 4


@pytest.mark.parametrize("inputs", [[[]], [["x"], ["pro"]], [[1.0, 2.0], ["pro", "pro"]], []])
def test_what_cannot_be_counted_does_not_hold_up_the_log(inputs):
    version = watched_version()
    ship([record(version, inputs=inputs)], beside=Folding())

    assert Prediction.objects.count() == 1


def test_a_profile_that_was_damaged_does_not_hold_up_the_log(caplog):
    version = watched_version()
    ship(records(version, 1), beside=Folding())
    Profile.objects.update(payload=b"damaged")
    ship(records(version, 2), beside=Folding())

    assert Prediction.objects.count() == 3
    assert "event=not_counted" in caplog.text


def test_unseen_values_are_kept_to_be_shown():
    version = watched_version()
    ship([record(version, inputs=[[40.0], ["enterprise"]]), *records(version, 2)], beside=Folding())

    shown = [unpack(row.payload).unseen for row in Profile.objects.all() if unpack(row.payload).unseen]
    assert shown == [{"plan": {"enterprise": 1}}]


def test_a_damaged_profile_stays_and_the_others_are_compacted(caplog):
    version = watched_version()
    sent = records(version, 120, every=MINUTE)
    ship(sent, beside=Folding("a"))
    Profile.objects.filter(pk=Profile.objects.order_by("start").values("pk")[:1]).update(payload=b"damaged")
    now = datetime.fromtimestamp(MADE_AT / 1e9, tz=timezone.get_current_timezone()) + timedelta(days=3)
    list(compact(now))

    assert "event=not_compacted" in caplog.text
    assert Profile.objects.filter(grain=Grain.HOUR).count() == 2
    assert Profile.objects.filter(grain=Grain.MINUTE, payload=b"damaged").count() == 1


def test_a_chore_that_fails_stops_no_shipping(caplog):
    def failing():
        raise ValueError("a mistake of ours")
        yield

    chore = Chore(60.0, failing)
    hurry(chore)
    chore.step()
    assert is_idle(chore)
    assert "event=chore_failed" in caplog.text


def test_words_that_nobody_had_take_little_room_however_long_they_are():
    version = watched_version()
    for number in range(40):
        ship([record(version, inputs=[[40.0], [f"{number}" * 500_000]])], beside=Folding("here"))

    (row,) = Profile.objects.all()
    assert len(row.payload) < 2000
    assert len(unpack(row.payload).unseen["plan"]) == 20
    assert counted(version).rows == 40


def of_numbers(version: ModelVersion, number: int, every: int) -> list[PredictionRecord]:
    """Return records of a row each, `every` so many nanoseconds."""
    inputs, outputs = rows_of_numbers(number, seed=1)
    return [
        record(
            version,
            made_at=MADE_AT + place * every,
            inputs=[[values[place]] for values in inputs.values()],
            outputs=[[outputs["label"][place]], outputs["probabilities"][2 * place : 2 * place + 2]],
        )
        for place in range(number)
    ]


def test_moments_are_summed_by_the_hour_and_compacted_exactly():
    version = watched_version(signature=NUMBERS, rows=rows_of_numbers())
    sent = of_numbers(version, 300, every=7 * MINUTE)
    for shard, part in (("a", sent[::2]), ("b", sent[1::2])):
        for start in range(0, len(part), 40):
            ship(part[start : start + 40], beside=Folding(shard))
    expected = directly(version, sent)
    assert expected.moments[0] == expected.rows == 300
    assert counted(version) == expected

    hours = Profile.objects.filter(grain=Grain.HOUR)
    assert {row.rows for row in hours} == {0}
    assert all(row.start == begin_of(row.start, Grain.HOUR) for row in hours)
    assert not any(len(unpack(row.payload).moments) for row in Profile.objects.filter(grain=Grain.MINUTE))
    first = datetime.fromtimestamp(MADE_AT / 1e9, tz=timezone.get_current_timezone())
    for later in (timedelta(days=3), timedelta(days=92), timedelta(days=500)):
        list(compact(first + later))
        assert counted(version) == expected
    assert set(Profile.objects.values_list("grain", flat=True)) == {Grain.DAY}


def test_without_inputs_there_is_nothing_to_sum():
    version = watched_version(signature=NUMBERS, rows=rows_of_numbers())
    ship([record(version, inputs=None)], beside=Folding())
    assert [row.grain for row in Profile.objects.all()] == [Grain.MINUTE]
