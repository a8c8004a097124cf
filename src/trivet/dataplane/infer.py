"""The corridor: the one way from a request to an answer, for every door.

enter:  authenticate -> authorise -> limit -> admit      judged on headers alone, before a body is read
infer:  route -> validate -> cache -> run -> record      no answer leaves before its record is in the spool

Where the routed version fails, the model's fallback chain is asked in its place, one after the other.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np

from trivet.core.errors import DeadlineExceeded, InvalidRequest, TrivetError, Unavailable, did_you_mean, quoted
from trivet.core.ids import new_prediction_id
from trivet.core.records import SHADOW, PredictionRecord, encode_record
from trivet.core.redaction import redacted
from trivet.core.signature import enumerate_names
from trivet.dataplane.admission import admit
from trivet.dataplane.authentication import authenticate, authorise
from trivet.dataplane.cache.prediction_cache import Recalled
from trivet.dataplane.deadline import deadline_of, too_late
from trivet.dataplane.engines.base import Made, Question
from trivet.dataplane.engines.stalls import STALL_NS
from trivet.dataplane.lease import now_ns
from trivet.dataplane.metrics.meter import now
from trivet.dataplane.metrics.totals import FALLEN_BACK
from trivet.dataplane.outputs import check_fit, check_made, check_size, output_tensors, without_rows
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol.messages import Answer, Caller, InferRequest, OutputTensor, RowsRequest
from trivet.dataplane.protocol.outputs import check_outputs, classified
from trivet.dataplane.routing import at_once, choose, heaviest, run_until, standing_in
from trivet.dataplane.spool import MAX_RECORD_BYTES
from trivet.dataplane.table import LiveModel, LiveVersion
from trivet.dataplane.validation.notations import fit_rows
from trivet.dataplane.validation.plan import Validated
from trivet.dataplane.validation.tensors import validate

Told = tuple[Validated, Sequence[np.ndarray], list[OutputTensor], bool]  # the last: remembered, not run


class Entrance(msgspec.Struct):
    """A caller who was let in: to which model, as of which generation; and to which version, once that is chosen."""

    caller: Caller
    model: LiveModel
    generation: int
    version: int = 0
    traceparent: str = ""  # the caller's place in its own trace


def enter(plane: Plane, credentials: str | Caller | None, model_name: str, verb: str) -> Entrance:
    """Return the entrance for `credentials` (a key's text, a trusted caller, or nothing).

    Where the lease of this process is over, it looks at the registry first, which blocks: a door on an event loop does
    that beforehand, elsewhere. Raises `Unauthenticated`, `PermissionDenied`, `NotFound`, `RateExceeded` or `Unavailable`.
    """
    at_ns = now_ns()
    if at_ns > plane.lease.ends_ns:
        plane.lease.catch_up()
        at_ns = now_ns()
    table = plane.table
    caller = credentials if isinstance(credentials, Caller) else authenticate(table, plane.peppers, credentials)
    model = authorise(table, caller, model_name, verb)
    if caller.limits:
        plane.limiter.admit(caller, model_name, at_ns)
    admit(model, plane.spool, is_closed=plane.is_closed)
    return Entrance(caller, model, table.snapshot.generation)


def infer(
    plane: Plane,
    entrance: Entrance,
    request: InferRequest | RowsRequest,
    *,
    door: str,
    selector: str | None = None,
    request_id: str = "",
    deadline: float | None = None,
    is_held: bool = False,
    asked: Asked | None = None,
    refusal: Unavailable | None = None,
) -> Answer:
    """Answer `request`, and record the answer before returning it.

    `selector` is a version's number, an alias, or None for the routes to decide. `deadline` is an instant of
    `time.monotonic()` where the door knows it: a request that waited had its clock started by then. Blocks for as long as
    the model runs and, unless `is_held`, for the log to be on disk where that is asked for: then the door sends nothing before
    the log is. What was `asked` before is not asked again: its answer is taken. With a `refusal`
    the routed version cannot be asked, and who stands in for it is, where that takes no waiting. Raises `InvalidRequest`,
    `NotFound`, `Unavailable` or `DeadlineExceeded`; then nothing was recorded. Thread-safe.
    """
    entered = asked.at_ns if asked else now()
    started = entered / 1e9  # of the same clock as the deadline
    model = entrance.model
    if deadline is None:
        deadline = deadline_of(request.parameters, plane.limits.deadline_seconds, started)
    elif started > deadline:
        raise too_late(model.name, request.parameters, plane.limits.deadline_seconds)
    version = None
    try:
        if refusal is not None:
            raise refusal
        version, route = (asked.version, asked.route) if asked else choose(model, selector, request)
        entrance.version = version.entry.number
        if asked:
            valid, arrays, outputs, cached = _take(plane, asked)
        else:
            until = run_until(model, selector, started, deadline) if model.fallback else deadline
            valid, arrays, outputs, cached = _ask(plane, model, version, request, until)
        failed = None
    except (Unavailable, DeadlineExceeded) as error:
        failed, route = version.entry.number if version else heaviest(model), "fallback"
        chain = standing_in(model, selector, failed, error)
        if refusal is not None:
            chain = at_once(chain, request, plane.limits.inline_limit_us)
        version, told = _fall_back(plane, model, chain, request, deadline=deadline, error=error)
        plane.meter.refused(model.name, failed, FALLEN_BACK, error.code, now() - entered)
        valid, arrays, outputs, cached = told
    ran = now()
    answer = Answer(
        model.name,
        version.entry.number,
        version.entry.digest,
        new_prediction_id(),
        route,
        outputs,
        valid.rows,
        version.plan.signature,
        request.id,
        valid.flags,
        cached,
        failed,
        arrays,
        valid.places,
        valid.problems,
    )
    if valid.made is not None or ran - valid.at_ns > STALL_NS:
        _tell_run(plane, version, answer, valid, ran)  # it was made, whatever becomes of the answer
    if valid.rows:
        if ran / 1e9 > deadline:
            raise too_late(model.name, request.parameters, plane.limits.deadline_seconds)
        latency_us = (ran - entered) // 1000
        _append(
            plane,
            record_of(plane, entrance, request, answer, valid, door=door, request_id=request_id, latency_us=latency_us),
        )
        if model.shadows and selector is None:
            _shadow(plane, entrance, request, answer, valid, door=door)
        if plane.spool.commits is not None and not is_held:
            plane.spool.commits.wait()
    answer.stations = (entered, valid.at_ns, ran, now())
    return classified(answer, request)


def _tell_run(plane: Plane, version: LiveVersion, answer: Answer, valid: Validated, ran: int) -> None:
    """Take in what a model worker told of the run, which is counted with one of the answers that shared it.

    Of one that took long here, tell that.
    """
    made = valid.made
    if made is None:
        plane.tell_long_run(answer.model, version, ran - valid.at_ns)
        return
    answer.is_batched, answer.queued_ns = True, made.queued_ns
    if made.run_rows:
        plane.meter.called(answer.model, answer.version, made.run_rows, made.run_ns)


class Asked(NamedTuple):
    """A request that was put to the version that answers it, whose answer is still to come."""

    version: LiveVersion
    route: str
    valid: Validated
    wanted: list[str]
    question: Question
    at_ns: int  # when, of `now`


def put(
    plane: Plane, entrance: Entrance, request: InferRequest | RowsRequest, *, selector: str | None, deadline: float
) -> Asked | None:
    """Ask for the run of `request` without waiting for it; None where `infer` must do it all. Never blocks.

    Nothing is asked beforehand where the cache has to be looked at, nor where somebody may have to stand in who does not
    answer at once: both wait. Raises as `infer` does.
    """
    model, at_ns = entrance.model, now()
    if at_ns / 1e9 > deadline:
        return None  # too late, which `infer` says: what is asked here is always taken there
    if len(at_once(model.fallback, request, plane.limits.inline_limit_us)) < len(model.fallback):
        return None
    version, route = choose(model, selector, request)
    if version.cache is not None and not version.cache.rests():
        return None
    if not version.loaded.takes_questions:
        return None  # `infer` checks the values, once
    valid, wanted = _fitted(plane, model, version, request)
    until = run_until(model, selector, at_ns / 1e9, deadline)
    question = version.loaded.put(valid.feed, wanted, until) if valid.rows else None
    return Asked(version, route, valid, wanted, question, at_ns) if question else None


def _take(plane: Plane, asked: Asked) -> Told:
    """Return what was made of a request that was put before."""
    return _told(plane, asked.version, asked.valid, asked.wanted, asked.question.answer(), cached=False)


def _ask(
    plane: Plane, model: LiveModel, version: LiveVersion, request: InferRequest | RowsRequest, until: float
) -> Told:
    """Return what `version` makes of `request`, in the time until `until`."""
    valid, wanted = _fitted(plane, model, version, request)
    arrays: Sequence[np.ndarray]
    cached = False
    if not valid.rows:
        arrays = without_rows(version.outputs, wanted)
    elif version.cache is None:
        arrays = version.loaded.run(valid.feed, wanted, until)
    else:
        arrays, cached = _recall(plane, version, request, valid, wanted, model=model.name, until=until)
    return _told(plane, version, valid, wanted, arrays, cached=cached)


def _fitted(
    plane: Plane, model: LiveModel, version: LiveVersion, request: InferRequest | RowsRequest
) -> tuple[Validated, list[str]]:
    """Return the values of `request` as `version` takes them, and the outputs it is asked for."""
    if isinstance(request, RowsRequest):
        valid, wanted = fit_rows(version.plan, request, model.name), version.output_names
        _check_outputs(version, request.outputs or (), model.name)
    else:
        valid = validate(version.plan, request.inputs, model.name)
        wanted = _wanted(version, request, model.name)
    if valid.rows > 1 and request.parameters and request.parameters.get("entity_key"):
        raise InvalidRequest(f"{model.name}: an entity_key is for one row.", code="BAD_PARAMETER")
    if valid.rows * version.plan.answer_row_bytes > plane.limits.max_answer_bytes:
        check_size(version.plan, wanted, valid.rows, plane.limits.max_answer_bytes)
    valid.at_ns = now()
    return valid, wanted


def _told(
    plane: Plane,
    version: LiveVersion,
    valid: Validated,
    wanted: list[str],
    arrays: Sequence[np.ndarray],
    *,
    cached: bool,
) -> Told:
    """Return what `version` said of a request, as it is answered and recorded."""
    if not version.plan.knows_answer_size:
        check_made(arrays, plane.limits.max_answer_bytes)
    if type(arrays) is Made and not cached:
        valid.made = arrays
    outputs = output_tensors(version.outputs, wanted, arrays, valid.rows)
    return valid, arrays, outputs, cached


def _fall_back(
    plane: Plane,
    model: LiveModel,
    chain: Sequence[LiveVersion],
    request: InferRequest | RowsRequest,
    *,
    deadline: float,
    error: TrivetError,
) -> tuple[LiveVersion, Told]:
    """Return what the first of `chain` that can makes of `request`; raises `error` where nobody can.

    An engine knows only the instant of a deadline; whoever asked is told how long that was, and who set it.
    """
    for version in chain:
        if time.monotonic() > deadline:
            break
        try:
            return version, _ask(plane, model, version, request, deadline)
        except (InvalidRequest, Unavailable, DeadlineExceeded):  # it fails too, or takes other inputs
            continue
    if isinstance(error, DeadlineExceeded):
        raise too_late(model.name, request.parameters, plane.limits.deadline_seconds) from error
    raise error


def _wanted(version: LiveVersion, request: InferRequest, model: str) -> list[str]:
    wanted = version.output_names
    if request.outputs:
        wanted = [output.name for output in request.outputs]
        _check_outputs(version, wanted, model)
    if request.outputs or version.plan.is_binary_only:
        check_outputs(request, version.outputs, model)
    return wanted


def _check_outputs(version: LiveVersion, names: Iterable[str], model: str) -> None:
    """Raise `InvalidRequest` for a name that is no output of `version`."""
    for name in names:
        if name not in version.output_names:
            raise InvalidRequest(
                f"{model}: unknown output {quoted(name)}.{did_you_mean(name, version.output_names)}"
                f" It has: {enumerate_names(version.output_names)}.",
                code="UNKNOWN_OUTPUT",
            )


def _recall(
    plane: Plane,
    version: LiveVersion,
    request: InferRequest | RowsRequest,
    valid: Validated,
    wanted: list[str],
    *,
    model: str,
    until: float,
) -> tuple[Sequence[np.ndarray], bool]:
    """Return what the model says, and whether it is what it said before; a run is asked for where that is not known."""

    def run() -> list[np.ndarray]:
        arrays = version.loaded.run(valid.feed, wanted, until)
        for name, array in zip(wanted, arrays, strict=True):
            check_fit(version.outputs[name], array, valid.rows)  # raises: what does not fit is not kept
        if type(arrays) is Made:
            valid.made = arrays
        return arrays

    assert version.cache is not None  # noqa: S101  (`_ask` looked)
    if request.parameters and request.parameters.get("cache") is False:
        found = Recalled(run(), "bypass")
    else:
        found = version.cache.answer(wanted, valid.feed, run, until)
    if found.result is not None:
        plane.meter.looked_up(model, version.entry.number, found.result, found.lookup_ns)
    return found.arrays, found.is_remembered


def _shadow(
    plane: Plane,
    entrance: Entrance,
    request: InferRequest | RowsRequest,
    answer: Answer,
    valid: Validated,
    *,
    door: str,
) -> None:
    """Let each shadow that is due run `request` as well, later and elsewhere."""
    for share, version in entrance.model.shadows:
        if random.random() * 100 < share and not plane.is_draining:
            run = partial(_run_shadow, plane, entrance, request, answer, version.entry.number, door=door)
            plane.shadows.offer(run, _bytes_of(valid))


def _run_shadow(
    plane: Plane, entrance: Entrance, request: InferRequest | RowsRequest, answer: Answer, number: int, *, door: str
) -> None:
    """Run the shadow `number` on `request` and record what it would have said of what `answer` said."""
    model = plane.table.models.get(answer.model)
    version = next((v for _, v in model.shadows if v.entry.number == number), None) if model else None
    if model is None or version is None:
        return  # it is a shadow no more
    started = time.monotonic()
    valid, arrays, outputs, _ = _ask(plane, model, version, request, started + plane.limits.deadline_seconds)
    latency_us = int((time.monotonic() - started) * 1e6)
    said = msgspec.structs.replace(
        answer,
        version=number,
        digest=version.entry.digest,
        prediction_id=new_prediction_id(),
        route=SHADOW,
        outputs=outputs,
        rows=valid.rows,
        places=valid.places,
        signature=version.plan.signature,
        flags=valid.flags,
        cached=False,
        fallback_from=None,
        arrays=arrays,
    )
    record = record_of(plane, entrance, request, said, valid, door=door, request_id="", latency_us=latency_us)
    _append(
        plane,
        msgspec.structs.replace(record, kind=SHADOW, shadow_of=answer.prediction_id, inputs=None, parameters=None),
    )


def _bytes_of(valid: Validated) -> int:
    """Return about how much memory a request's values take."""
    return sum(
        sum(map(len, array.ravel())) if array.dtype.kind == "O" else array.nbytes for array in valid.feed.values()
    )


def record_of(
    plane: Plane,
    entrance: Entrance,
    request: InferRequest | RowsRequest,
    answer: Answer,
    valid: Validated,
    *,
    door: str,
    request_id: str,
    latency_us: int,
) -> PredictionRecord:
    """Return what is logged of `answer`: everything it depended on. Inputs and parameters are kept for a share of them."""
    share = plane.limits.log_inputs
    keep_inputs = share >= 1.0 or random.random() < share
    inputs: list[list[Any]] | None = valid.columns if keep_inputs else None
    if inputs is not None and entrance.model.entry.sensitive:
        inputs = redacted(inputs, answer.signature, entrance.model.entry.sensitive, answer.rows, plane.peppers)
    return PredictionRecord(
        answer.prediction_id,
        time.time_ns(),
        answer.model,
        answer.version,
        answer.digest,
        entrance.generation,
        answer.route,
        entrance.caller.name,
        door,
        answer.rows,
        inputs,
        [output.data for output in answer.outputs],
        [output.name for output in answer.outputs],
        valid.flags,
        request_id,
        request.id or "",
        str(request.parameters.get("entity_key") or "") if request.parameters else "",
        latency_us,
        answer.cached,
        fallback_from=answer.fallback_from or 0,
        entity_keys=valid.entity_keys,
        places=valid.places,
        parameters=request.parameters if keep_inputs else None,
        traceparent=entrance.traceparent,
    )


def _append(plane: Plane, record: PredictionRecord) -> None:
    """Append the record; raises `Unavailable` when it cannot be written, and then there is no answer either."""
    try:
        payload = encode_record(record)
    except OverflowError:  # a whole number of over 64 bits, sent for a float
        record = msgspec.structs.replace(record, inputs=_within_64_bits(record.inputs))
        payload = encode_record(record)
    if len(payload) > MAX_RECORD_BYTES:
        payload = _without_inputs(record)
    plane.spool.append(payload)


def _without_inputs(record: PredictionRecord) -> bytes:
    """Return the record with the SHA-256 of its inputs in their place."""
    digest = hashlib.sha256(msgspec.msgpack.encode(record.inputs)).hexdigest()
    return encode_record(msgspec.structs.replace(record, inputs=None, inputs_sha256=digest))


def _within_64_bits(columns: list[list[Any]] | None) -> list[list[Any]] | None:
    if columns is None:
        return None
    return [[float(v) if type(v) is int and v.bit_length() > 63 else v for v in column] for column in columns]
