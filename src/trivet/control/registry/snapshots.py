"""The Snapshot: the registry as the data plane may know it, read whole or not at all."""

from __future__ import annotations

from collections import defaultdict

from django.db import router

from trivet import conf
from trivet.control.registry.models import Alias, ApiKey, ModelVersion, RegisteredModel, RegistryState, Route, Shadow
from trivet.core import snapshot
from trivet.core.errors import Unavailable

READ_ATTEMPTS = 5  # the registry changes when people act, so a second one is rare


def current_generation(database: str | None = None) -> int:
    """Return the number of the registry's last change, with one cheap query."""
    return RegistryState.objects.using(database).generation()


def build_snapshot() -> snapshot.Snapshot:
    """Return the registry at one generation, in a constant number of queries.

    It holds every ready version, all routes and aliases, and the keys that are neither revoked nor expired. The
    generation is read before and after: as every change moves it in its own transaction, equal numbers mean that
    nothing changed in between, on any database and isolation level. So it needs no transaction, which SQLite may be
    set to begin with its write lock, and all of it comes from one database, replica or not. Raises `Unavailable` when
    it kept changing.
    """
    database = router.db_for_read(RegistryState)
    for _ in range(READ_ATTEMPTS):
        generation = current_generation(database)
        models, keys = _read_models(database), _read_keys(database)
        if current_generation(database) == generation:
            return snapshot.Snapshot(generation=generation, models=models, keys=keys)
    raise Unavailable("the registry kept changing while it was read.", code="MANAGEMENT_AWAY")


def _read_models(database: str) -> dict[str, snapshot.ModelEntry]:
    versions: dict[int, list[ModelVersion]] = defaultdict(list)
    for version in ModelVersion.objects.using(database).ready().order_by("number").only(*_VERSION_FIELDS):
        versions[version.model_id].append(version)
    routes, shadows = _read_shares(database, Route), _read_shares(database, Shadow)
    aliases: dict[int, dict[str, int]] = defaultdict(dict)
    named = Alias.objects.using(database).order_by("name").values_list("model_id", "name", "version__number")
    for model_id, name, number in named:
        aliases[model_id][name] = number
    return {
        model.name: _model_entry(
            model, versions[model.pk], tuple(routes[model.pk]), tuple(shadows[model.pk]), aliases[model.pk]
        )
        for model in RegisteredModel.objects.using(database).order_by("name")
    }


def _read_shares(database: str, table: type[Route | Shadow]) -> dict[int, list[snapshot.Route]]:
    """Return each model's shares by its key: of its routes, or of its shadows."""
    shares: dict[int, list[snapshot.Route]] = defaultdict(list)
    rows = table._default_manager.using(database).order_by("version__number")
    for model_id, number, weight in rows.values_list("model_id", "version__number", "weight"):
        shares[model_id].append(snapshot.Route(version=number, weight=weight))
    return shares


_VERSION_FIELDS = ("model_id", "number", "digest", "runtime", "signature")


def _model_entry(
    model: RegisteredModel,
    versions: list[ModelVersion],
    routes: tuple[snapshot.Route, ...],
    shadows: tuple[snapshot.Route, ...],
    aliases: dict[str, int],
) -> snapshot.ModelEntry:
    chain = [aliases.get(step, 0) if isinstance(step, str) else step for step in model.fallback or ()]
    fallback = tuple(number for number in chain if isinstance(number, int) and number)  # an alias may point nowhere
    constant = next((step for step in chain if isinstance(step, dict)), None)
    needed = {route.version for route in routes} | set(aliases.values()) | {model.previous_champion, *fallback}
    entries = {
        version.number: snapshot.VersionEntry(
            number=version.number,
            digest=version.digest,
            runtime=version.runtime,
            signature=version.read_signature(),
            keep_loaded=version.number in needed,
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
        shadows=shadows,
        fallback=fallback,
        constant=constant,
    )


def _read_keys(database: str) -> dict[str, snapshot.KeyEntry]:
    return {
        key.pk: snapshot.KeyEntry(
            id=key.pk,
            hash=bytes(key.hash),
            grants={model: snapshot.with_implied(verbs) for model, verbs in key.grants.items()},
            expires_at=key.expires_at.timestamp() if key.expires_at else None,
        )
        for key in ApiKey.objects.using(database).usable().order_by("pk")
    }
