"""The Snapshot: the registry as the data plane may know it, read whole or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from django.db import router

from trivet import conf
from trivet.control.registry.models import (
    OF_NO_SNAPSHOT,
    Alias,
    ApiKey,
    Event,
    ModelVersion,
    RegisteredModel,
    RegistryState,
    Route,
    Shadow,
)
from trivet.core import snapshot
from trivet.core.errors import Unavailable
from trivet.core.rates import Limits, read_rates

Entry = TypeVar("Entry")  # of a model or a key

READ_ATTEMPTS = 5  # the registry changes when people act, so a second one is rare
FEW_CHANGES = 100  # beyond these, all is read anew


def current_generation(database: str | None = None) -> int:
    """Return the number of the registry's last change, with one cheap query."""
    return RegistryState.objects.using(database).generation()


def build_snapshot(previous: snapshot.Snapshot | None = None) -> snapshot.Snapshot:
    """Return the registry at one generation, in a constant number of queries.

    With the `previous` one, only what the Events since then name is read again: all else is the same objects, by which
    whoever compares knows that it has not changed.

    It holds every ready version, all routes and aliases, and the keys that are neither revoked nor expired. The
    generation is read before and after: as every change moves it in its own transaction, equal numbers mean that
    nothing changed in between, on any database and isolation level. So it needs no transaction, which SQLite may be
    set to begin with its write lock, and all of it comes from one database, replica or not. Raises `Unavailable` when
    it kept changing.
    """
    database = router.db_for_read(RegistryState)
    for _ in range(READ_ATTEMPTS):
        generation = current_generation(database)
        changed_at, changed = _changes(database, generation, previous)
        if changed is None or previous is None:
            models, keys = _read_models(database), _read_keys(database)
        else:
            models = _merged(previous.models, changed.models, lambda names: _read_models(database, names))
            keys = _merged(previous.keys, changed.keys, lambda ids: _read_keys(database, ids))
        if current_generation(database) == generation:
            return snapshot.Snapshot(
                generation=generation, models=models, keys=keys, changed_at=changed_at, keyless_limits=_limits(None)
            )
    raise Unavailable("the registry kept changing while it was read.", code="MANAGEMENT_AWAY")


@dataclass
class _Changed:
    """The names of models and the ids of keys that Events name."""

    models: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


def _changes(database: str, generation: int, previous: snapshot.Snapshot | None) -> tuple[float, _Changed | None]:
    """Return when the last change was made, and what has changed since `previous`; None where that is not known.

    It is not where an Event is missing or names nothing, and where the one that `previous` ended with is another: then
    the database is.
    """
    is_followed = previous is not None and generation - FEW_CHANGES <= previous.generation <= generation
    first = previous.generation if previous is not None and is_followed else generation
    events = list(
        Event.objects.using(database)
        .filter(generation__gte=first, generation__lte=generation)
        .order_by("generation")
        .values_list("generation", "at", "action", "model", "before", "after")
    )
    changed_at = events[-1][1].timestamp() if events else 0.0
    if previous is None or [number for number, *_ in events] != list(range(first, generation + 1)):
        return changed_at, None
    if not is_followed or events[0][1].timestamp() != previous.changed_at:
        return changed_at, None
    changed = _Changed()
    for _, _, action, model, before, after in events[1:]:
        if action in OF_NO_SNAPSHOT:
            continue
        if model:
            changed.models.add(model)
        elif key := after.get("key") or before.get("key"):
            changed.keys.add(key)
        else:
            return changed_at, None
    return changed_at, changed


def _merged(
    previous: dict[str, Entry], names: set[str], read: Callable[[set[str]], dict[str, Entry]]
) -> dict[str, Entry]:
    """Return `previous` with the entries of `names` as they are now, which may be not at all."""
    if not names:
        return previous
    return {name: entry for name, entry in previous.items() if name not in names} | read(names)


