"""Reconcile: make what is loaded follow a Snapshot. Fetch, verify, load, warm, then swap, then unload.

A version that cannot be loaded never replaces one that answers: the model keeps the routes it had, and the failure is
kept beside it for readiness and metadata to tell.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import msgspec
from msgspec.json import Decoder

from trivet.core.constants import CONSTANT_RUNTIME, NO_VERSION, Constant, constant_digest
from trivet.core.errors import BundleError, TrivetError
from trivet.core.examples import row_of_sample
from trivet.core.signature import Signature
from trivet.core.snapshot import KeyEntry, ModelEntry, Snapshot, VersionEntry
from trivet.dataplane.cache.prediction_cache import PredictionCache
from trivet.dataplane.engines.base import Engine, LoadedVersion
from trivet.dataplane.engines.constant import ConstantVersion
from trivet.dataplane.engines.shelf import Shelf, ShelvedVersion
from trivet.dataplane.outputs import ANSWER_US_PER_BYTE
from trivet.dataplane.protocol.messages import Caller, InferBody
from trivet.dataplane.table import LiveModel, LiveVersion, Table
from trivet.dataplane.validation.plan import Plan
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.sample import SAMPLE_NAME

logger = logging.getLogger(__name__)

Fetch = Callable[[str], Bundle]


class Reconciler:
    """Turns snapshots into tables. One thread calls `follow`; nobody else loads or unloads."""

    def __init__(
        self,
        engines: Sequence[Engine],
        fetch: Fetch,
        max_rows: int,
        cache: PredictionCache | None = None,
        memory_bytes: int = 0,
    ) -> None:
        """`engines` are asked in order: the first that accepts a bundle loads it.

        With `memory_bytes`, what does not fit into so much of this process's memory is loaded when it is asked for; 0
        means that all is loaded at once.
        """
        self.cache = cache
        self._shelf = Shelf(memory_bytes) if memory_bytes else None
        self._fresh: dict[str, Bundle] = {}  # read just now, by digest; a version that is loaded at once is read once
        self._later: list[ShelvedVersion] = []  # without traffic: loaded where there is room in the end
        self._engines = engines
        self._fetch = fetch
        self._max_rows = max_rows
        self._loaded: dict[str, LiveVersion] = {}  # by digest: two models may share a bundle
        self._replaced: list[LiveVersion] = []  # by another engine's, which are in force soon

    def follow(self, snapshot: Snapshot, before: Table) -> Table:
        """Return the table for `snapshot`, loading what is new. May take as long as loading takes; raises nothing.

        What a snapshot has in common with the one before, being the same objects, is taken over as it is.
        """
        models = {
            name: self._unchanged_or_new(entry, before.models.get(name)) for name, entry in snapshot.models.items()
        }
        self._fill()
        anonymous = before.anonymous
        if anonymous.limits != snapshot.keyless_limits:
            anonymous = msgspec.structs.replace(anonymous, limits=snapshot.keyless_limits)
        return Table(snapshot, models, _callers(snapshot.keys, before), before.used, anonymous)

    def release_unused(self, table: Table) -> None:
        """Unload what `table`, which is in force by now, does not use."""
        models = table.models.values()
        used = {live.entry.digest for model in models for live in model.live.values()}
        used |= {shadow.entry.digest for model in models for _, shadow in model.shadows}
        replaced, self._replaced = self._replaced, []
        for version in replaced:
            version.loaded.unload()
        for digest in self._loaded.keys() - used:
            self._loaded.pop(digest).loaded.unload()
            logger.info("event=version_unloaded digest=%s", digest[:12])

    def _unchanged_or_new(self, entry: ModelEntry, before: LiveModel | None) -> LiveModel:
        is_same = before is not None and before.entry is entry and not before.failed
        return before if before is not None and is_same else self._model(entry, before)

    def _model(self, entry: ModelEntry, before: LiveModel | None) -> LiveModel:
        live: dict[int, LiveVersion] = {}
        failed: dict[int, str] = {}
        for version in entry.versions.values():
            if not version.keep_loaded:
                continue
            if (loaded := self._loaded_or_failed(version, entry.name, failed, before)) is not None:
                live[version.number] = loaded
        if self._shelf is not None:
            self._stock(self._shelf, entry, live, failed, may_push=before is not None and bool(before.routed))
        shadows = self._shadows(entry, failed, before)
        fallback = self._fallback(entry, live)
        if any(route.version in failed and route.weight for route in entry.routes) and before is not None:
            live = {**before.live, **live}
            routed = before.routed
        else:
            routed = _shares(entry, live)
        on_demand = tuple(v.loaded for v in live.values() if isinstance(v.loaded, ShelvedVersion))
        return LiveModel(entry, live, routed, failed, _slowest(live), shadows, on_demand, fallback, _usual(entry, live))

    def _loaded_or_failed(
        self, version: VersionEntry, model: str, failed: dict[int, str], before: LiveModel | None
    ) -> LiveVersion | None:
        """Return the version, loaded, or None with the reason in `failed`; the log is told once, and again for another."""
        try:
            return self._version(version)
        except Exception as error:
            failed[version.number] = str(error)
            if before is not None and before.failed.get(version.number) == str(error):
                return None
            trace = None if isinstance(error, TrivetError) else error
            logger.error(  # noqa: TRY400  (a trace only where the message is not the finding)
                "event=version_not_loaded model=%s version=%d error=%s", model, version.number, error, exc_info=trace
            )
            return None

    def _stock(
        self, shelf: Shelf, entry: ModelEntry, live: dict[int, LiveVersion], failed: dict[int, str], *, may_push: bool
    ) -> None:
        """Load what has traffic, where there is room or it `may_push` others out: then it answers as fast from the start
        as later, and one that cannot be loaded replaces nobody.
        """
        routed = {route.version for route in entry.routes if route.weight}
        for number, version in list(live.items()):
            loaded = version.loaded
            if not isinstance(loaded, ShelvedVersion):
                continue
            loaded.has_traffic = number in routed
            if not loaded.has_traffic:
                self._later.append(loaded)
            elif may_push or shelf.has_room_for(loaded):
                try:
                    shelf.bring(loaded)
                except TrivetError as error:
                    failed[number] = str(error)
                    del live[number]
        self._fresh.clear()

    def _fill(self) -> None:
        later, self._later = self._later, []
        for version in later:
            if self._shelf is not None and self._shelf.has_room_for(version):
                with suppress(TrivetError):  # logged; it is tried again when it is asked for
                    self._shelf.bring(version)
        self._fresh.clear()

    def _shelved(self, shelf: Shelf, engine: Engine, bundle: Bundle, entry: VersionEntry) -> ShelvedVersion:
        self._fresh[entry.digest] = bundle

        def load() -> LoadedVersion:
            fresh = self._fresh.pop(entry.digest, None)
            return engine.load(fresh if fresh is not None else self._bundle(entry))

        return shelf.place(load, sum(map(len, bundle.files.values())), entry.digest[:12])

    def _shadows(
        self, entry: ModelEntry, failed: dict[int, str], before: LiveModel | None
    ) -> tuple[tuple[int, LiveVersion], ...]:
        """Return who runs beside the answers. They are not among what may be asked, and remember nothing."""
        shadows: list[tuple[int, LiveVersion]] = []
        for route in entry.shadows:
            version = entry.versions.get(route.version)
            if version is None or version.number in failed:
                continue
            if (loaded := self._loaded_or_failed(version, entry.name, failed, before)) is not None:
                shadows.append((route.weight, replace(loaded, cache=None)))
        return tuple(shadows)

    def _fallback(self, entry: ModelEntry, live: dict[int, LiveVersion]) -> tuple[LiveVersion, ...]:
        """Return who answers where the routed version fails: of the chain, what is loaded, then the constant."""
        chain = [live[number] for number in entry.fallback if number in live]
        described = (
            entry.versions.get(max(entry.routes, key=lambda route: route.weight).version) if entry.routes else None
        )
        if entry.constant is not None and described is not None:
            try:
                chain.append(self._constant(described.signature, entry.constant))
            except TrivetError as error:
                logger.error("event=constant_unfit model=%s error=%s", entry.name, error)  # noqa: TRY400
        return tuple(chain)

    def _constant(self, signature: Signature, constant: Constant) -> LiveVersion:
        digest = constant_digest(signature, constant)
        entry = VersionEntry(NO_VERSION, digest, CONSTANT_RUNTIME, signature)
        outputs = {output.name: output for output in signature.outputs}
        plan = Plan(signature, self._max_rows)
        return LiveVersion(entry, ConstantVersion(signature, constant), plan, outputs, list(outputs))

    def _version(self, entry: VersionEntry) -> LiveVersion:
        found = self._loaded.get(entry.digest)
        given_up = found is not None and found.loaded.runs_inline and self._is_given_up(entry.digest)
        if found is not None and not given_up and found.entry.number == entry.number:
            return found
        if found is None or given_up:
            bundle = self._bundle(entry)
            engine = self._engine_for(bundle)
            if self._shelf is not None and engine.is_in_process:
                loaded: LoadedVersion = self._shelved(self._shelf, engine, bundle, entry)
            else:
                loaded = engine.load(bundle)
            signature = bundle.signature
            plan = Plan(signature, self._max_rows, bundle.manifest.packs)
            example = row_of_sample(signature, bundle.files.get(SAMPLE_NAME, b"").partition(b"\n")[0]) or {}
        else:
            loaded, plan, signature, example = found.loaded, found.plan, found.plan.signature, found.example
        outputs = {output.name: output for output in signature.outputs}
        cache = None if self.cache is None else self.cache.of_version(entry.digest, signature, loaded)
        live = LiveVersion(entry, loaded, plan, outputs, list(outputs), cache, example)
        if found is not None and given_up:
            self._replaced.append(found)
            self._loaded[entry.digest] = live
        self._loaded.setdefault(entry.digest, live)
        return live

    def _is_given_up(self, digest: str) -> bool:
        return any(engine.has_given_up(digest) for engine in self._engines)

    def _engine_for(self, bundle: Bundle) -> Engine:
        for engine in self._engines:
            if engine.accepts(bundle):
                return engine
        raise BundleError(f"runtime {bundle.manifest.runtime!r} runs in a model worker only, and none is configured.")

    def _bundle(self, entry: VersionEntry) -> Bundle:
        try:
            return self._fetch(entry.digest)
        except TrivetError:
            raise
        except OSError as error:
            raise BundleError(
                f"bundle {entry.digest[:12]}… cannot be read: {error.strerror or 'input/output'}."
            ) from error


def _callers(keys: dict[str, KeyEntry], before: Table) -> dict[str, Caller]:
    if keys is before.snapshot.keys:
        return before.callers
    old = before.snapshot.keys
    return {
        key.id: before.callers[key.id]
        if old.get(key.id) is key
        else Caller(f"key:{key.id}", key.grants, limits=key.limits)
        for key in keys.values()
    }


def _slowest(live: dict[int, LiveVersion]) -> float:
    if not all(version.loaded.runs_inline for version in live.values()):
        return math.inf  # it waits for another process: nothing of this model runs on an event loop
    costs = (v.loaded.cost_us_per_row + v.plan.answer_row_bytes * ANSWER_US_PER_BYTE for v in live.values())
    return max(costs, default=0.0)


def _usual(entry: ModelEntry, live: dict[int, LiveVersion]) -> Decoder[InferBody] | None:
    """Return the decoder of the version that most of the traffic is meant for; None where it has none."""
    routes = [route for route in entry.routes if route.weight and route.version in live]
    if not routes:
        return None
    row = live[max(routes, key=lambda route: route.weight).version].plan.usual_row
    return row.decoder if row else None


def _shares(entry: ModelEntry, live: dict[int, LiveVersion]) -> tuple[tuple[int, LiveVersion], ...]:
    shares: list[tuple[int, LiveVersion]] = []
    total = 0
    for route in entry.routes:
        if route.weight and route.version in live:
            total += route.weight
            shares.append((total, live[route.version]))
    return tuple(shares)
