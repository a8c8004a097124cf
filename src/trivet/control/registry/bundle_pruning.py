"""Bundles that nobody needs: left by a push that did not end, or of versions long out of use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.core.files.storage import Storage
from django.db import router
from django.utils import timezone

from trivet.control.registry.actions.change import Change, changing
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.models import ModelVersion, RegistryState, VersionStatus
from trivet.control.registry.storage import bundle_storage, remove_bundle, stored_digests

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor

HALF_PUSHED = timedelta(days=1)  # a bundle is stored before it is registered; a push takes minutes
ACTION = "prune_bundles"


class Superfluous(NamedTuple):
    """What may go: digests of stored bundles, and the versions that go out of use with theirs."""

    digests: tuple[str, ...]
    versions: tuple[ModelVersion, ...]

    def __bool__(self) -> bool:
        return bool(self.digests or self.versions)


def superfluous_bundles(*, keep: int | None = None, now: datetime | None = None) -> Superfluous:
    """Return what may go: bundles a day old that no version has, and with `keep` those of versions that are not in use,
    but for the newest so many of each model.
    """
    return _superfluous(router.db_for_write(RegistryState), keep, now or timezone.now())


def prune_bundles(*, keep: int | None = None, actor: Actor, reason: str = "") -> Superfluous:
    """Retire those versions, write one Event, and delete the bundles from the storage. Their rows and manifests stay."""
    actor = permitted(actor, "prune", to=ACTION)
    with changing() as change:
        found = _superfluous(change.database, keep, timezone.now())
        _retire(change, found.versions)
        after = {"digests": list(found.digests), "retired": [str(version) for version in found.versions]}
        change.record(ACTION, actor=actor, after=after, reason=reason)
    storage = bundle_storage()
    for digest in found.digests:
        remove_bundle(storage, digest)
    return found


def _retire(change: Change, versions: tuple[ModelVersion, ...]) -> None:
    rows = change.rows(ModelVersion).filter(pk__in=[version.pk for version in versions])
    rows.update(status=VersionStatus.RETIRED, status_reason="its bundle was pruned")


def _superfluous(database: str, keep: int | None, now: datetime) -> Superfluous:
    storage = bundle_storage()
    versions = ModelVersion.objects.using(database).select_related("model")
    in_use = set(versions.in_use().values_list("pk", flat=True))
    out: list[ModelVersion] = []
    if keep is not None:
        seen: dict[int, int] = {}
        for version in versions.exclude(status=VersionStatus.RETIRED).order_by("model", "-number"):
            seen[version.model_id] = seen.get(version.model_id, 0) + 1
            if seen[version.model_id] > keep and version.pk not in in_use:
                out.append(version)
    leaving = {version.pk for version in out}
    needed = {digest for pk, digest in versions.values_list("pk", "digest") if pk not in leaving}
    digests = {version.digest for version in out} | set(_unknown(storage, database, now))
    return Superfluous(tuple(sorted(digests - needed)), tuple(out))


def _unknown(storage: Storage, database: str, now: datetime) -> Iterator[str]:
    """Yield the digests in the storage that no version has, and nobody is about to register."""
    known = ModelVersion.objects.using(database)
    for digest, since in stored_digests(storage):
        moment = since if timezone.is_aware(since) else timezone.make_aware(since)
        aware_now = now if timezone.is_aware(now) else timezone.make_aware(now)
        if aware_now - moment > HALF_PUSHED and not known.filter(digest=digest).exists():
            yield digest
