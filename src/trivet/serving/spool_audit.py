"""Do spool and log agree? What is shipped must be there, unless it was pruned; what is not must not be."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import msgspec

from trivet.control.predictions.models import LogLink, Prediction
from trivet.control.predictions.shipping import shipped_offset
from trivet.control.registry.history import Break
from trivet.core.records import LabelRecord, PredictionRecord, decode_any
from trivet.dataplane.spool import Segment, segments

RECORDS_AT_ONCE = 200
Row = tuple[UUID, int]


class SpoolAudit(NamedTuple):
    """What was found on this machine: records in the log already, records that wait, and where both differ."""

    shipped: int
    waiting: int
    broken: Break | None


def audit_spool(root: Path) -> SpoolAudit:
    """Hold the segments under `root` against the log, a few records at a time; the keeper may ship meanwhile."""
    shipped = waiting = 0
    for segment in segments(root):
        cursor = shipped_offset(segment.worker, segment.number)
        batches = _ShippedBatches(segment)
        for batch in _batches(segment):
            before = [(record, after) for record, after in batch if after <= cursor]
            behind = [record for record, after in batch if after > cursor]
            gone = _gone(before, batches)
            if gone and shipped_offset(segment.worker, segment.number) >= cursor:
                return SpoolAudit(shipped, waiting, _broken(segment, gone, "missing", "is shipped, but not in the log"))
            early = _rows(behind) & _in_log(behind)
            if early and _still_waits(segment, cursor):
                text = "is in the log, though nobody has shipped it"
                return SpoolAudit(shipped, waiting, _broken(segment, early, "inserted", text))
            shipped, waiting = shipped + len(before), waiting + len(behind)
    return SpoolAudit(shipped, waiting, None)


def _still_waits(segment: Segment, cursor: int) -> bool:
    """True where nobody shipped on from `cursor`. The keeper forgets the cursor after the file, so that is looked at last."""
    return shipped_offset(segment.worker, segment.number) <= cursor and segment.path.exists()


class _ShippedBatches:
    """The batches in which a segment was shipped, as the links of the log tell: where each ended, and if it was pruned.

    They are asked for once, and after a row was found to be gone: rows are pruned in the transaction that says so.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment

    def is_pruned(self, after: int) -> bool:
        """True where the record that ends at the offset `after` was in a batch whose rows were pruned."""
        ends, pruned = self._links
        place = bisect_left(ends, after)
        return place < len(ends) and pruned[place]

    def ask_again(self) -> None:
        """Forget what was read: more may have been pruned since."""
        self.__dict__.pop("_links", None)

    @cached_property
    def _links(self) -> tuple[list[int], list[bool]]:
        links = LogLink.objects.filter(worker=self._segment.worker, segment=self._segment.number).order_by("offset")
        told = list(links.values_list("offset", "pruned_by"))
        return [offset for offset, _ in told], [by is not None for _, by in told]


def _gone(shipped: list[tuple[PredictionRecord, int]], batches: _ShippedBatches) -> set[Row]:
    """Return the rows that are not in the log, though they were shipped and nobody pruned them."""
    there = _in_log([record for record, _ in shipped])
    lost = [(record, after) for record, after in shipped if not _rows([record]) <= there]
    if any(not batches.is_pruned(after) for _, after in lost):
        batches.ask_again()
    return _rows([record for record, after in lost if not batches.is_pruned(after)]) - there


def _batches(segment: Segment) -> Iterator[list[tuple[PredictionRecord, int]]]:
    batch: list[tuple[PredictionRecord, int]] = []
    for payload, after in segment.payloads(0):
        try:
            record = decode_any(payload)
        except msgspec.DecodeError:
            continue  # of another release; the keeper keeps it in a file of its own
        if isinstance(record, LabelRecord):
            continue  # what became of it is no row of the log
        batch.append((record, after))
        if len(batch) == RECORDS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _rows(records: list[PredictionRecord]) -> set[Row]:
    return {(UUID(record.id), row) for record in records for row in record.places or range(record.rows)}


def _in_log(records: list[PredictionRecord]) -> set[Row]:
    ids = [UUID(record.id) for record in records]
    return set(Prediction.objects.filter(prediction_id__in=ids).values_list("prediction_id", "row")) if ids else set()


def _broken(segment: Segment, rows: set[Row], kind: str, text: str) -> Break:
    prediction, row = min(rows)
    name = f"row {prediction}:{row}"
    return Break(name, kind, f"{name} of segment {segment.worker}/{segment.number} {text}")
