"""Route: which version answers this request, and why."""

from __future__ import annotations

import random
import re

from trivet.core.errors import NotFound, Unavailable
from trivet.core.names import VERSION_NUMBER
from trivet.dataplane.table import LiveModel, LiveVersion

_VERSION = re.compile(VERSION_NUMBER)


def choose(model: LiveModel, selector: str | None) -> tuple[LiveVersion, str]:
    """Return the version for `selector` (None: the routes decide; a number; an alias), and the reason for the record.

    Raises `NotFound` for a version or alias outside the snapshot, `Unavailable` for one that is not loaded.
    """
    if selector is not None:
        return _selected(model, selector)
    routed = model.routed
    if len(routed) == 1:
        return routed[0][1], "only"
    if not routed:
        raise _not_loaded(model, None)
    point = random.random() * routed[-1][0]
    for share, version in routed:
        if point < share:
            return version, "split"
    return routed[-1][1], "split"


def _selected(model: LiveModel, selector: str) -> tuple[LiveVersion, str]:
    number = model.entry.aliases.get(selector)
    reason = "alias"
    if number is None:
        number = int(selector) if _VERSION.fullmatch(selector) else 0
        reason = "pinned"
    if number not in model.entry.versions:
        raise NotFound(f"{model.name} has no version or alias {selector[:40]!r}.", code="UNKNOWN_VERSION")
    live = model.live.get(number)
    if live is None:
        raise _not_loaded(model, number)
    return live, reason


def _not_loaded(model: LiveModel, number: int | None) -> Unavailable:
    if number is None:
        return Unavailable(f"{model.name}: no version is live. Promote one.", code="VERSION_NOT_LOADED")
    return Unavailable(
        f"{model.name}: version {number} is not loaded here: it has no traffic and no alias. Promote it, or ask another.",
        code="VERSION_NOT_LOADED",
    )
