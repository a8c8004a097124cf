"""References: which bins a version's rows are counted in. They came with its bundle, and never change."""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime
from typing import NamedTuple

from trivet.control.monitoring.models import ReferenceProfile
from trivet.control.registry.models import ModelVersion
from trivet.control.registry.storage import fetch_bundle
from trivet.core.errors import TrivetError
from trivet.core.profile.reference import ACCEPTED, LIVE, REFERENCE_NAME, Reference, decode_reference

logger = logging.getLogger(__name__)


class Watched(NamedTuple):
    """A version with what its rows are counted by, since a time where it was not from the beginning."""

    version: ModelVersion
    reference: Reference
    since: datetime | None = None
    sha256: str = ""  # of the reference


def watched(model: str, digest: str) -> Watched | None:
    """Return the version of `model` with `digest` and its reference; None where there is no such version, no reference,
    or none that can be read.

    The first time, the reference is taken out of the bundle and kept as a row.
    """
    version = ModelVersion.objects.filter(model__name=model, digest=digest).select_related("model").first()
    if version is None:
        return None
    row = current_reference(version)
    try:
        row = row or _from_bundle(version)
        if row is None:
            return None
        reference = decode_reference(row.payload)
        return Watched(version, reference, _counted_since(row, reference), row.sha256)
    except TrivetError as error:  # damaged, of a later release, or out of reach: nothing is counted meanwhile
        logger.warning("event=reference_unreadable model=%s version=%d error=%s", model, version.number, error)
        return None


def current_reference(version: ModelVersion) -> ReferenceProfile | None:
    """Return the row of what a version is compared with; None before it is taken out of the bundle, or without any."""
    return ReferenceProfile.objects.filter(version=version, segment="", is_current=True).first()


def row_of(version: ModelVersion, payload: bytes, rows: int) -> ReferenceProfile:
    """Return the row that keeps a reference, not saved yet."""
    return ReferenceProfile(version=version, payload=payload, rows=rows, sha256=hashlib.sha256(payload).hexdigest())


def labelled_reference(found: Watched) -> Reference:
    """Return the reference that performance is held against: the latest of a version that was told what turned out true.

    One that was accepted as the new normal says what is asked, and has labels only where performance was accepted.
    """
    if found.reference.labels is not None or found.reference.source != ACCEPTED:
        return found.reference
    rows = ReferenceProfile.objects.filter(version=found.version, segment="", is_current=False)
    for row in rows.order_by("-created_at", "-pk"):
        earlier = decode_reference(row.payload)
        if earlier.labels is not None:
            return earlier
    return found.reference


def _counted_since(row: ReferenceProfile, reference: Reference) -> datetime | None:
    """Return since when predictions are counted, where that is later than the first of them."""
    if reference.source == ACCEPTED:
        row = ReferenceProfile.objects.filter(version=row.version_id, segment="").order_by("created_at", "pk")[0]
        reference = decode_reference(row.payload)
    return row.created_at if reference.source == LIVE else None


def _from_bundle(version: ModelVersion) -> ReferenceProfile | None:
    """Return the reference that came with the bundle, kept as a row from now on; None where none came."""
    if not any(entry.get("path") == REFERENCE_NAME for entry in version.manifest.get("files", ())):
        return None
    payload = fetch_bundle(version.digest).files[REFERENCE_NAME]
    row = row_of(version, payload, decode_reference(payload).whole.rows)
    ReferenceProfile.objects.bulk_create([row], ignore_conflicts=True)
    return row
