"""One call, without I/O: its metadata is read, its message judged, and its answer or refusal written."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from trivet.core.errors import InternalError, InvalidRequest, RateExceeded, TrivetError, Unavailable, quoted
from trivet.core.ids import new_prediction_id
from trivet.dataplane.authentication import authenticate, authorise
from trivet.dataplane.deadline import deadline_of
from trivet.dataplane.frontends.grpc.codec import Message, read_request, write_answer
from trivet.dataplane.frontends.grpc.descriptor import inference
from trivet.dataplane.frontends.grpc.strangers import Place
from trivet.dataplane.frontends.headers import REPEATED, presented_key, presented_traceparent, read_headers
from trivet.dataplane.frontends.slow_lane import Lane, is_slow, lane_of
from trivet.dataplane.infer import Entrance, enter, infer
from trivet.dataplane.metrics.exposition import OK
from trivet.dataplane.metrics.families import UNKNOWN
from trivet.dataplane.metrics.meter import now
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol.catalogue import grpc_status
from trivet.dataplane.protocol.decode import ID_PATTERN
from trivet.dataplane.protocol.messages import Answer, Caller
from trivet.dataplane.witness import Passage

logger = logging.getLogger(__name__)

DOOR = "grpc"  # what the log and the metrics call it
STATUSES = {code.value[0]: code for code in grpc.StatusCode}
INTERNAL = grpc.StatusCode.INTERNAL.value[0]
LONGEST_ID = 128
LONGEST_MODEL_NAME = 63  # a longer one names nothing; it is cut, so that a refusal can repeat it
Metadata = Sequence[tuple[str, str]]


class Refusal(NamedTuple):
    """What a failed call is told: status, text, and trailing metadata with the catalogue's code."""

    status: grpc.StatusCode
    text: str
    code: str
    metadata: Metadata


