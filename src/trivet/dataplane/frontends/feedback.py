"""`POST /v2/models/{m}/feedback`: what turned out true is appended to the spool, and applied by whoever ships that.

So labels are taken while the database is away, and may come before their predictions do. A call is judged like every other:
key, verb, limit, log; but a model of which nothing is loaded still takes them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from trivet.core.errors import Unavailable
from trivet.core.ids import new_prediction_id
from trivet.core.records import LabelRecord, SaidLabel, encode_record
from trivet.dataplane.authentication import authenticate, authorise
from trivet.dataplane.frontends.doors import FEEDBACK, JSON, LABELS_DOORS
from trivet.dataplane.frontends.paths import Target
from trivet.dataplane.frontends.slow_lane import Lane
from trivet.dataplane.lease import now_ns
from trivet.dataplane.metrics.exposition import OK
from trivet.dataplane.metrics.meter import now
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol.messages import Caller
from trivet.dataplane.protocol.metadata import encode
from trivet.dataplane.spool import MAX_RECORD_BYTES, Spool


class FeedbackCall:
    """One call, judged when it is made: raises what `enter` does, but for models of which nothing is loaded."""

    status = 202  # they are kept, not yet applied
    media = JSON
    lane = Lane()
    is_slow = False
    is_recorded = True

    def __init__(
        self, plane: Plane, credentials: str | Caller | None, target: Target, request_id: str, *, is_held: bool
    ) -> None:
        """With `is_held` the door sends nothing before the log is on disk, where that is asked for; else `body` waits."""
        if plane.lease.is_over:
            plane.lease.catch_up()
        table = plane.table
        self._caller = (
            credentials if isinstance(credentials, Caller) else authenticate(table, plane.peppers, credentials)
        )
        authorise(table, self._caller, target.model, "label")
        if self._caller.limits:
            plane.limiter.admit(self._caller, target.model, now_ns())
        if plane.is_closed:
            raise Unavailable("this worker is shutting down; ask again.", code="DRAINING")
        plane.spool.ensure_writable()
        _check_kept(plane.spool)
        self._plane = plane
        self._target = target
        self._request_id = request_id
        self._is_held = is_held
        self._began = 0
        self._labels: list[SaidLabel] = []

    def receive(self, body: bytes) -> None:
        """Read the body; raises `InvalidRequest`."""
        self._began = now()
        self._labels = LABELS_DOORS[self._target.kind](body)

    def body(self) -> bytes:
        """Append the labels, and return the answer's bytes; raises `Unavailable` where they cannot be kept."""
        plane, receipt = self._plane, new_prediction_id()
        record = LabelRecord(
            receipt, time.time_ns(), self._target.model, self._caller.name, self._labels, self._request_id
        )
        for payload in _payloads(record):
            plane.spool.append(payload)
            _check_kept(plane.spool)
        if plane.spool.commits is not None and not self._is_held:
            plane.spool.commits.wait()
        answer = encode({"accepted": len(self._labels), "receipt": receipt})
        plane.meter.count("trivet_requests_total", self._target.model, "", FEEDBACK, OK)
        took = now() - self._began
        plane.meter.observe("trivet_request_seconds", self._target.model, "", FEEDBACK, nanoseconds=took)
        return answer


def _check_kept(spool: Spool) -> None:
    """Raise `Unavailable` where the log cannot be written; also where predictions are answered all the same."""
    if not spool.is_writable:
        raise Unavailable("the log cannot be written, so no label is taken.", code="LOG_UNAVAILABLE")


def _payloads(record: LabelRecord) -> Iterator[bytes]:
    """Yield `record` as frames of the spool may hold it: whole, or in parts with one receipt."""
    if not record.labels:
        return
    payload, half = encode_record(record), len(record.labels) // 2
    if len(payload) <= MAX_RECORD_BYTES or not half:
        yield payload
        return
    for part in (record.labels[:half], record.labels[half:]):
        yield from _payloads(msgspec.structs.replace(record, labels=part))
