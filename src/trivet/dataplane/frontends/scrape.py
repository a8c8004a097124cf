"""`GET /metrics`: what this host's processes have counted, for who may view every model."""

from __future__ import annotations

from trivet.core.errors import PermissionDenied, Unauthenticated
from trivet.core.snapshot import ANY_MODEL, NO_VERBS
from trivet.dataplane.engines.base import Standing
from trivet.dataplane.metrics.exposition import Exposition
from trivet.dataplane.metrics.triton import ALIAS, triton_text
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol.messages import Caller
from trivet.dataplane.spool import spool_bytes


def scrape(plane: Plane, caller: Caller) -> bytes:
    """Return the metrics as text. It reads a few files, so it blocks for milliseconds.

    Raises `Unauthenticated` or `PermissionDenied`.
    """
    if caller.is_anonymous:
        raise Unauthenticated("an API key is required: send it as 'Authorization: Bearer <key>'.")
    if "view" not in caller.verbs.get(ANY_MODEL, NO_VERBS):
        raise PermissionDenied("the metrics tell of every model; this key may not view all of them (--model '*').")
    plane.tell_standing()
    counts, models = plane.meter.read(), plane.table.models
    exposition = Exposition(counts, models)
    for name, model in models.items():
        for number, version in model.live.items():
            if (standing := version.loaded.standing) is not None:
                _tell_workers(exposition, name, str(number), standing)
    waiting = plane.backlog.look(plane.spool.root)
    exposition.set("trivet_spool_bytes", value=spool_bytes(plane.spool.root))
    exposition.set("trivet_spool_unshipped_records", value=waiting.records)
    exposition.set("trivet_spool_oldest_seconds", value=waiting.oldest_seconds)
    text = exposition.text()
    return text + triton_text(counts, models) if ALIAS in plane.metrics_aliases else text


def _tell_workers(exposition: Exposition, model: str, version: str, standing: Standing) -> None:
    """Say how the model workers of a version are: every process of the host hears the same of them."""
    exposition.set("trivet_model_workers", model, version, value=standing.instances)
    exposition.add("trivet_model_worker_rss_bytes", model, value=standing.rss_bytes)
    for reason, restarts in standing.restarts.items():
        exposition.add("trivet_model_worker_restarts_total", model, reason, value=restarts)