def _read_models(database: str, names: set[str] | None = None) -> dict[str, snapshot.ModelEntry]:
    models = RegisteredModel.objects.using(database).order_by("name")
    of_models: dict[str, set[str]] = {}
    if names is not None:
        models, of_models = models.filter(name__in=names), {"model__name__in": names}
    versions: dict[int, list[ModelVersion]] = defaultdict(list)
    ready = ModelVersion.objects.using(database).ready().filter(**of_models)
    for version in ready.order_by("number").only(*_VERSION_FIELDS):
        versions[version.model_id].append(version)
    routes, shadows = _read_shares(database, Route, of_models), _read_shares(database, Shadow, of_models)
    aliases: dict[int, dict[str, int]] = defaultdict(dict)
    named = Alias.objects.using(database).filter(**of_models).order_by("name")
    for model_id, name, number in named.values_list("model_id", "name", "version__number"):
        aliases[model_id][name] = number
    return {
        model.name: _model_entry(
            model, versions[model.pk], tuple(routes[model.pk]), tuple(shadows[model.pk]), aliases[model.pk]
        )
        for model in models
    }


def _read_shares(
    database: str, table: type[Route | Shadow], of_models: dict[str, set[str]]
) -> dict[int, list[snapshot.Route]]:
    """Return each model's shares by its key: of its routes, or of its shadows."""
    shares: dict[int, list[snapshot.Route]] = defaultdict(list)
    rows = table._default_manager.using(database).filter(**of_models).order_by("version__number")
    for model_id, number, weight in rows.values_list("model_id", "version__number", "weight"):
        shares[model_id].append(snapshot.Route(version=number, weight=weight))
    return shares


_VERSION_FIELDS = ("model_id", "number", "digest", "runtime", "signature", "keep_loaded")


def _model_entry(
    model: RegisteredModel,
    versions: list[ModelVersion],
    routes: tuple[snapshot.Route, ...],
    shadows: tuple[snapshot.Route, ...],
    aliases: dict[str, int],
) -> snapshot.ModelEntry:
    steps = [] if model.unloaded else model.fallback or []  # nobody answers for a model that was unloaded
    chain = [aliases.get(step, 0) if isinstance(step, str) else step for step in steps]
    fallback = tuple(number for number in chain if isinstance(number, int) and number)  # an alias may point nowhere
    constant = next((step for step in chain if isinstance(step, dict)), None)
    needed = {route.version for route in routes} | set(aliases.values()) | set(fallback)
    entries = {
        version.number: snapshot.VersionEntry(
            number=version.number,
            digest=version.digest,
            runtime=version.runtime,
            signature=version.read_signature(),
            keep_loaded=_is_kept(model, version, needed),
        )
        for version in versions
    }
    return snapshot.ModelEntry(
        name=model.name,
        versions=entries,
        routes=routes,
        aliases=aliases,
        anonymous=model.anonymous and not conf.REQUIRE_KEY(),
        sticky_by=model.sticky_by,
        shadows=() if model.unloaded else shadows,
        fallback=fallback,
        constant=constant,
        sensitive=frozenset(model.sensitive or ()),
    )


def _is_kept(model: RegisteredModel, version: ModelVersion, needed: set[int]) -> bool:
    """True for what the model's traffic needs and a rollback would, unless it is unloaded; besides, for what somebody wants."""
    if version.number in needed and not model.unloaded:
        return True
    if version.keep_loaded is not None:
        return version.keep_loaded
    return version.number == model.previous_champion and not model.unloaded


def _read_keys(database: str, ids: set[str] | None = None) -> dict[str, snapshot.KeyEntry]:
    keys = ApiKey.objects.using(database).usable().order_by("pk")
    if ids is not None:
        keys = keys.filter(pk__in=ids)
    fields = ("id", "hash", "grants", "expires_at", "previous_hash", "previous_until", "limits")
    return {
        key_id: snapshot.KeyEntry(
            id=key_id,
            hash=bytes(key_hash),
            grants={model: snapshot.with_implied(verbs) for model, verbs in grants.items()},
            expires_at=expires_at.timestamp() if expires_at else None,
            previous_hash=bytes(previous_hash) if previous_hash else None,
            previous_until=previous_until.timestamp() if previous_until else 0.0,
            limits=_limits(limits),
        )
        for key_id, key_hash, grants, expires_at, previous_hash, previous_until, limits in keys.values_list(*fields)
    }


def _limits(own: dict[str, str] | None) -> Limits:
    """Return the limits that hold for a key with its `own`: what it does not say of all models, the setting says."""
    default = conf.RATE_LIMIT()
    everywhere = {snapshot.ANY_MODEL: read_rates(default)} if default else {}
    return everywhere | {model: read_rates(text) for model, text in (own or {}).items()}
