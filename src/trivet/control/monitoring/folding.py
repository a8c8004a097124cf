"""Folding: from the records that are shipped to counts by the minute, in the transaction that ships them.

Moments are summed by the hour: those of a minute hardly compress, and no window is shorter.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.dimensions import MINUTE_NANOSECONDS, begin_counting
from trivet.control.monitoring.loss_models import Expecting, LossModels
from trivet.control.monitoring.models import Arm, Grain, Profile
from trivet.control.monitoring.packing import pack, unpack
from trivet.control.monitoring.references import Watched, watched
from trivet.control.predictions.shipping import Shipped, moment_of
from trivet.core.constants import NO_VERSION
from trivet.core.decisions import decide
from trivet.core.errors import TrivetError
from trivet.core.profile.layout import Answers, Columns
from trivet.core.profile.making import columns_of, score_columns
from trivet.core.profile.profile import PROFILE_FORMAT, Profile as Counts
from trivet.core.profile.reference import Reference
from trivet.core.profile.segments import Dimension, SegmentLayout
from trivet.core.records import SHADOW, PredictionRecord
from trivet.core.signature import Signature

logger = logging.getLogger(__name__)

SHARD_LENGTH = 64
REMEMBERED = 64  # versions; all are asked for again after a while, for their rows may be counted by more
ASK_AGAIN_SECONDS = 60.0
TELL_SECONDS = 60.0

Minute = int  # since 1970


class Place(NamedTuple):
    """Where counts go: whose they are, in which part it answered, of all rows or apart by a column, and of what time."""

    version: int
    arm: str
    segment: str
    grain: Grain
    start: datetime


class Counted(NamedTuple):
    """A version with what its rows are counted by: its reference, the columns by whose values they are told apart, and what
    says how wrong its answers probably are.
    """

    watched: Watched
    dimensions: tuple[Dimension, ...]
    expecting: Expecting | None


class Folding:
    """Counts what is shipped. One per process that ships; not thread-safe."""

    def __init__(self, shard: str | None = None) -> None:
        """Count for `shard`, by default this machine: its rows are written by nobody else."""
        self._shard = (shard or this_machine())[:SHARD_LENGTH]
        self._counted: dict[tuple[str, str], Counted | None] = {}
        self._loss_models = LossModels()
        self._ask_again_at = self._tell_at = 0.0

    def meet(self, records: Iterable[PredictionRecord]) -> None:
        """Look up what `records` are counted by, before whoever ships them takes a lock: it may be in a storage far away."""
        for model, digest in {(record.model, record.digest) for record in records if record.version != NO_VERSION}:
            self._find(model, digest)

    def __call__(self, shipped: Sequence[Shipped]) -> int:
        """Add the new rows of `shipped` to the profiles of their minutes; return how many could be counted.

        Called in the transaction that ships them.
        """
        counted: dict[Place, Counts] = {}
        for (model, digest), some in _by_version(shipped).items():
            found = self._find(model, digest)
            if found is None:
                continue
            try:
                for place, counts in _fold(found, some):
                    counted[place] = counted[place] + counts if place in counted else counts
            except (TrivetError, ValueError, TypeError, IndexError, OverflowError) as error:
                self._tell(model, error)  # the log does not wait for a count
        rows = 0
        for place, counts in counted.items():
            try:
                _add(place, counts, self._shard)
                rows += 0 if place.segment else counts.rows
            except (TrivetError, ValueError) as error:  # what is there is no profile, or of another layout
                self._tell(str(place), error)
        return rows

    def _find(self, model: str, digest: str) -> Counted | None:
        now = time.monotonic()
        if now >= self._ask_again_at:
            self._ask_again_at = now + ASK_AGAIN_SECONDS
            self._counted.clear()
        key = (model, digest)
        if key not in self._counted:
            while len(self._counted) >= REMEMBERED:
                self._counted.pop(next(iter(self._counted)))
            found = watched(model, digest)
            self._counted[key] = self._counted_by(found) if found is not None else None
        return self._counted[key]

    def _counted_by(self, found: Watched) -> Counted:
        return Counted(found, begin_counting(found), self._loss_models.of(found))

    def _tell(self, model: str, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + TELL_SECONDS
            logger.error("event=not_counted model=%s error=%s: %s", model, type(error).__name__, error)


def this_machine() -> str:
    """Return the name by which what this machine counts is kept apart."""
    return socket.gethostname()[:SHARD_LENGTH]


def _by_version(shipped: Iterable[Shipped]) -> dict[tuple[str, str], list[Shipped]]:
    by_version: dict[tuple[str, str], list[Shipped]] = defaultdict(list)
    for one in shipped:
        if one.record.version != NO_VERSION:
            by_version[one.record.model, one.record.digest].append(one)
    return by_version


def _fold(counted: Counted, shipped: Iterable[Shipped]) -> Iterator[tuple[Place, Counts]]:
    """Yield the counts of those that are alike: of one minute, answers or shadows, with inputs or without."""
    alike: dict[tuple[str, Minute, bool, tuple[str, ...]], list[Shipped]] = defaultdict(list)
    for one in shipped:
        record = one.record
        part = Arm.SHADOW if record.kind == SHADOW else Arm.CHAMPION
        minute, names = record.made_at // MINUTE_NANOSECONDS, tuple(record.output_names)
        alike[part, minute, record.inputs is not None, names].append(one)
    version, reference = counted.watched.version, counted.watched.reference
    signature = version.read_signature()
    for (arm, minute, has_inputs, _), some in alike.items():
        start = moment_of(minute * MINUTE_NANOSECONDS)
        columns, answers = _rows(reference, signature, some, has_inputs=has_inputs)
        counted_here = _count(reference, columns, answers, some)
        if counted.expecting is not None:
            losses = counted.expecting.losses(columns, answers.scores[0])
            counted_here = replace(counted_here, losses=losses)
        counts, moments = counted_here.parted()
        yield Place(version.pk, arm, "", Grain.MINUTE, start), counts
        if moments.moments.any():
            yield Place(version.pk, arm, "", Grain.HOUR, begin_of(start, Grain.HOUR)), moments
        day = begin_of(start, Grain.DAY)
        for dimension in counted.dimensions:
            if minute * MINUTE_NANOSECONDS >= dimension.since:
                told = SegmentLayout(reference, dimension).fold(columns.get(dimension.name), answers)
                yield Place(version.pk, arm, dimension.name, Grain.DAY, day), told


def _rows(
    reference: Reference, signature: Signature, shipped: Sequence[Shipped], *, has_inputs: bool
) -> tuple[Columns, Answers]:
    """Return what was asked and answered in the rows shipped."""
    rows = sum(len(one.rows) for one in shipped)
    names = shipped[0].record.output_names
    outputs = {name: _joined(shipped, place) for place, name in enumerate(names)}
    inputs = {}
    if has_inputs:
        inputs = {spec.name: _joined(shipped, place, of_inputs=True) for place, spec in enumerate(signature.inputs)}
    words = [decision.decision for decision in decide(signature, outputs, rows)]
    scores = score_columns(signature, reference.scores, outputs, rows)
    return columns_of(signature, inputs, rows), Answers(scores, words)


def _count(reference: Reference, columns: Columns, answers: Answers, shipped: Sequence[Shipped]) -> Counts:
    records = [one.record for one in shipped]
    return reference.fold(
        columns,
        answers,
        latency_us=np.array([record.latency_us for record in records], dtype=np.float64),
        counters=(
            sum(len(one.rows) for one in shipped if one.record.cached),
            sum(len(one.rows) for one in shipped if one.record.fallback_from),
            sum(len(set(one.record.flags or ()).intersection(one.rows)) for one in shipped),
        ),
    )


def _joined(shipped: Sequence[Shipped], place: int, *, of_inputs: bool = False) -> list[Any]:
    """Return the elements of one tensor of the rows shipped, one record's after the other's."""
    return list(chain.from_iterable(_elements(one, place, of_inputs=of_inputs) for one in shipped))


def _elements(one: Shipped, place: int, *, of_inputs: bool) -> list[Any]:
    record: PredictionRecord = one.record
    tensors = (record.inputs or []) if of_inputs else record.outputs
    flat = tensors[place]
    if len(one.rows) == record.rows:
        return flat
    width = len(flat) // record.rows
    return [element for row in one.rows for element in flat[row * width : (row + 1) * width]]


def _add(place: Place, counts: Counts, shard: str) -> None:
    """Add `counts` to those of the same time; the next compacting takes a minute on, where it was there before.

    Segments are by the day from the beginning, since nothing looks at them closer.
    """
    key = {
        "version_id": place.version,
        "arm": place.arm,
        "segment": place.segment,
        "grain": place.grain,
        "start": place.start,
        "shard": shard,
    }
    row = Profile.objects.filter(**key).first()
    if row is None:
        Profile.objects.create(**key, rows=counts.rows, payload=pack(counts), format=PROFILE_FORMAT)
        return
    total = unpack(row.payload) + counts
    Profile.objects.filter(pk=row.pk).update(rows=total.rows, payload=pack(total))
