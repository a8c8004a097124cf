"""The answers of the paths that only read: health, and what the server and its models say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from trivet.core.errors import Unauthenticated, Unavailable
from trivet.core.examples import made_up_row
from trivet.core.snapshot import ANY_MODEL, NO_VERBS
from trivet.dataplane.admission import admit
from trivet.dataplane.authentication import authorise
from trivet.dataplane.frontends.paths import Target
from trivet.dataplane.metrics.statistics import statistics_of
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol import metadata
from trivet.dataplane.protocol.configuration import Workers, configuration
from trivet.dataplane.protocol.messages import Caller
from trivet.dataplane.protocol.openapi import document
from trivet.dataplane.routing import choose
from trivet.dataplane.table import LiveModel

PUBLIC = frozenset({"live", "ready"})  # probes have no key and send a pod's address as Host; these reveal two booleans


def health(plane: Plane, kind: str) -> dict[str, Any]:
    """Return what a probe is told. Readiness is this worker's own: a snapshot, a writable log, no shutdown.

    Raises `Unavailable` where it is not ready. One bad model does not count. A worker that answers without a log, because
    it was told to, is ready and says `"log": false`.
    """
    if kind == "live":
        return {"live": True}
    if plane.is_draining:
        raise Unavailable("this worker is draining.", code="DRAINING")
    if not plane.is_ready:
        raise Unavailable("this worker is waiting for its first snapshot.", code="VERSION_NOT_LOADED")
    plane.spool.ensure_writable()
    told = {"live": True, "ready": True}
    return told if plane.spool.is_writable else told | {"log": False}


def describe(plane: Plane, caller: Caller, target: Target) -> Any:
    """Return, ready to be encoded, what `target` names, as far as `caller` may see it.

    Raises `Unauthenticated`, `PermissionDenied`, `NotFound`, or `Unavailable` for a model that would not answer now.
    """
    if target.model:
        model = authorise(plane.table, caller, target.model, "view")
        return _OF_MODEL[target.kind](plane, model, target.selector)
    if caller.is_anonymous:
        raise Unauthenticated("an API key is required: send it as 'Authorization: Bearer <key>'.")
    return _OF_SERVER[target.kind](plane, caller)


def seen_by(plane: Plane, caller: Caller, verb: str = "") -> list[str]:
    """Return the names of the models that `caller` may use some verb on, or `verb`; sorted."""

    def may(name: str) -> bool:
        verbs = caller.verbs.get(name, NO_VERBS)
        return verb in verbs if verb else bool(verbs)

    sees_all = may(ANY_MODEL)
    return [name for name in sorted(plane.table.models) if sees_all or may(name)]


def _server(plane: Plane, _caller: Caller) -> Any:
    return metadata.server(plane.release)


def _models(plane: Plane, caller: Caller) -> Any:
    return {"models": seen_by(plane, caller)}


def _metadata(_plane: Plane, model: LiveModel, selector: str | None) -> Any:
    return metadata.model(model.entry, selector)


def _ready(plane: Plane, model: LiveModel, selector: str | None) -> Any:
    """Return that what `selector` names would answer now; without one, each version that has traffic. Else it raises.

    What a prediction is refused for at the door counts as much as the version's own state.
    """
    admit(model, plane.spool, is_closed=plane.is_closed)
    version, _ = choose(model, selector)
    versions = [version] if selector is not None else [routed for _, routed in model.routed]
    for one in versions:
        one.loaded.ensure_ready()
    return {"name": model.name, "ready": True}


def _configuration(plane: Plane, model: LiveModel, selector: str | None) -> Any:
    cached = [number for number, version in model.live.items() if version.cache is not None]
    live = model.live.get(metadata.described(model.entry, selector).number)
    standing = live.loaded.standing if live else None
    workers = Workers(standing.wanted, standing.max_batch_rows, standing.max_batch_delay_ms) if standing else None
    return configuration(model.entry, selector, plane.limits.max_rows, workers=workers, cached=cached)


def _openapi(plane: Plane, model: LiveModel, selector: str | None) -> Any:
    version = metadata.described(model.entry, selector)
    live = model.live.get(version.number)
    fields = (live.example if live else None) or made_up_row(version.signature)
    found = document(model.name, version.number, version.signature, fields, max_rows=plane.limits.max_rows, at=selector)
    return found | {"servers": [{"url": plane.prefix.rstrip("/") or "/"}]}


def statistics(plane: Plane, models: Iterable[str], version: int | None = None) -> Any:
    """Return the statistics of each version of `models`, or of one version. It reads a few files: milliseconds."""
    totals = plane.meter.totals()
    told = [
        statistics_of(name, number, totals.get((name, number)), _memory_of(plane, name, number))
        for name in models
        for number in sorted(plane.table.models[name].entry.versions)
        if version in (None, number)
    ]
    return {"model_stats": told}


def _memory_of(plane: Plane, model: str, version: int) -> int | None:
    live = plane.table.models[model].live.get(version)
    standing = live.loaded.standing if live else None
    return standing.rss_bytes if standing else None


def _statistics(plane: Plane, caller: Caller) -> Any:
    return statistics(plane, seen_by(plane, caller, "view"))


def _model_statistics(plane: Plane, model: LiveModel, selector: str | None) -> Any:
    version = None if selector is None else metadata.described(model.entry, selector).number
    return statistics(plane, [model.name], version)


_OF_SERVER: dict[str, Callable[[Plane, Caller], Any]] = {
    "server": _server,
    "models": _models,
    "statistics": _statistics,
}
_OF_MODEL: dict[str, Callable[[Plane, LiveModel, str | None], Any]] = {
    "metadata": _metadata,
    "model_ready": _ready,
    "config": _configuration,
    "openapi": _openapi,
    "model_statistics": _model_statistics,
}
