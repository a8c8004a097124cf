"""REST without I/O: an exchange is fed a head, then perhaps a body, and gives a response. ASGI and WSGI drive it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import NamedTuple

from trivet.core.errors import InvalidRequest, NotFound, TrivetError, Unavailable, quoted
from trivet.core.ids import new_prediction_id
from trivet.dataplane.authentication import authenticate, authorise
from trivet.dataplane.deadline import deadline_of
from trivet.dataplane.engines.base import Question
from trivet.dataplane.frontends.descriptions import PUBLIC, describe, health
from trivet.dataplane.frontends.doors import DOORS, JSON, LABELS_DOORS, ROWS_DOORS
from trivet.dataplane.frontends.feedback import FeedbackCall
from trivet.dataplane.frontends.headers import (
    JSON_LENGTH,
    REPEATED,
    Headers,
    check_media,
    content_length,
    is_allowed_host,
    is_csv,
    is_ndjson,
    presented_key,
    presented_traceparent,
    too_large,
)
from trivet.dataplane.frontends.paths import METHODS, READ, Target, likely_slip, parse_path
from trivet.dataplane.frontends.reading import READ_FROM_FILES, Reading
from trivet.dataplane.frontends.repository import CHANGES, KINDS, RepositoryCall
from trivet.dataplane.frontends.slow_lane import Lane, is_slow, lane_of
from trivet.dataplane.infer import Asked, Entrance, enter, infer, put
from trivet.dataplane.metrics.exposition import OK
from trivet.dataplane.metrics.families import UNKNOWN
from trivet.dataplane.metrics.meter import now
from trivet.dataplane.outputs import ANSWER_US_PER_BYTE
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol.catalogue import http_status, retry_after
from trivet.dataplane.protocol.compression import (
    COMPRESSED_FROM,
    accepted_encoding,
    check_encoding,
    deflate,
    inflate,
)
from trivet.dataplane.protocol.decode import ID_PATTERN, decode_infer, decode_mixed
from trivet.dataplane.protocol.encode import encode_error, encode_tensors
from trivet.dataplane.protocol.messages import Answer, Caller, InferRequest, RowsRequest
from trivet.dataplane.protocol.metadata import encode
from trivet.dataplane.witness import Passage

logger = logging.getLogger(__name__)

BINARY = b"application/octet-stream"
_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
JUDGED_FOR_NS = 250_000_000  # chosen: well within the second that a key which has ended is promised to last at most
_VERBS = {  # of what takes another than "predict"
    **dict.fromkeys(CHANGES, "promote"),
    **dict.fromkeys(LABELS_DOORS, "label"),
    "model_statistics": "view",
}
WITHOUT_HOST_CHECK = PUBLIC | {"metrics"}  # probes and scrapers send a pod's address
MAX_PATH = 512  # characters; the longest path that names something has under 200


class Response(NamedTuple):
    """What goes back: status, headers as bytes, body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Exchange:
    """One request and its response. Call `begin`; while the result is None, go on with `receive`, then `run`."""

    __slots__ = (
        "_arrived",
        "_asked",
        "_began",
        "_call",
        "_deadline",
        "_entrance",
        "_headers",
        "_holds",
        "_json_length",
        "_judged",
        "_judged_by",
        "_method",
        "_path",
        "_plane",
        "_query",
        "_request",
        "_target",
        "_waited",
        "_waits_since",
        "credentials",
        "request_id",
    )

    def __init__(
        self,
        plane: Plane,
        method: str,
        path: str,
        headers: Headers,
        credentials: Caller | None = None,
        *,
        query: bytes = b"",
        holds: bool = False,
    ) -> None:
        """`headers` have lower-case names. `credentials` stand in for a key where a caller was authenticated elsewhere.

        A door that `holds` sends no answer before `plane.spool.commits` says so, where there are such; else `run` waits.
        """
        self._plane = plane
        self._method = method
        self._path = path
        self._headers = headers
        self._query = query
        self._holds = holds
        self.credentials = credentials
        given = headers.get(b"x-request-id")
        self.request_id = given.decode("latin-1") if given and ID_PATTERN.fullmatch(given.decode("latin-1")) else ""
        self._target = Target("")
        self._entrance: Entrance
        self._request: InferRequest | RowsRequest
        self._json_length: int | None = None
        self._call: RepositoryCall | Reading | FeedbackCall | None = None
        self._deadline: float | None = None
        self._asked: Asked | None = None
        self._judged_by = plane.table  # the caller was, as of then,
        self._judged = 0  # at this time
        self._began = 0  # when the whole body was there, nanoseconds of `now`
        self._arrived = 0  # when it was, where it waited for a thread to be decoded
        self._waited = 0  # for that thread
        self._waits_since = 0  # for another

    def begin(self) -> Response | None:
        """Judge line and headers; None means: read the body, up to `max_body_bytes`, and give it to `receive`."""
        return self._guarded(self._begin)

    def arrive(self) -> None:
        """Note that the whole body is there, which waits for a thread that will `receive` it: that counts."""
        self._arrived = now()

    def receive(self, body: bytes) -> Response | None:
        """Decode `body`; None means: call `run`, in a thread when `is_slow`."""
        return self._guarded(lambda: self._receive(body))

    def start_clock(self) -> Response | None:
        """Fix the deadline before a wait for a thread, which counts. A response means that there is nothing to wait for."""
        return self._guarded(self._start_clock)

    def put(self) -> Question | None:
        """Ask another process for the run where that takes no waiting, once the clock has started.

        Then call `run` when the question is answered, or in a thread. None: `run` does it all, as it does for whoever
        does not call this.
        """
        if self._call is None:
            plane, deadline, selector = self._plane, self._deadline or math.inf, self._target.selector
            try:
                self._asked = put(plane, self._entrance, self._request, selector=selector, deadline=deadline)
            except TrivetError:
                pass  # `run` meets it too, and tells
            except Exception:
                logger.exception("event=not_put path=%.200r", self._path)
        return self._asked and self._asked.question

    def ends_quickly(self) -> bool:
        """True where to take, record and write the answer to what was `put` holds an event loop for no longer than it should."""
        if self._asked is None:
            return False
        plan, rows = self._asked.version.plan, self._asked.valid.rows
        answer_us = rows * plan.answer_row_bytes * ANSWER_US_PER_BYTE
        return plan.knows_answer_size and answer_us <= self._plane.limits.inline_limit_us

    def run(self) -> Response:
        """Predict, record, and return the answer."""
        return self._answered(None)

    def stand_in(self, refusal: Unavailable) -> Response:
        """Return what is answered where the version had no room for this request, without waiting for anybody."""
        return self._answered(refusal)

    def _answered(self, refusal: Unavailable | None) -> Response:
        response = self._guarded(lambda: self._run(refusal))
        assert response is not None  # noqa: S101  (`_run` has no other way)
        return response

    @property
    def max_body_bytes(self) -> int:
        """How many bytes of body are read at most."""
        return self._plane.limits.max_body_bytes

    @property
    def is_slow(self) -> bool:
        """True when `run` may take longer than an event loop should be held."""
        if self._call is not None:
            return self._call.is_slow
        return is_slow(self._entrance, self._request, self._plane.limits, self._target.selector)

    @property
    def lane(self) -> Lane:
        """Where a slow `run` waits."""
        return lane_of(self._entrance, self._plane.limits) if self._call is None else self._call.lane

    @property
    def is_recorded(self) -> bool:
        """True when what `run` answers is in the spool, and may have to wait for the disk."""
        return self._call is None or self._call.is_recorded

    def refuse(self, error: TrivetError) -> Response:
        """Return the response for `error`: its catalogue status, its text, and nothing else."""
        status = http_status(error)
        if status == 500:
            logger.error("event=internal_error code=%s path=%.200r", error.code, self._path)
            error = TrivetError("internal error; the server's log has it.")
        door, version = DOORS.get(self._target.kind, ""), self._entrance.version if hasattr(self, "_entrance") else 0
        self._plane.count_refusal(error, self._target.model, version, door, self._began)
        if self._plane.witnesses and door and self._target.kind not in LABELS_DOORS:
            self.request_id = self.request_id or new_prediction_id()
            self._be_seen(version, error.code, now())
        headers = [(b"trivet-error", error.code.encode())]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if status in (429, 503):
            headers.append((b"retry-after", b"%d" % retry_after(error)))
        if status == 405 and self._target.kind:
            headers.append((b"allow", ", ".join(METHODS[self._target.kind]).encode()))
        return self._response(status, encode_error(error, _state(error, self._target)), headers)

    # --- stations of the front door ---------------------------------------------------------------------------------

    def _begin(self) -> Response | None:
        headers = self._headers
        if REPEATED in headers:
            raise InvalidRequest(
                f"the header {quoted(headers[REPEATED].decode('latin-1'))} stands twice.", code="BAD_HEADER"
            )
        if content_length(headers.get(b"content-length")) > self.max_body_bytes:
            raise too_large(self.max_body_bytes)
        target = parse_path(self._path, self._plane.prefix) if len(self._path) <= MAX_PATH else None
        if target is None or target.kind not in WITHOUT_HOST_CHECK:
            self._check_host(headers.get(b"host", b""))
        if target is None:
            is_long = len(self._path) > MAX_PATH
            raise NotFound(f"no such path here.{'' if is_long else likely_slip(self._path, self._plane.prefix)}")
        self._target = target
        self._judged_by, self._judged = self._plane.table, now()
        if self._method not in METHODS[target.kind]:
            raise TrivetError(f"{self._method} is not offered on this path.", code="METHOD")
        if target.kind == "infer" or target.kind in ROWS_DOORS:
            self._entrance = enter(self._plane, self.credentials or presented_key(headers), target.model, "predict")
            if b"traceparent" in headers:
                self._entrance.traceparent = presented_traceparent(headers)
            if target.kind == "predict" and is_csv(headers.get(b"content-type", b"")):
                self._target = target._replace(kind="predict_csv")
            self._json_length = check_media(headers, self._target.kind)
            return None
        if target.kind in KINDS:
            self._call = RepositoryCall(self._plane, self._caller(), target)
            check_media(headers, target.kind)
            return None
        if target.kind in LABELS_DOORS:
            if is_ndjson(headers.get(b"content-type", b"")):
                self._target = target = target._replace(kind="feedback_lines")
            credentials = self.credentials or presented_key(headers)
            self._call = FeedbackCall(self._plane, credentials, target, self.request_id, is_held=self._holds)
            check_media(headers, target.kind)
            return None
        if target.kind in READ_FROM_FILES:
            self._call = Reading(self._plane, self._caller(), target)
            return None
        return self._read_only(target)

    def _receive(self, body: bytes) -> None:
        self._began = now()
        self._judge_again(self._began)
        if self._arrived:
            self._waited, self._began = self._began - self._arrived, self._arrived
        if len(body) > self.max_body_bytes:
            raise too_large(self.max_body_bytes)
        if (encoding := self._headers.get(b"content-encoding")) and self._method not in READ:
            body = _inflated(body, encoding, self.max_body_bytes)
        target = self._target
        if self._call is not None:
            self._call.receive(body)
        elif target.kind != "infer":
            max_rows = self._plane.limits.max_rows
            self._request = ROWS_DOORS[target.kind].decode(body, target.model, self._query, max_rows)
        elif self._json_length is None:
            self._request = decode_infer(body, target.model, self._entrance.model.usual)
        else:
            self._request = decode_mixed(body, self._json_length, target.model)

    def _start_clock(self) -> None:
        self._waits_since = now()
        if self._call is not None:
            return  # it waits for the registry, whose leases have a bound of their own, or for files
        seconds = self._plane.limits.deadline_seconds
        self._deadline = deadline_of(self._request.parameters, seconds, (self._arrived or self._waits_since) / 1e9)

    def _judge_again(self, at: int) -> None:
        """Refuse a caller whose key has ended since they were judged: a body takes half a minute, a wait for a thread seconds.

        Nothing is asked where the registry is the same and that was just now, as it nearly always is.
        """
        plane, target = self._plane, self._target
        if (plane.table is self._judged_by and at - self._judged < JUDGED_FOR_NS) or self.credentials is not None:
            return
        self._judged_by = table = plane.table
        self._judged = at
        caller = authenticate(table, plane.peppers, presented_key(self._headers))
        if target.model:
            authorise(table, caller, target.model, _VERBS.get(target.kind, "predict"))

    def _run(self, refusal: Unavailable | None) -> Response:
        if self._waits_since and self._asked is None:
            self._judge_again(now())
        if self._call is not None:
            if refusal is not None:
                raise refusal
            return self._response(self._call.status, self._call.body(), media=self._call.media)
        request, target = self._request, self._target
        rows = ROWS_DOORS.get(target.kind)
        door = DOORS[target.kind]
        asked = self._asked
        waited = self._waited
        if self._waits_since:
            waited += (asked.at_ns if asked else now()) - self._waits_since
        answer = infer(
            self._plane,
            self._entrance,
            request,
            door=door,
            selector=target.selector,
            request_id=self.request_id,
            deadline=self._deadline,
            is_held=self._holds,
            asked=asked,
            refusal=refusal,
        )
        if isinstance(request, RowsRequest):
            body, json_length = ROWS_DOORS[target.kind].encode(answer, request), None
        else:
            body, json_length = encode_tensors(answer, request)
        ended = now()
        self._plane.meter.answered(answer, door, self._began, ended, waited)
        prediction_id = answer.prediction_id.encode()
        if not self.request_id:
            self.request_id = answer.prediction_id
        if self._plane.witnesses:
            self._be_seen(answer.version, OK, ended, answer, waited)
        headers = [(b"trivet-prediction-id", prediction_id), (b"trivet-model-version", b"%d" % answer.version)]
        if rows and rows.suffix:
            name = f"{answer.model}-{answer.version}.{rows.suffix}"
            headers.append((b"content-disposition", f'attachment; filename="{name}"'.encode()))
        if json_length is None:
            return self._response(200, body, headers, rows.media if rows else JSON)
        headers.append((JSON_LENGTH, b"%d" % json_length))
        return self._response(200, body, headers, BINARY)

    def _read_only(self, target: Target) -> Response:
        plane = self._plane
        if target.kind in PUBLIC:
            return self._response(200, encode(health(plane, target.kind)))
        return self._response(200, encode(describe(plane, self._caller(), target)))

    def _caller(self) -> Caller:
        plane = self._plane
        if plane.lease.is_over:
            plane.lease.catch_up()
        return self.credentials or authenticate(plane.table, plane.peppers, presented_key(self._headers))

    def _be_seen(self, version: int, code: str, ended: int, answer: Answer | None = None, waited: int = 0) -> None:
        """Show the request, which is over, to whoever wants to see it."""
        target, began, traceparent = self._target, self._began, presented_traceparent(self._headers)
        model = target.model if target.model in self._plane.table.models else UNKNOWN
        door = DOORS[target.kind]
        passage = Passage(door, model, version, code, began, ended, self.request_id, traceparent, answer, waited)
        for witness in self._plane.witnesses:
            witness.see(passage)

    def _check_host(self, host: bytes) -> None:
        if not is_allowed_host(host, self._plane.allowed_hosts):
            raise InvalidRequest(
                f"host {quoted(host.decode('latin-1'))} is not served here (ALLOWED_HOSTS).", code="BAD_HOST"
            )

    # --- responses ----------------------------------------------------------------------------------------------------

    def _guarded(self, station: Callable[[], Response | None]) -> Response | None:
        try:
            return station()
        except TrivetError as error:
            return self.refuse(error)
        except Exception:
            logger.exception("event=internal_error path=%.200r", self._path)
            return self.refuse(TrivetError("internal error; the server's log has it."))

    def _response(
        self, status: int, body: bytes, extra: list[tuple[bytes, bytes]] | None = None, media: bytes = JSON
    ) -> Response:
        request_id = (self.request_id or new_prediction_id()).encode()
        encoding = ""
        if len(body) >= COMPRESSED_FROM and (accept := self._headers.get(b"accept-encoding")):
            encoding = accepted_encoding(accept)
            body = deflate(body, encoding) if encoding else body
        headers = [
            (b"content-type", media),
            *_ALWAYS,
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id),
            *(extra or ()),
        ]
        if encoding:
            headers.append((b"content-encoding", encoding.encode()))
        return Response(status, headers, b"" if self._method == "HEAD" else body)


def _state(error: TrivetError, target: Target) -> dict[str, object]:
    """Return what health answers add to an error: a boolean, so that a probe need not read text."""
    if http_status(error) != 503:
        return {}
    if target.kind == "model_ready":
        return {"name": target.model, "ready": False}
    return {"ready": False} if target.kind == "ready" else {}


def _inflated(body: bytes, content_encoding: bytes, limit: int) -> bytes:
    encoding = check_encoding(content_encoding)
    return inflate(body, encoding, limit) if encoding else body
