"""The model repository in Triton's words: which versions are loaded here; to load and unload, the control plane is asked.

A call is judged here, by key and verb, like every other; what it changes is the registry's, so a plain function that
whoever made the plane passed in does that. It waits for every worker: never call `run` on an event loop.
"""

from __future__ import annotations

from typing import Any

from trivet.core.errors import Unauthenticated, Unavailable
from trivet.core.snapshot import Snapshot
from trivet.dataplane.authentication import authorise
from trivet.dataplane.frontends.descriptions import seen_by
from trivet.dataplane.frontends.doors import JSON
from trivet.dataplane.frontends.paths import Target
from trivet.dataplane.frontends.slow_lane import Lane
from trivet.dataplane.plane import LoadingChange, Plane
from trivet.dataplane.protocol.messages import Caller
from trivet.dataplane.protocol.metadata import described, encode
from trivet.dataplane.protocol.repository import check_change, decode_index
from trivet.dataplane.table import LiveModel

INDEX = "index"
CHANGES = frozenset({"load", "unload"})
KINDS = CHANGES | {INDEX}
LANE = Lane(
    "/loading", threads=4, waiting=60, is_told=False
)  # no model's name: it waits for other workers, and nobody here for it

READY, LOADING, UNLOADING, UNAVAILABLE = "READY", "LOADING", "UNLOADING", "UNAVAILABLE"
NOT_LOADED = "not loaded: it has neither traffic nor an alias, or it was unloaded."
NOT_LOADABLE = "its bundle could not be loaded; the server's log says why."


class RepositoryCall:
    """One call, judged when it is made: raises `Unauthenticated`, `PermissionDenied` or `NotFound`."""

    status = 200
    media = JSON
    lane = LANE
    is_recorded = False

    def __init__(self, plane: Plane, caller: Caller, target: Target) -> None:
        self._plane = plane
        self._caller = caller
        self._target = target
        self._only_ready = False
        self._version: int | None = None
        if target.kind == INDEX:
            if caller.is_anonymous:
                raise Unauthenticated("an API key is required: send it as 'Authorization: Bearer <key>'.")
            return
        model = authorise(plane.table, caller, target.model, "promote")
        if target.selector is not None:
            self._version = described(model.entry, target.selector).number

    @property
    def is_slow(self) -> bool:
        """True for what waits for the registry and for other workers."""
        return self._target.kind in CHANGES

    def receive(self, body: bytes) -> None:
        """Read the body; raises `InvalidRequest`."""
        if self._target.kind == INDEX:
            self._only_ready = decode_index(body)
        else:
            check_change(body)

    def body(self) -> bytes:
        """Return the answer's bytes; raises what `run` raises."""
        return encode(self.run())

    def run(self) -> Any:
        """Return, ready to be encoded, the index; or change what is loaded, and return once every worker has followed.

        Raises `Conflict` for a version that has traffic or an alias, `Unavailable` when the registry is away, when a
        worker did not follow in time, or when what was to be loaded cannot be.
        """
        target, plane = self._target, self._plane
        if target.kind == INDEX:
            return index(plane, seen_by(plane, self._caller), only_ready=self._only_ready)
        change = LoadingChange(target.model, self._version, target.kind == "load", self._caller.name)
        plane.change_loading(change)
        if change.is_load:
            _ensure_loaded(plane.table.models.get(target.model), self._version)
        return {}


def index(plane: Plane, names: list[str], *, only_ready: bool = False) -> list[dict[str, str]]:
    """Return one entry per version of the models in `names`, with its state in this process."""
    entries = []
    for name in names:
        model = plane.table.models[name]
        for number in sorted(model.entry.versions):
            state, reason = _state(model, number, plane.coming)
            if state == READY or not only_ready:
                entries.append({"name": name, "version": str(number), "state": state, "reason": reason})
    return entries


def _state(model: LiveModel, number: int, coming: Snapshot | None) -> tuple[str, str]:
    next_model = coming.models.get(model.name) if coming is not None else None
    next_entry = next_model.versions.get(number) if next_model is not None else None
    if number in model.live:
        leaves = coming is not None and (next_entry is None or not next_entry.keep_loaded)
        return (UNLOADING if leaves else READY), ""
    if next_entry is not None and next_entry.keep_loaded:
        return LOADING, ""
    return UNAVAILABLE, NOT_LOADABLE if number in model.failed else NOT_LOADED


def _ensure_loaded(model: LiveModel | None, version: int | None) -> None:
    failed = () if model is None else tuple(model.failed)
    if model is not None and (version in failed if version is not None else failed):
        raise Unavailable(f"{model.name}: version {version or failed[0]}: {NOT_LOADABLE}", code="VERSION_NOT_LOADED")
