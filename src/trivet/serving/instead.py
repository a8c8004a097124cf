"""Instead: what a caller's code answers where a model cannot."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from django.db import InterfaceError, OperationalError

from trivet.core.errors import DeadlineExceeded, Unavailable
from trivet.dataplane.metrics.meter import now
from trivet.serving.as_declared import as_declared
from trivet.serving.prediction import Prediction
from trivet.serving.stubs import as_prediction

logger = logging.getLogger(__name__)

NOT_ANSWERED = (Unavailable, DeadlineExceeded, OperationalError, InterfaceError)  # what is nobody's mistake
RAISE: Any = ...  # of `fallback`: nothing answers instead
ROUTE = "fallback"


def instead(model: str, fallback: Any, data: Any, error: Exception, *, began: int) -> Prediction:
    """Return the prediction that `fallback`, a value or a callable that takes `data`, makes; without one, raise `error`.

    Raises `TypeError` for what is no answer.
    """
    if fallback is RAISE or (
        isinstance(error, OperationalError) and "no such" in str(error)
    ):  # table or column, on SQLite
        raise error
    value = fallback(data) if callable(fallback) else fallback
    said = as_prediction(value, model, "", {}, who="a fallback", route=ROUTE)
    logger.warning("event=answered_instead model=%s error=%s", model, type(error).__name__)
    return replace(as_declared(model, [said])[0], latency_ms=(now() - began) / 1e6)
