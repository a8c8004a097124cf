"""The in-process door: `trivet.predict` walks the same corridor and leaves the same record as a request over HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from trivet.core.errors import InvalidRequest, TrivetError, quoted
from trivet.core.names import system_user
from trivet.dataplane.authentication import trusted
from trivet.dataplane.infer import enter, infer
from trivet.dataplane.metrics.exposition import OK
from trivet.dataplane.metrics.meter import now
from trivet.dataplane.protocol.encode import answer_rows
from trivet.dataplane.protocol.messages import Answer, RowsRequest
from trivet.dataplane.witness import Passage
from trivet.serving.entities import entity_key_of
from trivet.serving.prediction import Prediction
from trivet.serving.process import this_process
from trivet.serving.stubs import answered, in_place_of

DOOR = "python"
Row = Mapping[str, Any]  # a mapping or a dataclass instance: names to values


def predict(model: str, data: Any, *, user: Any = None, entity_key: Any = "") -> Prediction:
    """Return the prediction of `model` for one row.

    `model` is a name, with a version or an alias where wanted: "churn", "churn@3", "churn@challenger". `data` is a
    mapping or a dataclass of named features; NumPy scalars and members of an Enum are taken as their values, NaN and
    None as missing. `user`, a user of the project or a text, is recorded as the caller; whether they may is for your code
    to ask (`can`). `entity_key` says in the log whom or what it is about: a saved instance, or a text such as
    "shop.customer:17". The record is appended before this returns, outside any database transaction.

    In tests of your project no model is asked, unless you say so (`trivet.testing`).

    Raises `InvalidRequest`, `NotFound` or `Unavailable`. Blocks for as long as the model runs; in a coroutine, await
    `apredict`.
    """
    return predict_many(model, [data], user=user, entity_keys=[entity_key])[0]


def predict_many(
    model: str, rows: Iterable[Any], *, user: Any = None, entity_keys: Iterable[Any] = ()
) -> list[Prediction]:
    """Return one prediction per row, in order, as one batch: one run of the model and one record.

    `entity_keys`, where given, are as many as rows.
    """
    _refuse_in_a_loop()
    return _predict(model, rows, user, entity_keys)


async def apredict(model: str, data: Any, *, user: Any = None, entity_key: Any = "") -> Prediction:
    """Return what `predict` returns, without blocking the event loop."""
    return (await apredict_many(model, [data], user=user, entity_keys=[entity_key]))[0]


async def apredict_many(
    model: str, rows: Iterable[Any], *, user: Any = None, entity_keys: Iterable[Any] = ()
) -> list[Prediction]:
    """Return what `predict_many` returns, without blocking the event loop."""
    return await asyncio.to_thread(_predict, model, rows, user, entity_keys)


def _predict(model: str, rows: Iterable[Any], user: Any, entity_keys: Iterable[Any]) -> list[Prediction]:
    began = now()
    name, _, selector = model.partition("@")
    features = [_features(row) for row in rows]
    keys = [entity_key_of(key) for key in entity_keys]
    if keys and len(keys) != len(features):
        raise InvalidRequest(f"{name}: {len(keys)} entity_keys for {len(features)} rows.", code="COUNT_MISMATCH")
    if (make := in_place_of(name)) is not None:
        return answered(make, name, selector, features, entity_keys=keys, caller=caller_of(user))
    request = RowsRequest(features, entity_keys=keys if any(keys) else None)
    plane = this_process().plane
    entrance = None
    try:
        entrance = enter(plane, trusted(caller_of(user)), name, "predict")
        answer = infer(plane, entrance, request, door=DOOR, selector=selector or None)
    except TrivetError as error:
        version = entrance.version if entrance else 0
        plane.count_refusal(error, name, version, DOOR, began)
        raise
    predictions = _predictions(answer, features, (now() - began) / 1e6)
    ended = now()
    plane.meter.answered(answer, DOOR, began, ended)
    for witness in plane.witnesses:
        passage = Passage(DOOR, name, answer.version, OK, began, ended, answer.prediction_id, "", answer)
        witness.see(passage)
    return predictions


def _predictions(answer: Answer, features: list[dict[str, Any]], latency_ms: float) -> list[Prediction]:
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
        for row, given in zip(answer_rows(answer), features, strict=True)
    ]


def _features(row: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        row = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    if not isinstance(row, Mapping):
        raise InvalidRequest(f"a row is a mapping or a dataclass of named features, not {quoted(type(row).__name__)}.")
    return {str(name): _plain(name, value) for name, value in row.items()}


def _plain(name: Any, value: Any) -> Any:
    """Return `value` as JSON would have brought it: what is checked later goes by the exact type."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return str.__str__(value)  # np.str_, SafeString; the latter's own str() is itself
    if not isinstance(value, int | float | None) and hasattr(value, "tolist"):
        value = value.tolist()  # a NumPy scalar
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        value = float(value)
        if math.isnan(value):
            return None
        if math.isinf(value):
            raise InvalidRequest(f"{quoted(str(name))} is infinite.", code="NOT_FINITE", field=str(name))
    return value


def caller_of(user: Any) -> str:
    """Return who is recorded as the caller: a user of the project, a text, or this process."""
    if user is None:
        return f"process:{system_user()}"
    username = user.get_username() if hasattr(user, "get_username") else str(user)
    return f"user:{username}" if username else "anonymous"


def _refuse_in_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("predict would block the running event loop; use `await trivet.apredict(...)`.")
