"""The meter: what one process counts of its requests. An answer costs about ten additions, and no lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from trivet.dataplane.metrics import host
from trivet.dataplane.metrics.families import BUCKETS, BY_NAME, FINEST_NS, bucket
from trivet.dataplane.metrics.host import Counts
from trivet.dataplane.metrics.sheet import VALUE, Key, Sheet, bits_of
from trivet.dataplane.metrics.totals import (
    ANSWERS,
    BATCH,
    BATCHED,
    CACHED,
    CALLS,
    DECODE,
    ENCODE,
    EXACT_ROWS,
    IN_BATCH,
    INFER,
    QUEUE,
    QUICK,
    RECORD,
    ROWS,
    RUN,
    RUNNING,
    SLOW,
    STAGES,
    TIMED,
    VALIDATE,
    Totals,
    rows_label,
    totals_of,
)
from trivet.dataplane.protocol.messages import Answer, Scalar

now = time.monotonic_ns
_TO_WALL = time.time_ns() - time.monotonic_ns()  # what a wall clock is ahead of `now`


class _Account:
    """Where answers of one kind are counted: their own slots, the histograms of their protocol, their version's last."""

    __slots__ = ("answers", "last", "spread")

    def __init__(self, answers: memoryview, spread: memoryview, last: memoryview) -> None:
        self.answers = answers
        self.spread = spread
        self.last = last