class Call:
    """One RPC as its metadata shows it, and what is counted of it.

    `ends` is the client's deadline, as an instant of `time.monotonic()`; `door` is empty where no prediction is asked for.
    """

    def __init__(self, plane: Plane, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        self.plane = plane
        self._headers = read_headers([(name.encode(), _encoded(value)) for name, value in metadata])
        given = self._headers.get(b"x-request-id", b"").decode("latin-1")
        self.request_id = given if ID_PATTERN.fullmatch(given) else ""
        self.ends = math.inf
        self.door = ""
        self.is_stranger = True  # until a key is seen
        self.place: Place | None = None  # of a stranger
        self._model = ""
        self._entrance: Entrance | None = None
        self._began = 0
        self._arrived = 0

    def arrive(self) -> None:
        """Note that a message is there, which waits for a thread to be read: that counts."""
        self._arrived = now()

    def begin(self, message: Message) -> int:
        """Note that `message` asks for a prediction, and when it was there; return for how long it waited to be read."""
        read_at, arrived, self._arrived = now(), self._arrived, 0
        self._model, self._entrance, self._began = cut_name(message.model_name), None, arrived or read_at
        return read_at - self._began

    def enter(self, caller: Caller) -> Entrance:
        """Return the entrance of `caller` to the model that was asked; raises what the corridor's `enter` raises."""
        self._entrance = entrance = enter(self.plane, caller, self._model, "predict")
        entrance.traceparent = presented_traceparent(self._headers)
        return entrance

    @property
    def began(self) -> int:
        """When the message was there, in nanoseconds of `now`."""
        return self._began

    def authenticate(self) -> Caller:
        """Return who calls; raises `Unauthenticated` for a key that is not valid, `InvalidRequest` for one sent twice."""
        if REPEATED in self._headers:
            name = self._headers[REPEATED].decode("latin-1")
            raise InvalidRequest(f"the metadata {quoted(name)} stands twice.", code="BAD_HEADER")
        return authenticate(self.plane.table, self.plane.peppers, presented_key(self._headers))

    def judge_again(self) -> None:
        """Refuse a caller whose key has ended since they were let in; raises what `authenticate` and `authorise` raise."""
        authorise(self.plane.table, self.authenticate(), self._model, "predict")

    def refuse(self, error: TrivetError) -> Refusal:
        """Return what the caller is told of `error`."""
        status = grpc_status(error)
        if status == INTERNAL:
            logger.error("event=internal_error door=grpc code=%s", error.code)
            error = InternalError("internal error; the server's log has it.")
        version = self._entrance.version if self._entrance else 0
        self.plane.count_refusal(error, self._model, version, self.door, self._began)
        if self.plane.witnesses and self.door:
            self.request_id = self.request_id or new_prediction_id()
            self.be_seen(version, error.code, now())
        metadata = [("trivet-error", error.code), *self.trailing]
        if isinstance(error, RateExceeded):
            metadata.append(("retry-after", str(error.retry_after)))
        return Refusal(STATUSES[status], error.message, error.code, metadata)

    def be_seen(self, version: int, code: str, ended: int, answer: Answer | None = None, waited: int = 0) -> None:
        """Show what was asked, which is over, to whoever wants to see it."""
        model = self._model if self._model in self.plane.table.models else UNKNOWN
        traceparent = presented_traceparent(self._headers)
        request_id = self.request_id or (answer.prediction_id if answer else "")
        passage = Passage(DOOR, model, version, code, self._began, ended, request_id, traceparent, answer, waited)
        for witness in self.plane.witnesses:
            witness.see(passage)

    @property
    def trailing(self) -> Metadata:
        """The metadata that every call ends with."""
        return [("x-request-id", self.request_id or new_prediction_id())]


class Prediction:
    """One message that asks for a prediction, decoded for a caller who was let in. Call `run`, in a thread if `is_slow`."""

    def __init__(self, call: Call, caller: Caller, message: Message, *, ignored: frozenset[str] = frozenset()) -> None:
        """Parameters of the request that are `ignored` are for the door. Raises what `enter` raises, and `InvalidRequest`."""
        self._waited = call.begin(message)  # for a thread
        self._call = call
        self._entrance = call.enter(caller)
        self._selector = message.model_version or None
        self._is_raw = bool(message.raw_input_contents)
        self._request = read_request(message, ignored=ignored)
        due = deadline_of(self._request.parameters, call.plane.limits.deadline_seconds, call.began / 1e9)
        self._deadline = min(due, call.ends)
        self._waits_since = 0  # for another
        self.trailing: Metadata = ()

    @property
    def is_slow(self) -> bool:
        """True when `run` may take longer than an event loop should be held: say `wait` before it does."""
        return is_slow(self._entrance, self._request, self._call.plane.limits, self._selector)

    @property
    def lane(self) -> Lane:
        """Where it waits for a thread."""
        return lane_of(self._entrance, self._call.plane.limits)

    def wait(self) -> None:
        """Note that it waits for a thread from now on."""
        self._waits_since = now()

    def run(self, refusal: Unavailable | None = None) -> Message:
        """Predict, record, and return the ModelInferResponse; `trailing` is then the metadata its call ends with.

        With a `refusal` the version had no room: who stands in for it answers, where that takes no waiting. Nothing is
        sent of it before `spool.commits` says so, where there are such. Raises what `infer` raises.
        """
        call = self._call
        if self._waits_since:
            call.judge_again()
        waited = self._waited + (now() - self._waits_since if self._waits_since else 0)
        answer = infer(
            call.plane,
            self._entrance,
            self._request,
            door=DOOR,
            selector=self._selector,
            request_id=call.request_id,
            deadline=self._deadline,
            is_held=True,
            refusal=refusal,
        )
        self.trailing = [
            ("trivet-prediction-id", answer.prediction_id),
            ("trivet-model-version", str(answer.version)),
            ("x-request-id", call.request_id or answer.prediction_id),
        ]
        message = write_answer(answer, is_raw=self._is_raw)
        ended = now()
        call.plane.meter.answered(answer, DOOR, call.began, ended, waited)
        if call.plane.witnesses:
            call.be_seen(answer.version, OK, ended, answer, waited)
        return message


def parsed(message_type: Any, data: bytes) -> Message:
    """Return the message in `data`; raises `InvalidRequest`."""
    try:
        return message_type.FromString(data)
    except DecodeError:
        name = message_type.DESCRIPTOR.full_name
        raise InvalidRequest(f"the message is no {name}.", code="WRONG_TYPE") from None


def given_id(data: bytes) -> str:
    """Return the id of a ModelInferRequest that failed, cut to what an id may have; empty where there is none."""
    try:
        return str(parsed(inference.ModelInferRequest, data).id[:LONGEST_ID])
    except InvalidRequest:
        return ""


def cut_name(given: str) -> str:
    """Return a model's name to look for: one that is too long, and so names nothing, without its end."""
    return given[: LONGEST_MODEL_NAME + 1]


def _encoded(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")
