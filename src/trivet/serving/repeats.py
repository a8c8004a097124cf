"""Repeats: one model asked again and again for a single row while a page is made, which a developer is told of once.

Only where DEBUG is on, and only while a request runs. What is asked in a coroutine of an ASGI server is not counted: there
Django begins a request elsewhere than it answers it.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextvars import ContextVar
from typing import Any

from django.conf import settings
from django.core.signals import request_finished, request_started

logger = logging.getLogger(__name__)

MANY = 5  # single rows of one model in one request; chosen: a page may well ask about two or three things

_asked: ContextVar[Counter[str] | None] = ContextVar("trivet_asked", default=None)  # of the request that runs


def watch_requests() -> None:
    """Count from now on, if DEBUG is on; elsewhere requests cost nothing for it."""
    if settings.DEBUG:
        request_started.connect(_begin, dispatch_uid="trivet.repeats.begin")
        request_finished.connect(_end, dispatch_uid="trivet.repeats.end")


def asked_once(model: str) -> None:
    """Count that a single row was asked about, and warn when there were many in this request."""
    asked = _asked.get()
    if asked is None:
        return
    asked[model] += 1
    if asked[model] == MANY:
        logger.warning(
            'event=predicted_one_by_one model=%s rows=%d remedy="N+1: use predict_many, which asks for all rows together"',
            model,
            MANY,
        )


def _begin(**_: Any) -> None:
    _asked.set(Counter())


def _end(**_: Any) -> None:
    _asked.set(None)
