"""The keeper: ships the spool of this machine into the prediction log, exactly once.

Rows are inserted where they are not there yet, and the cursor moves in the same transaction; a segment is removed
after that has committed. So it may be killed at any instant and begin again. One keeper works at a time on one
machine: the one that holds the lock on `keeper.lock`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from django.db import DataError, Error as DatabaseFailure, connections

from trivet import conf
from trivet.control.monitoring.folding import Folding
from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.predictions.labelling import Counts, apply_labels, apply_waiting
from trivet.control.predictions.shipping import Shipped, forget_segment, ship, shipped_offset
from trivet.control.registry.models import Worker
from trivet.control.registry.storage import make_private
from trivet.core.ids import new_prediction_id
from trivet.core.records import LabelRecord, PredictionRecord, Record, decode_any
from trivet.dataplane.metrics.sheet import Sheet
from trivet.dataplane.metrics.tally import Counting, Tally
from trivet.dataplane.spool import Segment, remove_abandoned, segments, spool_bytes
from trivet.serving.chores import Chore, chores
from trivet.serving.inline_guard import Teller

logger = logging.getLogger(__name__)

BATCH_ROWS = 1000  # a transaction: SQLite's writers wait for one another, so none may be long
IDLE_SECONDS = 0.25
REST = 2.0  # seconds of rest a second of work, between transactions: answers go before their log's shipping
STOP_SECONDS = 10.0
SET_ASIDE_SECONDS = 60.0
PRUNE_SECONDS = 60.0
TELL_SECONDS = 60.0  # between lines about the same trouble
LOCK_NAME = "keeper.lock"
UNREADABLE = "unreadable"  # folder of records that another release wrote


class Keeper:
    """Ships the segments under one spool folder."""

    def __init__(
        self,
        spool: Path,
        *,
        hurry_bytes: int = 0,
        counting: Counting | None = None,
        besides: Sequence[Chore] = (),
    ) -> None:
        """Ship what lies under `spool`. While less than `hurry_bytes` wait, it rests between transactions.

        `counting` is where it counts for `/metrics`; by default nobody sees it. `besides` is what this one has to do more than
        any keeper.
        """
        self._spool = spool
        self._hurry_bytes = hurry_bytes
        self._lock = -1
        self._offsets: dict[tuple[str, int], int] = {}
        self._set_aside: dict[Path, float] = {}
        self._last_prune = time.monotonic()
        self._counting = counting if counting is not None else Tally()
        self._folding, self._label_folding = Folding(), LabelFolding()
        self._chores = [*chores(self._tell, self._counting), *besides]
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_database_away = False
        self._tell_at = 0.0
        self._teller = Teller()

    def start(self) -> None:
        """Ship from a daemon thread until `stop`; another keeper of this machine goes first."""
        self._thread = threading.Thread(target=self.run, name="trivet-keeper", daemon=True)
        self._thread.start()

    def run(self) -> None:
        """Ship until `stop` is called; what is left then is shipped before it returns."""
        while not self._stopping.wait(IDLE_SECONDS):
            self._try()
        self._try()
        self._release()
        connections.close_all()

    def stop(self) -> None:
        """Ask `run` to ship what is left and to return; wait for the thread that `start` made."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=STOP_SECONDS)

    def abandon_after_fork(self) -> None:
        """In a forked child: drop the inherited descriptor, so that the lock is the parent's alone."""
        self._release()

    def step(self) -> int:
        """Ship all there is, once; return how many records. 0 when another keeper holds the lock or the database is away.

        A segment that cannot be shipped for another reason is left for a minute; the others go on.
        """
        if not self._hold():
            return 0
        shipped = 0
        for segment in segments(self._spool):
            if self._set_aside.get(segment.path, 0.0) > time.monotonic():
                continue
            try:
                shipped += self._ship_segment(segment)
            except Exception as error:
                if isinstance(error, DatabaseFailure) and not isinstance(error, DataError):
                    self._wait_for_database(error)
                    return shipped
                logger.exception("event=segment_not_shipped path=%s/%d", segment.worker, segment.number)
                self._set_aside[segment.path] = time.monotonic() + SET_ASIDE_SECONDS
        remove_abandoned(self._spool)
        self._tidy()
        return shipped

    def _try(self) -> None:
        """Ship what there is; a disk, or a bound on descriptors, that forbids it may allow it later."""
        try:
            self.step()
        except OSError as error:
            now = time.monotonic()
            if now >= self._tell_at:
                self._tell_at = now + TELL_SECONDS
                logger.error("event=not_shipped error=%s", error)  # noqa: TRY400  (the message is the finding)

    def _wait_for_database(self, error: DatabaseFailure) -> None:
        if not self._is_database_away:
            logger.error("event=log_away error=%s", error)
        self._is_database_away = True
        self._offsets.clear()
        connections.close_all()

    def _database_answers(self) -> None:
        """Say that the log is back, and what was given up, as soon as may be: what had to wait may take long to ship."""
        if self._is_database_away:
            logger.warning("event=log_back")
            self._is_database_away = False
        self._teller.tell()

    def _tidy(self) -> None:
        """Now that the database answers: forget workers that nobody has heard of for long, and do a step of each chore."""
        try:
            self._database_answers()
            if time.monotonic() - self._last_prune > PRUNE_SECONDS:
                Worker.objects.all().prune(conf.LEASE_SECONDS())
                self._last_prune = time.monotonic()
            for chore in self._chores:
                chore.step()
        except DatabaseFailure as error:  # perhaps the first to find out: where nothing is shipped, nothing else asks
            self._wait_for_database(error)

    def _tell(self, counts: Counts) -> None:
        for (model, result), labels in counts.items():
            self._counting.count("trivet_labels_total", model, result, by=labels)

    def _ship_segment(self, segment: Segment) -> int:
        place = (segment.worker, segment.number)
        offset = self._offsets.get(place)
        if offset is None:
            offset = shipped_offset(*place)
            segment.mark_shipped(offset)
        shipped = 0
        may_rest = spool_bytes(self._spool) < self._hurry_bytes
        for batch in _batches(self._records(segment, offset)):
            started = time.monotonic()
            offset = batch[-1][1]
            self._ship_batch([record for record, _ in batch if record is not None], (*place, offset))
            self._database_answers()
            self._offsets[place] = offset
            segment.mark_shipped(offset)
            shipped += len(batch)
            if may_rest:
                self._stopping.wait(REST * (time.monotonic() - started))
        if segment.is_final:
            segment.remove()
            forget_segment(*place)
            self._offsets.pop(place, None)
        return shipped

    def _ship_batch(self, records: list[Record], cursor: tuple[str, int, int]) -> None:
        """Ship predictions and then apply labels, in one transaction; then those that had come before their predictions."""
        predictions = [record for record in records if isinstance(record, PredictionRecord)]
        labels = [record for record in records if isinstance(record, LabelRecord)]
        counts: Counts = Counter()
        folded = 0

        def beside(shipped: Sequence[Shipped]) -> None:
            nonlocal folded
            folded = self._folding(shipped)
            if labels:
                counts.update(apply_labels(labels, beside=self._label_folding))

        if predictions or not labels:
            self._folding.meet(predictions)
            ship(predictions, cursor=cursor, beside=beside)
            counts.update(apply_waiting(predictions, beside=self._label_folding))
        else:
            counts.update(apply_labels(labels, cursor=cursor, beside=self._label_folding))
        self._tell(counts)
        if folded:
            self._counting.count("trivet_folded_rows_total", by=folded)
            lag = time.time_ns() - max(record.made_at for record in predictions)
            self._counting.value("trivet_fold_lag_seconds", value=max(lag, 0) / 1e9)

    def _records(self, segment: Segment, offset: int) -> Iterator[tuple[Record | None, int]]:
        """Yield each record with the offset after it. One that this release cannot read is kept in a file of its own."""
        for payload, after in segment.payloads(offset):
            try:
                yield decode_any(payload), after
            except msgspec.DecodeError:  # its CRC is right, so another release wrote it
                kept = self._spool.parent / UNREADABLE / f"{segment.worker}-{segment.number}-{after}.record"
                kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                kept.write_bytes(payload)
                logger.error("event=record_unreadable kept=%s bytes=%d", kept.name, len(payload))  # noqa: TRY400
                yield None, after

    def _hold(self) -> bool:
        if self._lock >= 0:
            return True
        make_private(self._spool)
        descriptor = os.open(self._spool.parent / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def spool_root() -> Path:
    """Return the folder under which each worker of this machine has its own."""
    return conf.HOME() / "spool"


def metrics_root() -> Path:
    """Return the folder in which each process of this machine counts."""
    return conf.HOME() / "metrics"


def counting_of_keeper() -> Tally:
    """Return where a process counts that is a keeper and nothing else, so that every worker of this machine reads it."""
    return Tally(_sheet)


def _sheet() -> Sheet:
    make_private(metrics_root())
    return Sheet(metrics_root(), f"keeper-{new_prediction_id()}")


def _batches(records: Iterator[tuple[Record | None, int]]) -> Iterator[list[tuple[Record | None, int]]]:
    """Yield records in lists of about BATCH_ROWS rows of the log, and labels."""
    batch: list[tuple[Record | None, int]] = []
    rows = 0
    for record, after in records:
        batch.append((record, after))
        rows += _rows_of(record)
        if rows >= BATCH_ROWS:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def _rows_of(record: Record | None) -> int:
    if record is None:
        return 0
    return record.rows if isinstance(record, PredictionRecord) else len(record.labels)
