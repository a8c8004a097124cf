"""Refusals in the history: who wanted what and was not let, often enough to be noticed and no oftener.

An Event takes the registry's lock and moves its generation, which every worker follows, and it stays. What anybody who may
sign in can cause in numbers has therefore a bound for each of them; beyond it a refusal is a line of the log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import router
from django.utils import timezone

from trivet.control.registry.actions.change import changing
from trivet.control.registry.models import REFUSAL, REFUSED_PROMOTION, Event, RegistryState

logger = logging.getLogger(__name__)

MOST, WITHIN = 10, timedelta(minutes=1)  # of one actor: a person who insists is seen to
LOOKED_AT = 200  # of the last Events: a bound of what that takes


def record_refusal(
    action: str,
    *,
    actor: str,
    reason: str,
    model: str = "",
    version: int | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write the Event of a refusal; the last one that `actor` has for now says so, and further ones only the log tells."""
    recent = _recent(actor)
    if recent >= MOST:
        logger.warning("event=refused actor=%.200r action=%s model=%s reason=%.500r", actor, action, model, reason)
        return
    told = {**(after or {}), **({"more": "in the log"} if recent == MOST - 1 else {})}
    with changing() as change:
        change.record(action, actor=actor, model=model, version=version, after=told, reason=reason)


def _recent(actor: str) -> int:
    """Return how many refusals of `actor` the history has of the last minute. Without the lock: a race lets in a few more."""
    database, now = router.db_for_write(RegistryState), timezone.now()
    last = RegistryState.objects.using(database).generation()
    events = Event.objects.using(database).filter(generation__gt=last - LOOKED_AT, at__range=(now - WITHIN, now))
    return events.filter(actor=actor, action__in=(REFUSAL, REFUSED_PROMOTION)).count()
