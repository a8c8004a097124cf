"""`GET /metrics`: what this host's processes have counted, for who may view every model."""

from __future__ import annotations

from trivet.core.errors import PermissionDenied, Unauthenticated
from trivet.core.snapshot import ANY_MODEL, NO_VERBS
from trivet.dataplane.authentication import ANONYMOUS
from trivet.dataplane.metrics.exposition import Exposition
from trivet.dataplane.metrics.triton import ALIAS, triton_text
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol.messages import Caller
from trivet.dataplane.spool import spool_bytes


def scrape(plane: Plane, caller: Caller) -> bytes:
    """Return the metrics as text. It reads a few files, so it blocks for milliseconds.

    Raises `Unauthenticated` or `PermissionDenied`.
    """
    if caller is ANONYMOUS:
        raise Unauthenticated("an API key is required: send it as 'Authorization: Bearer <key>'.")
    if "view" not in caller.verbs.get(ANY_MODEL, NO_VERBS):
        raise PermissionDenied("the metrics tell of every model; this key may not view all of them (--model '*').")
    counts, models = plane.meter.read(), plane.table.models
    exposition = Exposition(counts, models)
    waiting = plane.backlog.look(plane.spool.root)
    exposition.set("trivet_spool_bytes", value=spool_bytes(plane.spool.root))
    exposition.set("trivet_spool_unshipped_records", value=waiting.records)
    exposition.set("trivet_spool_oldest_seconds", value=waiting.oldest_seconds)
    text = exposition.text()
    return text + triton_text(counts, models) if ALIAS in plane.metrics_aliases else text
