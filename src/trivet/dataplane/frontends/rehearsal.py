"""Rehearsal: what was loaded answers requests that nobody sent, on the very path of those that will come.

A session that was run is warm; the path around it is not: what Python and the processor have to learn of a version, and of
the first request of all, would be learned while somebody waits. Nothing here is recorded, counted or shown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import msgspec

from trivet.core.errors import Unavailable
from trivet.core.examples import infer_body
from trivet.dataplane.authentication import trusted
from trivet.dataplane.engines.shelf import ShelvedVersion
from trivet.dataplane.frontends.rest import Exchange
from trivet.dataplane.plane import Plane
from trivet.dataplane.spool import Spool
from trivet.dataplane.table import LiveModel, LiveVersion, Table

ROUNDS = 20  # of each version; measured: the first ten are slower than those that follow
SECONDS = 0.1  # for all versions together: of a thousand, those that are rehearsed warm the path for the others
DEADLINE_SECONDS = 1.0
ACTOR = trusted("rehearsal")


class _Nowhere(Spool):
    """A log that keeps nothing."""

    def __init__(self) -> None:
        self.commits = None

    def ensure_writable(self) -> None:
        """There is always room."""

    def append(self, payload: bytes) -> None:
        """Forget `payload`."""


def rehearse(plane: Plane, table: Table) -> None:
    """Let every version that gets traffic with `table`, and did not have it in `plane`, answer its recorded row.

    Takes `SECONDS` at most, and a request more. What fails here fails without a trace: the first real request will tell.
    """
    if table.models:
        with suppress(Unavailable):
            plane.spool.ensure_writable()  # a segment is made before somebody waits for it
    until = time.monotonic() + SECONDS
    limits = replace(plane.limits, deadline_seconds=DEADLINE_SECONDS)
    stage = Plane(plane.reconciler, _Nowhere(), limits=limits)
    for model, version in _new(table, plane.table):
        if time.monotonic() > until:
            return
        if not version.example or _takes_long(version, plane.limits.inline_limit_us):
            continue
        alone = replace(model, routed=((100, replace(version, cache=None)),), shadows=(), fallback=())
        stage.table = replace(table, models={model.name: alone})
        _play(stage, version, model.name, until)


def _new(table: Table, before: Table) -> Iterator[tuple[LiveModel, LiveVersion]]:
    known = {id(version) for model in before.models.values() for _, version in model.routed}
    for model in table.models.values():
        yield from ((model, version) for _, version in model.routed if id(version) not in known)


def _takes_long(version: LiveVersion, limit_us: float) -> bool:
    loaded = version.loaded
    return loaded.cost_us_per_row > limit_us or (isinstance(loaded, ShelvedVersion) and loaded.is_cold)


def _play(stage: Plane, version: LiveVersion, model: str, until: float) -> None:
    encode = msgspec.json.encode
    bodies = {
        "infer": encode(infer_body(version.plan.signature, version.example)),
        "predict": encode({"rows": [version.example]}),
    }
    for _ in range(ROUNDS):
        for verb, body in bodies.items():
            exchange = Exchange(stage, "POST", f"/v2/models/{model}/{verb}", {b"host": b"localhost"}, ACTOR)
            response = exchange.begin() or exchange.receive(body) or exchange.run()
            if response.status != 200 or time.monotonic() > until:
                return
