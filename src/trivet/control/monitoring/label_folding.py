"""Folding labels: what turned out true is added to the hour of its prediction, and what it corrects is taken away there."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from django.db import router

from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.dimensions import dimensions_of
from trivet.control.monitoring.folding import SHARD_LENGTH, this_machine
from trivet.control.monitoring.models import Arm, Grain, LabelProfile
from trivet.control.monitoring.packing import pack_labels, unpack_labels
from trivet.control.monitoring.references import Watched, watched
from trivet.control.predictions.joining import inputs_by_place, outputs_at, unique
from trivet.control.predictions.labelling import LabelChange
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import moment_of
from trivet.core.decisions import PROBABILITIES, SCORES
from trivet.core.errors import TrivetError
from trivet.core.profile.labels import LABEL_TABLE_FORMAT, LabelTable, empty_labels, fold_labels
from trivet.core.profile.layout import Answers
from trivet.core.profile.reference import Reference
from trivet.core.profile.segments import Dimension, SegmentLayout
from trivet.core.records import SHADOW

logger = logging.getLogger(__name__)

AGES = (
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(days=1),
    timedelta(days=3),
    timedelta(days=7),
    timedelta(days=14),
    timedelta(days=30),
    timedelta(days=90),
)  # how late a label came; later ones are the last class


class Place(NamedTuple):
    """Where a label counts: whose it is, in which part that answered, of all or apart by a column, when, and how late it came."""

    version: int
    arm: str
    segment: str
    grain: str
    start: datetime
    age_class: int


class LabelFolding:
    """Counts what turned out true. Safe to use from several threads and processes: each row is locked while it changes."""

    def __init__(self, shard: str | None = None) -> None:
        """Count for `shard`, by default this machine."""
        self._shard = (shard or this_machine())[:SHARD_LENGTH]

    def __call__(self, changes: Sequence[LabelChange]) -> None:
        """Add `changes` to the label profiles of their hours. Called in the transaction that applies them."""
        by_version: dict[tuple[str, str], list[LabelChange]] = defaultdict(list)
        for change in changes:
            by_version[change.model, change.digest].append(change)
        counted: dict[Place, LabelTable] = {}
        for (model, digest), some in by_version.items():
            found = watched(model, digest)
            if found is None:
                continue
            try:
                for place, table in chain(_tables(found, some), _segment_tables(found, some)):
                    counted[place] = counted[place] + table if place in counted else table
            except (TrivetError, ValueError, TypeError, IndexError, OverflowError) as error:
                logger.error("event=label_not_counted model=%s error=%s", model, error)  # noqa: TRY400  (the log goes on)
        for place in sorted(counted):  # in one order, so that two who lock several never wait for each other
            self._add(place, counted[place])

    def _add(self, place: Place, table: LabelTable) -> None:
        key = {
            "version_id": place.version,
            "arm": place.arm,
            "segment": place.segment,
            "grain": place.grain,
            "start": place.start,
            "shard": self._shard,
            "age_class": place.age_class,
        }
        nothing = table - table
        row, _ = LabelProfile.objects.get_or_create(
            **key, defaults={"labels": 0, "payload": pack_labels(nothing), "format": LABEL_TABLE_FORMAT}
        )
        row = LabelProfile.objects.select_for_update().get(pk=row.pk)
        try:
            total = unpack_labels(row.payload) + table
        except (TrivetError, ValueError) as error:  # what is there is no table, or of another layout
            logger.error("event=label_not_counted place=%s error=%s", place, error)  # noqa: TRY400
            return
        LabelProfile.objects.filter(pk=row.pk).update(labels=total.labels, payload=pack_labels(total))


Change = tuple[LabelChange, Any]  # and the value that is added, or taken away


def _tables(found: Watched, changes: Sequence[LabelChange]) -> Iterator[tuple[Place, LabelTable]]:
    """Yield what is to be added at each place; what is taken away there is a table of negative counts."""
    reference = found.reference
    added, taken = _sorted(found, changes)
    for place in {*added, *taken}:
        yield place, _table(reference, added.get(place, ())) - _table(reference, taken.get(place, ()))


def _segment_tables(found: Watched, changes: Sequence[LabelChange]) -> Iterator[tuple[Place, LabelTable]]:
    """Yield the same of each column by whose values rows are told apart, by the day of the prediction.

    A label whose prediction has no inputs any more is counted as that, and so is what it corrects: the sum stays right.
    """
    dimensions = dimensions_of(found.version)
    if not dimensions:
        return
    places = [(change.prediction_id, change.row) for change in changes]
    inputs = inputs_by_place(places, router.db_for_write(Prediction))
    specs = {name: spec for spec in found.version.read_signature().inputs for name in spec.field_names}
    for dimension in dimensions:
        layout, spec = SegmentLayout(found.reference, dimension), specs[dimension.name]
        at = {place: _segment(dimension, spec.missing, inputs[place]) for place in places}
        counted = [change for change in changes if change.made_at >= moment_of(dimension.since)]
        added, taken = _sorted(found, counted, segment=dimension.name)
        for place in {*added, *taken}:
            new, old = (_segment_table(found.reference, layout, at, said.get(place, ())) for said in (added, taken))
            yield place, new - old


def _segment(dimension: Dimension, missing: str, inputs: Any) -> int:
    """Return the place of a prediction among the values of `dimension`."""
    if not isinstance(inputs, dict) or dimension.name not in inputs:
        return dimension.width - 1
    value = inputs[dimension.name]
    return dimension.place(None if value == missing else value)


def _segment_table(
    reference: Reference, layout: SegmentLayout, at: Mapping[tuple[UUID, int], int], said: Sequence[Change]
) -> LabelTable:
    if not said:
        return layout.empty_labels
    places = [at[change.prediction_id, change.row] for change, _ in said]
    return layout.fold_labels(places, _answers(reference, said), [truth for _, truth in said])


def _sorted(
    found: Watched, changes: Sequence[LabelChange], segment: str = ""
) -> tuple[dict[Place, list[Change]], dict[Place, list[Change]]]:
    """Return what is to be added at each place, and what is to be taken away."""
    added: dict[Place, list[Change]] = defaultdict(list)
    taken: dict[Place, list[Change]] = defaultdict(list)
    for change in changes:
        if found.since is not None and change.made_at < found.since:
            continue  # its prediction was never counted
        added[_place(found, change, change.observed_at, segment)].append((change, change.new_value))
        if change.old_observed_at is not None:
            taken[_place(found, change, change.old_observed_at, segment)].append((change, change.old_value))
    return added, taken


def _place(found: Watched, change: LabelChange, observed_at: datetime, segment: str) -> Place:
    late = observed_at - change.made_at
    age_class = sum(late > age for age in AGES)
    arm = Arm.SHADOW if change.kind == SHADOW else Arm.CHAMPION
    grain = Grain.DAY if segment else Grain.HOUR
    return Place(found.version.pk, arm, segment, grain, begin_of(change.made_at, grain), age_class)


def _table(reference: Reference, said: Sequence[Change]) -> LabelTable:
    if not said:
        return empty_labels(reference)
    return fold_labels(reference, _answers(reference, said), [truth for _, truth in said])


def _answers(reference: Reference, said: Sequence[Change]) -> Answers:
    """Return what the log has of the answers that something was said of."""
    changes = [change for change, _ in said]
    return Answers(_scores(reference, changes), [change.decision for change in changes])


def _scores(reference: Reference, changes: Sequence[LabelChange]) -> list[np.ndarray]:
    """Return the numbers (rows,) that were counted in each score; NaN where there is none."""
    if len(reference.classes) <= 2:
        numbers = np.array([np.nan if change.score is None else change.score for change in changes])
        return [numbers for _ in reference.scores]
    places = unique(
        (change.prediction_id, change.row) for change in changes
    )  # the log keeps one score of several classes
    outputs = outputs_at(places, router.db_for_write(Prediction))
    chances = [_chances(outputs.get((change.prediction_id, change.row)), reference.classes) for change in changes]
    return [np.array([row.get(bins.name, np.nan) for row in chances]) for bins in reference.scores]


def _chances(output: Any, classes: Sequence[str]) -> dict[str, float]:
    """Return the chance or the score of each class that an answer in the log has."""
    told = output or {}
    shares = told.get(PROBABILITIES, told.get(SCORES))
    named = shares if isinstance(shares, dict) else dict(zip(classes, shares or (), strict=False))
    return {name: share for name, share in named.items() if isinstance(share, int | float)}
