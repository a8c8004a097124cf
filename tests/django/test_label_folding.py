"""What turned out true is counted in the hour of its prediction; a correction leaves no trace of what it corrects."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from django.db.models import Sum
from django.utils import timezone

from tests.django.watched import rows_of_churn, watched_version
from tests.django.worlds import CHURN, record, turned_out
from trivet.control.monitoring.compacting import begin_of, compact
from trivet.control.monitoring.folding import Folding
from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.monitoring.models import Grain, LabelProfile, ReferenceProfile
from trivet.control.monitoring.packing import pack_labels, unpack_labels
from trivet.control.monitoring.references import watched
from trivet.control.predictions import meaning
from trivet.control.predictions.labelling import say
from trivet.control.predictions.models import Label, Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry.models import ModelVersion
from trivet.core.profile.labels import LabelTable, confusion, empty_labels, truths_by_score
from trivet.core.profile.reference import LIVE, Reference, encode_reference
from trivet.core.records import PredictionRecord, SaidLabel
from trivet.core.signature import Output

pytestmark = pytest.mark.django_db


def answered(version: ModelVersion, chance: float, **changes: Any) -> PredictionRecord:
    word = "churned" if chance >= 0.5 else "stays"
    made = int((timezone.now() - timedelta(days=2)).timestamp() * 1e9)
    answer = record(version, outputs=[[word], [1 - chance, chance]], **{"made_at": made, **changes})
    ship([answer])
    return answer


def told(answer: PredictionRecord, value: Any, *, late_hours: float = 2, shard: str = "here") -> None:
    observed = answer.made_at + int(late_hours * 3600e9)
    say([SaidLabel(turned_out(value), answer.id, 0, observed_at=observed)], actor="cli:ana", beside=LabelFolding(shard))


def reference_of(version: ModelVersion) -> Reference:
    found = watched(version.model.name, version.digest)
    assert found is not None
    return found.reference


def total(version: ModelVersion) -> LabelTable:
    table = empty_labels(reference_of(version))
    for row in LabelProfile.objects.filter(version=version):
        table = table + unpack_labels(row.payload)
    return table


def test_a_label_is_counted_by_its_score_its_decision_and_how_late_it_came():
    version = watched_version()
    told(answered(version, 0.7), True, late_hours=0.5)
    told(answered(version, 0.3), "churned", late_hours=30)

    assert sorted(LabelProfile.objects.values_list("age_class", "labels")) == [(0, 1), (3, 1)]
    table, reference = total(version), reference_of(version)
    by_score = truths_by_score(reference, table, 0)
    assert (by_score[:, 1, 1].sum(), by_score[:, 0, 1].sum()) == (1, 1)  # one found, one missed
    matrix = confusion(reference, table)
    assert matrix is not None
    assert matrix.sum() == 2


def test_a_correction_is_as_if_only_it_had_been_said():
    version = watched_version()
    first, second = answered(version, 0.7), answered(version, 0.7)
    told(first, False)
    told(first, True, late_hours=60)
    assert total(version).labels == 1

    corrected = total(version)
    told(first, True)
    told(second, True)
    told(second, False)
    told(second, True)
    assert total(version).labels == 2
    assert total(version) - corrected == corrected


def test_what_another_machine_counted_is_corrected_here():
    version = watched_version()
    answer = answered(version, 0.7)
    told(answer, False, shard="there")
    told(answer, True, shard="here")

    assert sorted(LabelProfile.objects.values_list("shard", "labels")) == [("here", 0), ("there", 1)]
    by_score = truths_by_score(reference_of(version), total(version), 0)
    assert (by_score[..., 0].sum(), by_score[..., 1].sum()) == (0, 1)


def test_the_same_again_counts_once():
    version = watched_version()
    answer = answered(version, 0.7)
    for _ in range(3):
        told(answer, True)

    assert total(version).labels == 1


def test_a_table_that_was_damaged_does_not_hold_up_the_label(caplog):
    version = watched_version()
    told(answered(version, 0.7), True)
    LabelProfile.objects.update(payload=b"damaged")
    told(answered(version, 0.7), True)

    assert "event=label_not_counted" in caplog.text


@pytest.mark.parametrize("value", [1e308, -1e308, 10**300, "ten", True])
def test_no_label_of_a_regression_stops_the_log(value, monkeypatch):
    monkeypatch.setattr(meaning, "problem_of", lambda *_: "")  # earlier releases applied whatever was said
    signature = msgspec.structs.replace(
        CHURN, outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),), task="regression"
    )
    inputs, _ = rows_of_churn()
    numbers = {"prediction": [float(number % 90) for number in range(len(inputs["age"]))]}
    version = watched_version(signature=signature, rows=(inputs, numbers))
    answer = record(version, outputs=[[1e300]], output_names=["prediction"])
    ship([answer], beside=Folding("here"))
    told(answer, value)

    assert Label.objects.get().state == "applied"
    assert LabelProfile.objects.get().labels == 1


def test_a_reference_that_cannot_be_read_stops_neither_log_nor_labels(caplog):
    version = watched_version()
    answered(version, 0.7)
    watched(version.model.name, version.digest)
    ReferenceProfile.objects.update(payload=b"of a later release")
    answer = answered(version, 0.7)
    ship([record(version)], beside=Folding("here"))
    told(answer, True)

    assert Prediction.objects.count() == 3
    assert "event=reference_unreadable" in caplog.text


def test_what_was_never_counted_is_not_taken_away():
    version = watched_version()
    answer = answered(version, 0.7)
    reference = reference_of(version)
    payload = encode_reference(msgspec.structs.replace(reference, source=LIVE))
    ReferenceProfile.objects.update(payload=payload, created_at=timezone.now())
    told(answer, False)
    told(answer, True, late_hours=60)

    assert not LabelProfile.objects.exists()


def by_day(version: ModelVersion) -> dict[datetime, LabelTable]:
    days: dict[datetime, LabelTable] = {}
    for row in LabelProfile.objects.filter(version=version):
        day = begin_of(row.start, Grain.DAY)
        days[day] = days.get(day, empty_labels(reference_of(version))) + unpack_labels(row.payload)
    return days


def grains() -> set[str]:
    return set(LabelProfile.objects.values_list("grain", flat=True))


@pytest.mark.parametrize("seed", range(2))
def test_hours_and_days_of_labels_are_the_same_counts(seed):
    """L18: compacted or not, of one machine or of several, whatever is corrected before or after."""
    chance, version = random.Random(seed), watched_version()
    today = begin_of(timezone.now(), Grain.DAY)
    first = int((today - timedelta(days=45)).timestamp() * 1e9)
    answers = [
        answered(version, chance.random(), made_at=first + chance.randrange(4 * 24 * 3600) * 10**9) for _ in range(24)
    ]

    def said(shard: str, some: Sequence[PredictionRecord]) -> None:
        for answer in some:
            told(answer, chance.random() < 0.5, late_hours=chance.choice((0.5, 5, 30, 400)), shard=shard)

    said("a", answers[::2])
    said("b", answers[1::2])
    said("b", chance.sample(answers, 10))  # of another machine's too: it has hours below none then
    expected = by_day(version)
    list(compact(today - timedelta(days=11)))
    assert (grains(), by_day(version)) == ({Grain.HOUR}, expected)
    for later in (-8, 0, 30):  # some days of them, all, and once more
        list(compact(today + timedelta(days=later)))
        assert by_day(version) == expected
    assert grains() == {Grain.DAY}
    labels = LabelProfile.objects.aggregate(labels=Sum("labels"))["labels"]
    assert labels == total(version).labels == 24

    said("a", chance.sample(answers, 6))
    corrected = by_day(version)
    list(compact(today))
    assert (grains(), by_day(version)) == ({Grain.DAY}, corrected)


@pytest.mark.parametrize(
    "payload", [b"damaged", pack_labels(LabelTable(1, np.zeros(1, np.int64), ()))], ids=("bytes", "layout")
)
def test_a_damaged_table_stays_and_the_others_are_compacted(payload, caplog):
    version = watched_version()
    noon = begin_of(timezone.now(), Grain.DAY) + timedelta(hours=12)
    for days in (100, 101, 102):
        made = int((noon - timedelta(days=days)).timestamp() * 1e9)
        told(answered(version, 0.7, made_at=made), True)
        told(answered(version, 0.7, made_at=made - 3600 * 10**9), True)
    oldest = LabelProfile.objects.order_by("start")[0]
    LabelProfile.objects.filter(pk=oldest.pk).update(payload=payload)
    list(compact(timezone.now()))

    assert "event=not_compacted" in caplog.text
    assert LabelProfile.objects.filter(grain=Grain.HOUR, start__gt=oldest.start + timedelta(days=1)).count() == 0
    assert LabelProfile.objects.filter(pk=oldest.pk, grain=Grain.HOUR).exists()
