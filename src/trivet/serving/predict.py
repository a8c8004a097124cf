"""The in-process door: `trivet.predict` walks the same corridor and leaves the same record as a request over HTTP."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async

from trivet.control.registry.declarations import declared
from trivet.core.errors import InvalidRequest, TrivetError, quoted
from trivet.core.names import system_user
from trivet.dataplane.authentication import trusted
from trivet.dataplane.infer import enter, infer
from trivet.dataplane.metrics.exposition import OK
from trivet.dataplane.metrics.meter import now
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol.encode import answer_rows
from trivet.dataplane.protocol.messages import Answer, FeaturesRequest, RowsRequest, Scalar
from trivet.dataplane.witness import Passage
from trivet.features.predictor import Predictor
from trivet.serving import onlookers
from trivet.serving.as_declared import as_declared
from trivet.serving.instead import NOT_ANSWERED, RAISE, instead
from trivet.serving.prediction import Prediction
from trivet.serving.process import this_process
from trivet.serving.repeats import asked_once
from trivet.serving.stubs import answered, in_place_of
from trivet.serving.subjects import Subjects, Target, needs_database, subjects_of, target_of

DOOR = "python"


def predict(
    model: str | type[Predictor],
    data: Any,
    *,
    user: Any = None,
    entity_key: Any = "",
    deadline_seconds: float | None = None,
    fallback: Any = RAISE,
    explain: int = 0,
    interval: float | None = None,
) -> Prediction:
    """Return the prediction of `model` for one row.

    `model` is a name, with a version or an alias where wanted, "churn", "churn@3", "churn@challenger", or its Predictor.
    `data` is a mapping or a dataclass of named features, where NumPy scalars and members of an Enum are taken as their
    values, NaN and None as missing; or, for a model whose Predictor has `features`, a saved instance or its primary key,
    whose features are then read from the database: one query, and one for each `needs` to many.

    `user`, a user of the project or a text, is recorded as the caller; whether they may is for your code to ask (`can`).
    `entity_key` says in the log whom or what it is about: a saved instance, or a text such as "shop.customer:17"; of a row
    of a table it is that row, unless you say another. The record is appended before this returns, outside any database
    transaction.

    `deadline_seconds`, at most TRIVET_DEADLINE_SECONDS, begins with the call; without it `Meta.deadline_seconds` of the
    Predictor holds. `fallback`, a value or a callable that is given
    `data`, answers where the model cannot in time: the deadline passes, the queue is full, no version is ready or the database
    cannot be read. Its `route` is "fallback", and so is that of its record, which is of version 0 and has no inputs; its `id` is
    empty where not even that could be recorded. A mistake is raised all the same.

    `explain`, how many reasons are wanted, and `interval`, the share of cases that a range is to hold, are refused until a
    release makes them: `reasons` of a prediction is empty, and `interval` None.

    In tests of your project no model is asked, unless you say so (`trivet.testing`).

    Raises `InvalidRequest`, `NotFound`, `Unavailable` or `DeadlineExceeded`. Blocks for as long as the model runs; in a
    coroutine, await `apredict`.
    """
    _refuse_in_a_loop()
    _refuse_what_is_not_made(explain, interval)
    call = _call(model, caller_of(user), deadline_seconds, is_one=True)
    asked_once(call.target.name)
    try:
        said = _predict(call, [data], [entity_key])
    except NOT_ANSWERED as error:
        said = [_instead(call, fallback, data, error, entity_key)]
    if onlookers.present:
        _tell(call, said, is_single=True)
    return said[0]


def predict_many(
    model: str | type[Predictor],
    rows: Iterable[Any],
    *,
    user: Any = None,
    entity_keys: Iterable[Any] = (),
    deadline_seconds: float | None = None,
) -> list[Prediction]:
    """Return one prediction per row, in order, as one batch: one run of the model and one record.

    `rows` are as `data` of `predict`, of one sort, or a QuerySet: as many queries for many rows as for two. More rows than
    TRIVET_MAX_ROWS are several batches; when one fails, those before it are recorded. `entity_keys`, where given, are as
    many as rows.
    """
    _refuse_in_a_loop()
    call = _call(model, caller_of(user), deadline_seconds)
    said = _predict(call, rows, entity_keys)
    if onlookers.present:
        _tell(call, said, is_single=False)
    return said


async def apredict(
    model: str | type[Predictor],
    data: Any,
    *,
    user: Any = None,
    entity_key: Any = "",
    deadline_seconds: float | None = None,
    fallback: Any = RAISE,
    explain: int = 0,
    interval: float | None = None,
) -> Prediction:
    """Return what `predict` returns, without blocking the event loop. A `fallback` that is called is called in a thread."""
    _refuse_what_is_not_made(explain, interval)
    call = _call(model, await _acaller_of(user), deadline_seconds, is_one=True)
    asked_once(call.target.name)
    try:
        said = await _apredict(call, [data], [entity_key])
    except NOT_ANSWERED as error:
        said = [await sync_to_async(_instead)(call, fallback, data, error, entity_key)]
    if onlookers.present:
        _tell(call, said, is_single=True)
    return said[0]


async def apredict_many(
    model: str | type[Predictor],
    rows: Iterable[Any],
    *,
    user: Any = None,
    entity_keys: Iterable[Any] = (),
    deadline_seconds: float | None = None,
) -> list[Prediction]:
    """Return what `predict_many` returns, without blocking the event loop."""
    call = _call(model, await _acaller_of(user), deadline_seconds)
    said = await _apredict(call, rows, entity_keys)
    if onlookers.present:
        _tell(call, said, is_single=False)
    return said


@dataclass(frozen=True)
class _Call:
    """One call: who is asked by whom, when it began, and by when it is to be answered."""

    target: Target
    caller: str
    began: int  # of `now`
    deadline_seconds: float | None


def _call(model: str | type[Predictor], caller: str, deadline_seconds: float | None, *, is_one: bool = False) -> _Call:
    target = target_of(model)
    if deadline_seconds is None and is_one:
        deadline_seconds = declared(target.name).deadline_seconds
    seconds: Any = deadline_seconds  # of whatever type somebody wrote
    if seconds is not None and (
        isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf
    ):
        raise InvalidRequest(f"deadline_seconds is {quoted(str(seconds))}: a number above 0.", code="BAD_PARAMETER")
    return _Call(target, caller, now(), deadline_seconds)


def _instead(call: _Call, fallback: Any, data: Any, error: Exception, entity_key: Any) -> Prediction:
    name = call.target.name
    return instead(name, fallback, data, error, began=call.began, caller=call.caller, entity_key=entity_key)


def _tell(call: _Call, predictions: list[Prediction], *, is_single: bool) -> None:
    told = onlookers.Call(call.target.name, is_single, predictions, (now() - call.began) / 1e6)
    for onlooker in onlookers.present:
        onlooker(told)


def _predict(call: _Call, rows: Iterable[Any], entity_keys: Iterable[Any]) -> list[Prediction]:
    return _asked(call, subjects_of(call.target, rows, entity_keys))


async def _apredict(call: _Call, rows: Iterable[Any], entity_keys: Iterable[Any]) -> list[Prediction]:
    if not needs_database(rows):
        return await asyncio.to_thread(_predict, call, rows, entity_keys)
    # in the thread whose connections, and transactions, are those of the request; the model runs in another
    subjects = await sync_to_async(subjects_of)(call.target, rows, entity_keys)
    return await asyncio.to_thread(_asked, call, subjects)


def _asked(call: _Call, subjects: Subjects) -> list[Prediction]:
    """Return the predictions of what is asked about: a batch after another, of stubs where a test has them."""
    target = call.target
    if (make := in_place_of(target.name)) is not None:
        said = answered(
            make,
            target.name,
            target.selector,
            subjects.features,
            entity_keys=subjects.entity_keys,
            caller=call.caller,
        )
        return as_declared(target.name, said)
    plane = this_process().plane
    predictions = _answered(plane, call, subjects.part(0, plane.limits.max_rows), call.began)
    for start in range(plane.limits.max_rows, len(subjects.features), plane.limits.max_rows):
        predictions += _answered(plane, call, subjects.part(start, plane.limits.max_rows), now())
    return as_declared(target.name, predictions)


def _answered(plane: Plane, call: _Call, subjects: Subjects, began: int) -> list[Prediction]:
    name, entrance = call.target.name, None
    most = plane.limits.deadline_seconds
    seconds = most if call.deadline_seconds is None else min(call.deadline_seconds, most)
    parameters: dict[str, Scalar] | None = None if seconds == most else {"timeout": max(int(seconds * 1e6), 1)}
    kind = FeaturesRequest if subjects.of_feature_set else RowsRequest
    keys = subjects.entity_keys if any(subjects.entity_keys) else None
    request = kind(subjects.features, parameters=parameters, entity_keys=keys)
    try:
        entrance = enter(plane, trusted(call.caller), name, "predict")
        deadline = (began if parameters is None else call.began) / 1e9 + seconds
        answer = infer(plane, entrance, request, door=DOOR, selector=call.target.selector or None, deadline=deadline)
    except TrivetError as error:
        version = entrance.version if entrance else 0
        plane.count_refusal(error, name, version, DOOR, began)
        raise
    predictions = _predictions(answer, subjects, (now() - began) / 1e6)
    ended = now()
    plane.meter.answered(answer, DOOR, began, ended)
    for witness in plane.witnesses:
        passage = Passage(DOOR, name, answer.version, OK, began, ended, answer.prediction_id, "", answer)
        witness.see(passage)
    return predictions


def _predictions(answer: Answer, subjects: Subjects, latency_ms: float) -> list[Prediction]:
    sent = subjects.read_by(answer.signature)
    return [
        Prediction(
            value=row["value"],
            decision=row.get("decision", ""),
            model=answer.model,
            version=answer.version,
            digest=answer.digest,
            id=row["id"],
            route=answer.route,
            flags=row.get("flags", {}),
            features=given,
            cached=answer.cached,
            latency_ms=latency_ms,
            fallback_from=answer.fallback_from,
        )
        for row, given in zip(answer_rows(answer), sent, strict=True)
    ]


def caller_of(user: Any) -> str:
    """Return who is recorded as the caller: a user of the project, a text, or this process."""
    if user is None:
        return f"process:{system_user()}"
    username = user.get_username() if hasattr(user, "get_username") else str(user)
    return f"user:{username}" if username else "anonymous"


async def _acaller_of(user: Any) -> str:
    """Return the same in a coroutine, where the user of a request may have to be read from the database yet."""
    if user is None or type(user) is str:  # isinstance would read one that is lazy
        return caller_of(user)
    return await sync_to_async(caller_of)(user)


def _refuse_what_is_not_made(explain: int, interval: float | None) -> None:
    for name, said in (("explain", explain), ("interval", interval)):
        if said:
            raise InvalidRequest(
                f"{name} is {quoted(str(said))}, and no version carries what that is made of yet: leave it out.",
                code="BAD_PARAMETER",
                field=name,
            )


def _refuse_in_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("predict would block the running event loop; use `await trivet.apredict(...)`.")
