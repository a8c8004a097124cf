"""Signatures: who vouches for a version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.db import router

from trivet.control.registry.actions.change import Change, changing
from trivet.control.registry.actions.finding import find_model, find_version
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.models import Event, ModelVersion
from trivet.control.registry.signing import add_signature, check_signer, check_version, key_of
from trivet.control.registry.storage import fetch_bundle
from trivet.model.signing.statement import files_of

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor
    from trivet.model.signing.keys import Signer


def check_signed(model: str, numbers: Iterable[int | None]) -> None:
    """Raise `Refused` for one of these versions, where a signature is required and no trusted key signed it.

    Before the lock is taken: keys and signatures are read from files and the storage, which may be slow or hang. A
    worker asks again, of the bytes that it loads.
    """
    versions = ModelVersion.objects.using(router.db_for_write(ModelVersion)).of_model(model)
    for number in filter(None, numbers):
        if (version := versions.filter(number=number).select_related("model").first()) is not None:
            check_version(version)


def sign_version(
    *, model: str, version: int, actor: Actor, by: Signer | bytes, reason: str = ""
) -> tuple[ModelVersion, str]:
    """Put a signature beside a version's bundle: made `by` a key now, or elsewhere by a trusted key, as a file's bytes.

    The bundle is read and verified first, so nothing is signed unseen. Returns the version and the key's fingerprint;
    a good signature by the same key is kept, and then nothing is written, unless no Event tells of it. Raises
    `BundleError` for a bundle that is damaged or a signature that is not over it, and `Refused` for a key that is not
    trusted where that is required.
    """
    actor = permitted(actor, "push", to="sign_version", model=model, version=version)
    with changing() as change:
        found = find_version(change, find_model(change, model), version)
    files = files_of(fetch_bundle(found.digest))  # without the lock: a bundle may be large, and never changes
    if isinstance(by, bytes):
        signature, key = by, key_of(by, files)
    else:
        check_signer(by)
        signature, key = by.sign(files), by.key
    is_new = add_signature(files, signature, key)
    with changing() as change:
        record_signature(change, found, key.fingerprint, is_new=is_new, actor=actor, reason=reason)
    return found, key.fingerprint


def record_signature(
    change: Change, version: ModelVersion, fingerprint: str, *, is_new: bool, actor: str, reason: str = ""
) -> None:
    """Write the Event of a signature that is new, or that none tells of: who stored it was killed before writing it.

    Workers that refused the version try again at its generation.
    """
    if not is_new and _is_told(change, version, fingerprint):
        return
    change.record(
        "sign_version",
        actor=actor,
        model=version.model.name,
        version=version.number,
        after={"signed_by": fingerprint},
        reason=reason,
    )


def _is_told(change: Change, version: ModelVersion, fingerprint: str) -> bool:
    events = change.rows(Event).filter(model=version.model.name, version=version.number)
    return events.filter(
        action__in=("register_version", "register_again", "sign_version"), after__signed_by=fingerprint
    ).exists()
