"""The table: what this process can answer at one instant. It is replaced as a whole, never changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from trivet.core.errors import Unavailable
from trivet.core.signature import Output
from trivet.core.snapshot import ModelEntry, Snapshot, VersionEntry
from trivet.dataplane.cache.prediction_cache import VersionCache
from trivet.dataplane.engines.base import LoadedVersion
from trivet.dataplane.engines.shelf import ShelvedVersion
from trivet.dataplane.protocol.messages import ANONYMOUS, Caller, InferBody
from trivet.dataplane.validation.plan import Plan

NOTHING_YET = Snapshot(generation=-1)  # before the first look at the registry, whose own generations begin at 0


@dataclass(frozen=True, slots=True)
class LiveVersion:
    """One loaded version, with everything a request needs of it worked out beforehand."""

    entry: VersionEntry
    loaded: LoadedVersion
    plan: Plan
    outputs: dict[str, Output]
    output_names: list[str]
    cache: VersionCache | None = None  # None: every request runs the model
    example: dict[str, Any] = field(default_factory=dict)  # a row that works, by the names of its fields


@dataclass(frozen=True, slots=True)
class LiveModel:
    """One model as it answers here. `failed` names versions whose bundle could not be loaded, and why."""

    entry: ModelEntry
    live: dict[int, LiveVersion]
    routed: tuple[tuple[int, LiveVersion], ...]  # cumulative share in percent, version; empty when nothing is routed
    failed: dict[int, str] = field(default_factory=dict)
    slowest_us: float = (
        0.0  # to run and to answer a row, of the slowest version loaded; infinite where one runs in another process
    )
    shadows: tuple[tuple[int, LiveVersion], ...] = ()  # percent of the requests, version that runs them too
    on_demand: tuple[ShelvedVersion, ...] = ()  # of its versions, those that may have to be loaded first
    fallback: tuple[LiveVersion, ...] = ()  # who answers where the routed version fails, in this order
    usual: msgspec.json.Decoder[InferBody] | None = None  # of the rows of the version that most are answered by

    @property
    def name(self) -> str:
        return self.entry.name

    def not_loaded(self, number: int | None = None) -> Unavailable:
        """Return why version `number`, or whichever has traffic, does not answer here, and what to do."""
        if number is None:
            routed = [route.version for route in self.entry.routes if route.weight]
            number = next((version for version in routed if version in self.failed), routed[0] if routed else None)
        if number is None:
            why = "no version is live. Promote one."
        elif number in self.failed:
            why = f"version {number} could not be loaded here; the server's log says why."
        elif self.entry.versions[number].keep_loaded:
            why = f"version {number} is not loaded here yet; ask again."
        elif any(route.version == number and route.weight for route in self.entry.routes):
            why = "it was unloaded. Load it again: POST v2/repository/models/NAME/load, with a key that may promote."
        else:
            why = f"version {number} is not loaded here: it has no traffic and no alias. Promote it, or ask another."
        return Unavailable(f"{self.name}: {why}", code="VERSION_NOT_LOADED")


@dataclass(frozen=True, slots=True)
class Table:
    """The snapshot this process follows, and what of it is loaded."""

    snapshot: Snapshot = NOTHING_YET
    models: dict[str, LiveModel] = field(default_factory=dict)
    callers: dict[str, Caller] = field(default_factory=dict)  # by the id of their key
    used: set[str] = field(
        default_factory=set
    )  # ids of keys that were used and not told of yet; one set for every table
    anonymous: Caller = ANONYMOUS


EMPTY_TABLE = Table()
