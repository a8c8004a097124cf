"""Rows are told apart by the columns that code declares, exactly, from when it does; and are held against each other."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from functools import reduce
from operator import add

import numpy as np
import pytest
from django.utils import timezone
from sklearn.metrics import roc_auc_score

from tests.django.segmented import START, ask, customers, declared_segments, lived_day, segmented_version, tell
from tests.django.watched import watched_version
from trivet.control.monitoring import dimensions, folding
from trivet.control.monitoring.compacting import compact
from trivet.control.monitoring.dimensions import begin_counting, dimensions_of
from trivet.control.monitoring.folding import Folding
from trivet.control.monitoring.gaps import Gap
from trivet.control.monitoring.models import Grain, LabelProfile, Monitor, Profile, ReferenceProfile
from trivet.control.monitoring.packing import total_of, unpack_labels
from trivet.control.monitoring.performance import Figure
from trivet.control.monitoring.performance_report import performance_report
from trivet.control.monitoring.references import watched
from trivet.control.monitoring.segment_report import Segment, Segmentation, Standing
from trivet.control.monitoring.watching import watch
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.pruning import forget
from trivet.control.registry import actions
from trivet.control.registry.models import ModelVersion
from trivet.core.profile.labels import LabelTable, empty_labels, truths_by_score
from trivet.core.profile.segments import SegmentLayout

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def layout_of(version: ModelVersion, name: str) -> SegmentLayout:
    found = watched(version.model.name, version.digest)
    assert found is not None
    return SegmentLayout(found.reference, {one.name: one for one in dimensions_of(version)}[name])


def rows_of(version: ModelVersion, name: str) -> list[int]:
    """Return how many rows were counted at each place of a column."""
    layout = layout_of(version, name)
    payloads = Profile.objects.filter(version=version, segment=name).values_list("payload", flat=True)
    return layout.rows(total_of(payloads, layout.empty)).sum(1).tolist()


def labels_of(version: ModelVersion, name: str) -> LabelTable:
    payloads = LabelProfile.objects.filter(version=version, segment=name).values_list("payload", flat=True)
    return reduce(add, map(unpack_labels, payloads), layout_of(version, name).empty_labels)


def by_truth(version: ModelVersion, name: str) -> list[list[int]]:
    """Return how many labels are false and true at each place of a column."""
    return layout_of(version, name).by_score(labels_of(version, name)).sum((1, 2)).tolist()


def by_name(version: ModelVersion, number: int | None = None) -> dict[str, Segmentation]:
    report = performance_report(
        version.model.name, number=version.number, now=START + 3 * DAY, period=timedelta(days=30)
    )
    return {one.name: one for one in report.segmentations}


def titled(found: Segmentation) -> dict[str, Segment]:
    return {segment.title: segment for segment in found.segments}


def test_figures_are_those_of_the_rows_of_each_value():
    version = segmented_version()
    with declared_segments("plan"):
        days = [lived_day(version, number, 1500) for number in range(2)]
        found = by_name(version)["plan"]
    given = {name: np.concatenate([day[name] for day in days]) for name in days[0]}

    segments = titled(found)
    assert set(segments) == {"free", "pro"}
    for plan, segment in segments.items():
        rows = given["plan"] == plan
        assert (segment.rows, segment.labels) == (rows.sum(), rows.sum())
        figure = segment.figure
        assert isinstance(figure, Figure)
        assert figure.value == pytest.approx(
            roc_auc_score(given["truth"][rows], given["chance"][rows]), abs=(figure.binning or 0) + 1e-9
        )
        assert figure.binning is not None
        assert figure.binning < 0.02
        chosen, true = given["chance"] >= 0.5, given["truth"]
        expected = {
            "selection_ratio": chosen[rows].mean() / chosen[~rows].mean(),
            "true_positive_rate": chosen[rows & true].mean() - chosen[~rows & true].mean(),
            "false_positive_rate": chosen[rows & ~true].mean() - chosen[~rows & ~true].mean(),
            "calibration": given["chance"][rows].mean() - true[rows].mean(),
        }
        for name, value in expected.items():
            gap = segment.gaps[name]
            assert isinstance(gap, Gap)
            assert gap.value == pytest.approx(value, abs=1e-6), name
            assert gap.low < gap.value < gap.high
    assert found.standing == Standing.APART
    assert segments["pro"].gaps["calibration"].is_flagged
    assert not segments["free"].gaps["calibration"].is_flagged


def test_with_few_rows_or_labels_it_says_how_many():
    version = segmented_version()
    with declared_segments("plan"):
        lived_day(version, 0, 900, labelled=0.1)
        found = by_name(version)["plan"]
    free = titled(found)["free"]
    assert str(free.figure) == f"not yet: {free.labels} of 200 labels"
    assert isinstance(free.gaps["selection_ratio"], Gap)
    assert str(free.gaps["calibration"]) == f"not yet: {free.labels} of 200 labels"


def test_how_many_rows_are_enough_is_declared():
    version = segmented_version()
    with declared_segments("plan", rows=20):
        lived_day(version, 0, 300)
        assert isinstance(titled(by_name(version)["plan"])["free"].figure, Figure)


@pytest.mark.parametrize("seed", range(2))
def test_whichever_machines_count_and_whatever_is_corrected_the_segments_are_the_whole(seed):
    chance, version = random.Random(seed), segmented_version()
    with declared_segments("plan", "age"):
        answers = [
            ask(version, customers(40, number), START + number * timedelta(hours=9), shard=chance.choice("ab"))
            for number in range(5)
        ]
        for _ in range(4):
            for answer in answers:
                said = {row: chance.random() < 0.5 for row in chance.sample(range(40), 9)}
                tell(answer, said, late_hours=chance.choice((1, 5, 30, 400)), shard=chance.choice("ab"))
        reference = watched("churn", version.digest).reference
        whole = reduce(
            add,
            (unpack_labels(row.payload) for row in LabelProfile.objects.filter(segment="")),
            empty_labels(reference),
        )
        for name in ("plan", "age"):
            assert sum(rows_of(version, name)) == 200
            cells = layout_of(version, name).by_score(labels_of(version, name))
            assert cells.min() >= 0
            assert cells.sum((0, 1)).tolist() == truths_by_score(reference, whole, 0).sum(0).tolist()
            assert labels_of(version, name).labels == whole.labels > 0


def test_a_correction_is_as_if_only_it_had_been_said():
    version = segmented_version()
    with declared_segments("plan"):
        given = customers(20)
        first, second = ask(version, given, START), ask(version, given, START + DAY)
        tell(first, {3: True, 4: False})
        once = labels_of(version, "plan")
        tell(second, {3: False, 4: True})
        tell(second, {3: True, 4: False}, late_hours=60, shard="there")
        assert labels_of(version, "plan") - once == once


def test_a_day_is_one_row_for_each_column_and_is_left_alone_by_compacting():
    version = segmented_version()
    with declared_segments("plan", "age"):
        for number in range(3):
            ask(version, customers(10, number), START + timedelta(hours=number))
        before = rows_of(version, "plan")
        list(compact(timezone.now() + timedelta(days=500)))
    assert Profile.objects.exclude(segment="").count() == 2
    assert set(Profile.objects.exclude(segment="").values_list("grain", flat=True)) == {Grain.DAY}
    assert rows_of(version, "plan") == before


def test_what_is_declared_later_counts_from_then_and_says_so(monkeypatch):
    version = segmented_version()
    early = ask(version, customers(30), START)
    now = START + timedelta(hours=1, seconds=17)
    monkeypatch.setattr(time, "time_ns", lambda: int(now.timestamp() * 1e9))
    since = START + timedelta(hours=1, minutes=dimensions.NOTICED_MINUTES)
    with declared_segments("plan"):
        before, after = (ask(version, customers(30), moment) for moment in (since - timedelta(seconds=1), since + DAY))
        for answer in (early, before, after):
            tell(answer, {0: True})
            tell(answer, {0: False})
        assert sum(rows_of(version, "plan")) == 30
        assert labels_of(version, "plan").labels == 1
        assert min(map(min, by_truth(version, "plan"))) == 0
        assert by_name(version)["plan"].since == since


def test_every_keeper_counts_by_what_the_first_began_also_without_the_declaration():
    version = segmented_version()
    with declared_segments("plan"):
        ask(version, customers(10), START)
    ask(version, customers(10), START, shard="there")
    with declared_segments("plan", "age"):
        found = watched("churn", version.digest)
        assert [one.name for one in begin_counting(found)] == ["plan", "age"]
        assert begin_counting(found) == begin_counting(found)
    assert sum(rows_of(version, "plan")) == 20
    assert ReferenceProfile.objects.exclude(segment="").count() == 2


def test_a_keeper_that_runs_notices_a_new_segment_before_it_counts(monkeypatch):
    version, keeper = segmented_version(), Folding("here")
    assert folding.ASK_AGAIN_SECONDS < dimensions.NOTICED_MINUTES * 60 - 60
    assert keeper._find("churn", version.digest).dimensions == ()
    with declared_segments("plan"):
        begin_counting(watched("churn", version.digest))
    later = time.monotonic() + folding.ASK_AGAIN_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert [one.name for one in keeper._find("churn", version.digest).dimensions] == ["plan"]


def test_who_was_forgotten_stays_counted_and_a_correction_is_right_in_the_sum():
    version = segmented_version()
    with declared_segments("plan"):
        given = customers(6)
        answer = ask(version, given, START, entity_keys=[f"customer:{row}" for row in range(6)])
        tell(answer, {0: True})
        counted = rows_of(version, "plan")
        forget("customer:0", actor="cli:ana")
        tell(answer, {0: False})
        assert rows_of(version, "plan") == counted
        *values, (not_false, not_true) = by_truth(version, "plan")
        assert sum(true for _, true in values) == 1
        assert (not_false, not_true) == (1, -1)
        assert np.sum(by_truth(version, "plan"), axis=0).tolist() == [1, 0]
        segments = titled(by_name(version)["plan"])
        assert sum(segment.labels for segment in segments.values()) == 1


def test_rows_whose_inputs_are_not_kept_are_told_so_and_compared_with_nobody():
    version = segmented_version()
    with declared_segments("plan"):
        given = customers(400)
        ask(version, given, START)
        answer = ask(version, given, START, inputs_sha256="a" * 64)
        Prediction.objects.filter(prediction_id=answer.id).update(inputs=None)
        tell(answer, dict.fromkeys(range(250), True))
        segments = titled(by_name(version)["plan"])
    assert segments["not kept"].labels == 250
    assert segments["not kept"].gaps == {}
    assert list(segments)[-1] == "not kept"


def test_what_cannot_be_a_segment_says_why():
    version = segmented_version()
    with declared_segments("plan", "country", "age"):
        ask(version, customers(10), START)
        actions.set_sensitive(model="churn", add=["age"], actor="cli:ana")
        found = by_name(version)
        assert found["country"].problem.startswith("unknown input 'country'")
        assert "sensitive: no record has its values" in found["age"].problem
        assert found["age"].segments == ()
        assert found["plan"].problem == ""
    with declared_segments("plan"):
        other = watched_version("other")
        with declared_segments("plan", model="other"):
            assert "begins with the next predictions" in by_name(other)["plan"].problem


def test_of_what_became_sensitive_later_rows_are_counted_as_not_kept():
    version = segmented_version()
    with declared_segments("plan"):
        ask(version, customers(10), START)
        answer = ask(version, {**customers(10), "plan": np.array(["hidden:0123456789abcdef"] * 10)}, START)
        tell(answer, {0: True})
        assert rows_of(version, "plan")[-1] == 10
        assert by_truth(version, "plan")[-1] == [0, 1]


def test_shadows_are_no_answers_of_a_segment():
    version = segmented_version()
    with declared_segments("plan"):
        ask(version, customers(10), START)
        ask(version, customers(10), START, kind="shadow", route="shadow")
        assert sum(segment.rows for segment in by_name(version)["plan"].segments) == 10


def test_a_damaged_dimension_holds_up_nothing(caplog):
    version = segmented_version()
    with declared_segments("plan"):
        ask(version, customers(10), START)
        ReferenceProfile.objects.filter(segment="plan").update(payload=b"damaged")
        answer = ask(version, customers(10), START)
        tell(answer, {0: True})
    assert "event=dimension_unreadable" in caplog.text
    assert Profile.objects.filter(segment="").count() == 1
    assert LabelProfile.objects.get().labels == 1


def test_watching_looks_at_all_rows_and_not_at_segments():
    version = segmented_version()
    with declared_segments("plan"):
        now = timezone.now()
        ask(version, customers(200), now - timedelta(hours=30))
        Profile.objects.filter(segment="").delete()
        assert list(watch(now)) == []
    assert not Monitor.objects.exists()
