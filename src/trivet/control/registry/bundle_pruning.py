"""Bundles that nobody needs: left by a push that did not end, or of versions long out of use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db import router
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from trivet.control.registry.actions.change import Change, changing
from trivet.control.registry.actions.claiming import CLAIM_LASTS, clear_lapsed_claims
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.models import BundleClaim, ModelVersion, RegistryState, VersionStatus
from trivet.control.registry.storage import bundle_storage, remove_bundle, stored_digests

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor

HALF_PUSHED = timedelta(days=1)  # where nobody claims it: a release without claims may be about to register it
ACTION = "prune_bundles"


class Superfluous(NamedTuple):
    """What may go: digests of stored bundles, and the versions that go out of use with theirs."""

    digests: tuple[str, ...]
    versions: tuple[ModelVersion, ...]

    def __bool__(self) -> bool:
        return bool(self.digests or self.versions)


def superfluous_bundles(*, keep: int | None = None, now: datetime | None = None) -> Superfluous:
    """Return what may go: bundles a day old, or what is left of some, that no version has; those of retired versions, which
    a prune that was killed left; and with `keep` those of versions that are not in use, but for the newest so many of each
    model.
    """
    return _superfluous(router.db_for_write(RegistryState), keep, now or timezone.now())


def prune_bundles(*, keep: int | None = None, actor: Actor, reason: str = "") -> Superfluous:
    """Retire those versions, write one Event, and delete the bundles from the storage. Their rows and manifests stay.

    A bundle that somebody pushes meanwhile stays. Returns what was done. A prune that is killed goes on with the next.
    """
    actor = permitted(actor, "prune", to=ACTION)
    with changing() as change:
        clear_lapsed_claims(change)
        found = _superfluous(change.database, keep, timezone.now())
        _retire(change, found.versions)
        after = {"digests": list(found.digests), "retired": [str(version) for version in found.versions]}
        change.record(ACTION, actor=actor, after=after, reason=reason)
    return found._replace(digests=tuple(digest for digest in found.digests if _remove(digest)))


def _remove(digest: str) -> bool:
    """Delete a bundle, unless it is needed again. Under the registry's lock: a push claims it before or after, never between."""
    with changing() as change:
        if any(rows.filter(digest=digest).exists() for rows in _who_need(change.database)):
            return False
        remove_bundle(bundle_storage(), digest)
        return True


def _retire(change: Change, versions: tuple[ModelVersion, ...]) -> None:
    rows = change.rows(ModelVersion).filter(pk__in=[version.pk for version in versions])
    rows.update(status=VersionStatus.RETIRED, status_reason="its bundle was pruned")


def _superfluous(database: str, keep: int | None, now: datetime) -> Superfluous:
    leaving = _leaving(database, keep)
    versions = ModelVersion.objects.using(database)
    retired = set(versions.filter(status=VersionStatus.RETIRED).values_list("digest", flat=True))
    stored = stored_digests(bundle_storage())
    left = {digest for digest, since in stored if digest in retired or _aware(now) - _aware(since) > HALF_PUSHED}
    digests = {version.digest for version in leaving} | left
    needed = _needed(database, but_for={version.pk for version in leaving})
    return Superfluous(tuple(sorted(digests - needed)), tuple(leaving))


def _leaving(database: str, keep: int | None) -> list[ModelVersion]:
    """Return the versions that `keep` lets go: in no use, and not among the newest so many of their model."""
    if keep is None:
        return []
    versions = ModelVersion.objects.using(database).select_related("model")
    in_use = set(versions.in_use().values_list("pk", flat=True))
    leaving: list[ModelVersion] = []
    seen: Counter[int] = Counter()
    for version in versions.exclude(status=VersionStatus.RETIRED).order_by("model", "-number"):
        seen[version.model_id] += 1
        if seen[version.model_id] > keep and version.pk not in in_use:
            leaving.append(version)
    return leaving


def _needed(database: str, *, but_for: Collection[int]) -> set[str]:
    """Return the digests that are needed, by others than the versions in `but_for`."""
    versions, claims = _who_need(database)
    return {digest for pk, digest in versions.values_list("pk", "digest") if pk not in but_for}.union(
        claims.values_list("digest", flat=True)
    )


def _who_need(database: str) -> tuple[QuerySet[ModelVersion], QuerySet[BundleClaim]]:
    """Return who need their bundles: versions that are not retired, and pushes under way."""
    versions = ModelVersion.objects.using(database).exclude(status=VersionStatus.RETIRED)
    return versions, BundleClaim.objects.using(database).filter(at__gte=Now() - CLAIM_LASTS)


def _aware(moment: datetime) -> datetime:
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