class Meter:
    """Counts for one process, and reads what all of the host have counted. Thread-safe.

    Of the counting methods those on the path of a request add to slots that are there already: an addition to a slot
    is one step under the GIL. Slots are made, under a lock, with the first request of their labels.
    """

    def __init__(self, root: Path | None = None, worker: str = "") -> None:
        """Count under `root` as `worker`; without a root in memory, for this process alone."""
        self._root = root
        self._sheet = Sheet(root, worker)
        self._runs: dict[Key, memoryview] = {}
        self._accounts: dict[tuple[str, int, str, str, int], _Account] = {}
        self._opening = threading.Lock()
        if root is not None:
            host.fold(root)

    # --- on the path of a request -------------------------------------------------------------------------------------

    def answered(self, answer: Answer, protocol: str, began: int, ended: int, waited: int = 0) -> None:
        """Count an answer, once its bytes are made.

        `began` is when the request's body was complete, `ended` when the answer's was, in nanoseconds of `now`; `waited`
        is how long of it the request waited for a thread.
        """
        rows = answer.rows
        how = CACHED if answer.cached else BATCHED if answer.is_batched else RUN
        key = (answer.model, answer.version, protocol, how, rows)
        account = self._accounts.get(key) or self._open_account(key)
        entered, validated, ran, recorded = answer.stations
        decode, infer = entered - began - waited, ran - validated
        if answer.queued_ns:
            queued = min(answer.queued_ns, infer)
            waited, infer = waited + queued, infer - queued
        slots = account.answers
        slots[DECODE] += decode
        slots[VALIDATE] += validated - entered
        slots[INFER] += infer
        slots[RECORD] += recorded - ran
        slots[ENCODE] += ended - recorded
        account.last[0] = ended + _TO_WALL
        if ended - began <= FINEST_NS:
            slots[QUICK] += 1
        else:
            slots[SLOW] += 1
            stages = (decode, validated - entered, waited, infer, ended - recorded, recorded - ran)
            _spread(account.spread, ended - began, *stages)
        if waited:
            slots[QUEUE] += waited
        if rows > EXACT_ROWS:
            slots[ROWS] += rows
        if answer.flags:
            self.count("trivet_flagged_rows_total", answer.model, str(answer.version), by=len(answer.flags))
        for output in answer.outputs:
            if output.parameters is not None:
                self._count_non_finite(answer, output.parameters)

    def refused(self, model: str, version: int, protocol: str, code: str, nanoseconds: int) -> None:
        """Count a request that was refused.

        `model` is a registered name or `UNKNOWN`, `version` 0 where none was chosen, `protocol` empty where no prediction
        was asked for.
        """
        slots = self._run("refused", (model, str(version or ""), protocol, code), TIMED)
        slots[1] += nanoseconds
        slots[0] += 1

    def looked_up(self, model: str, version: int, result: str, nanoseconds: int = 0) -> None:
        """Count a look-up in the cache: hit, miss, shared or bypass."""
        slots = self._run("lookup", (model, str(version), result), TIMED)
        slots[1] += nanoseconds
        slots[0] += 1

    def called(self, model: str, version: int, rows: int, nanoseconds: int) -> None:
        """Count one call of a model that several requests may have shared: their answers say `is_batched`."""
        slots = self._run("batch", (model, str(version), rows_label(rows)), BATCH)
        slots[RUNNING] += nanoseconds
        if rows > EXACT_ROWS:
            slots[IN_BATCH] += rows
        slots[CALLS] += 1

    # --- any family by its name ---------------------------------------------------------------------------------------

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Add to a counter."""
        self._run("count", (name, *labels), 1)[0] += by

    def gauge(self, name: str, *labels: str, value: int) -> None:
        """Say how a gauge of this process stands; a whole number of its unit."""
        family = BY_NAME[name]
        kind = "least" if family.is_least or family.is_age else "gauge"
        self._run(kind, (name, *labels), 1)[0] = value

    def value(self, name: str, *labels: str, value: float) -> None:
        """Say how a gauge of this process stands that is no whole number; NaN takes it back."""
        self._run(VALUE, (name, *labels), 1)[0] = bits_of(value)

    def observe(self, name: str, *labels: str, nanoseconds: int) -> None:
        """Add to a histogram."""
        slots = self._run("histogram", (name, *labels), BUCKETS + 1)
        slots[BUCKETS] += nanoseconds
        slots[bucket(nanoseconds)] += 1

    # --- what the whole host has counted ------------------------------------------------------------------------------

    def read(self) -> Counts:
        """Return what all processes of this host have counted, those that ended included. Reads a few files."""
        if self._root is None:
            return {(kind, *labels): run.tolist() for (kind, *labels), run in self._runs.copy().items()}
        return host.read(self._root)

    def totals(self) -> dict[tuple[str, int], Totals]:
        """Return what this host has counted of each model and version: what Triton's statistics tell."""
        return totals_of(self.read())

    def close(self) -> None:
        """Stop counting where others look; what was counted stays in the host's totals."""
        self._sheet.close()

    # --- slots --------------------------------------------------------------------------------------------------------

    def _count_non_finite(self, answer: Answer, parameters: Mapping[str, Scalar]) -> None:
        if values := int(parameters.get("nan") or 0) + int(parameters.get("inf") or 0):
            self.count("trivet_nonfinite_outputs_total", answer.model, str(answer.version), by=values)

    def _run(self, kind: str, labels: Key, length: int) -> memoryview:
        key = (kind, *labels)
        run = self._runs.get(key)
        if run is None:
            with self._opening:
                run = self._runs.get(key)
                if run is None:
                    self._runs[key] = run = self._sheet.run(kind, labels, length)
        return run

    def _open_account(self, key: tuple[str, int, str, str, int]) -> _Account:
        model, number, protocol, how, rows = key
        version = str(number)
        account = _Account(
            self._run("answers", (model, version, protocol, how, rows_label(rows)), ANSWERS),
            self._run("spread", (model, version, protocol, how), BUCKETS * (1 + len(STAGES))),
            self._run("last", (model, version), 1),
        )
        self._accounts[key] = account
        return account


def _spread(slots: memoryview, *durations: int) -> None:
    """Put the request, then each of its stages, into their buckets."""
    for place, nanoseconds in enumerate(durations):
        slots[place * BUCKETS + bucket(nanoseconds)] += 1
