"""Instead: what a caller's code answers where a model cannot, and the record of that."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db import InterfaceError, OperationalError
from django.db.models import Model

from trivet.core.constants import NO_VERSION
from trivet.core.errors import DeadlineExceeded, TrivetError, Unavailable
from trivet.core.ids import new_prediction_id
from trivet.core.records import PredictionRecord, encode_record
from trivet.dataplane.metrics.meter import now
from trivet.features.entities import entity_key_of
from trivet.serving.as_declared import as_declared
from trivet.serving.prediction import Prediction
from trivet.serving.process import running_process
from trivet.serving.stubs import as_prediction, in_place_of

logger = logging.getLogger(__name__)

NOT_ANSWERED = (Unavailable, DeadlineExceeded, OperationalError, InterfaceError)  # what is nobody's mistake
RAISE: Any = ...  # of `fallback`: nothing answers instead
ROUTE, DOOR = "fallback", "python"


def instead(
    model: str, fallback: Any, data: Any, error: Exception, *, began: int, caller: str, entity_key: Any
) -> Prediction:
    """Return the prediction that `fallback`, a value or a callable that takes `data`, makes; without one, raise `error`.

    It is appended to the log, where this process can append anything; else its `id` is empty. Raises `TypeError` for what is
    no answer.
    """
    if fallback is RAISE or (
        isinstance(error, OperationalError) and "no such" in str(error)
    ):  # table or column, on SQLite
        raise error
    value = fallback(data) if callable(fallback) else fallback
    said = as_prediction(value, model, "", {}, who="a fallback", route=ROUTE)
    logger.warning("event=answered_instead model=%s error=%s", model, type(error).__name__)
    told = replace(as_declared(model, [said])[0], latency_ms=(now() - began) / 1e6)
    about = entity_key or (data if isinstance(data, Model) and data.pk is not None else "")
    return replace(told, id=_recorded(said, told.latency_ms, caller, entity_key_of(about, model)))


def _recorded(said: Prediction, latency_ms: float, caller: str, entity_key: str) -> str:
    """Append what was answered as the answer of no version; return its id."""
    process = running_process()
    if process is None or in_place_of(said.model) is not None:
        return ""
    is_of_classes = isinstance(said.value, Mapping)
    outputs = [[said.decision], list(said.value.values())] if is_of_classes else [[said.value]]
    record = PredictionRecord(
        id=new_prediction_id(),
        made_at=time.time_ns(),
        model=said.model,
        version=NO_VERSION,
        digest="",
        generation=process.plane.table.snapshot.generation,
        route=ROUTE,
        caller=caller,
        door=DOOR,
        rows=1,
        inputs=None,
        outputs=outputs,
        output_names=["label", "probabilities"] if is_of_classes else ["prediction"],
        entity_key=entity_key,
        latency_us=int(latency_ms * 1000),
    )
    try:
        process.plane.spool.append(encode_record(record))
    except TrivetError:  # the disk or the spool is full, which may be why a model could not answer
        return ""
    return f"{record.id}:0"
