"""Versions: registered, then let take traffic or kept from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from trivet import signals
from trivet.control.registry.actions.change import Change, changing
from trivet.control.registry.actions.claiming import claim_bundle, end_claim
from trivet.control.registry.actions.finding import check_model_name, find_model, find_version
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.actions.signing import record_signature
from trivet.control.registry.models import ModelVersion, RegisteredModel, VersionStatus
from trivet.control.registry.signing import add_signature, check_signer
from trivet.control.registry.storage import store_bundle
from trivet.core.errors import Refused
from trivet.model.bundle.bundle import Bundle
from trivet.model.environments.environment import needs_of
from trivet.model.signing.statement import files_of

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor
    from trivet.model.signing.keys import Signer


def register_version(
    *,
    name: str,
    bundle: Bundle,
    actor: Actor,
    message: str = "",
    source: str = "",
    sandbox: str = "",
    parity: Mapping[str, Any] | None = None,
    cost_us_per_row: float | None = None,
    signer: Signer | None = None,
) -> ModelVersion:
    """Store `bundle` and register it as the next version of the model `name`, which is made on first use.

    The version takes no traffic and is not in the Snapshot until `mark_ready`. A bundle that the model has already
    is returned as the version it is; then nothing is written but the signature of a `signer`, where it is new or no
    Event tells of it. One that was retired is registered again under its number: its Event is `register_again`, and its
    probe decides anew. Sends `version_registered`. Raises `Refused` where a signature is required and no trusted key
    signs.
    """
    actor = permitted(actor, "push", to="register_version", model=name)
    check_model_name(name)
    check_signer(signer)
    claim = claim_bundle(bundle.digest)
    store_bundle(bundle)
    signed_by = "" if signer is None else signer.key.fingerprint
    is_new = signer is not None and add_signature(files_of(bundle), signer.sign(files_of(bundle)), signer.key)
    after = _told_of(bundle, sandbox=sandbox, signed_by=signed_by)
    facts = {
        "note": message,
        "author": actor,
        "source": source,
        "sandbox": sandbox,
        "parity": dict(bundle.manifest.parity if parity is None else parity),
        "cost_us_per_row": cost_us_per_row,
    }
    with changing() as change:
        end_claim(change, claim)
        model, _ = change.rows(RegisteredModel).get_or_create(name=name)
        known = change.rows(ModelVersion).filter(model=model, digest=bundle.digest).select_related("model").first()
        if known is not None and known.status != VersionStatus.RETIRED:
            if signed_by:
                record_signature(change, known, signed_by, is_new=is_new, actor=actor, reason=message)
            return known
        version = _next_version(change, model, bundle, facts) if known is None else _again(known)
        change.record(
            "register_version" if known is None else "register_again",
            actor=actor,
            model=name,
            version=version.number,
            before={} if known is None else {"status": VersionStatus.RETIRED.value},
            after=after,
            reason=message,
        )
        change.announce(signals.version_registered, ModelVersion, version=version, actor=actor, reason=message)
        return version


def _next_version(change: Change, model: RegisteredModel, bundle: Bundle, facts: Mapping[str, Any]) -> ModelVersion:
    """Return a new row: what `bundle` says of itself, and the `facts` of its push."""
    numbers = change.rows(ModelVersion).filter(model=model).order_by("-number").values_list("number", flat=True)
    return change.rows(ModelVersion).create(
        model=model,
        number=(numbers.first() or 0) + 1,
        digest=bundle.digest,
        runtime=bundle.manifest.runtime,
        signature=msgspec.to_builtins(bundle.signature),
        manifest=msgspec.to_builtins(bundle.manifest),
        **facts,
    )


def _again(retired: ModelVersion) -> ModelVersion:
    """Return `retired` as it was before its first probe."""
    retired.status, retired.status_reason = VersionStatus.REGISTERED, ""
    retired.save(update_fields=["status", "status_reason"])
    return retired


def _told_of(bundle: Bundle, *, sandbox: str, signed_by: str) -> dict[str, Any]:
    """Return what the Event tells of a registered bundle: what somebody accepted in it, signed, or has to run it in."""
    told: dict[str, Any] = {"digest": bundle.digest, "status": VersionStatus.REGISTERED.value, "sandbox": sandbox}
    if bundle.manifest.native is not None and bundle.manifest.native.accepted_types:
        told["accepted_types"] = list(bundle.manifest.native.accepted_types)
    if signed_by:
        told["signed_by"] = signed_by
    if (needs := needs_of(bundle)) is not None:
        told["environment"] = {"python": needs.python, "requirements": needs.requirements.decode().splitlines()}
    return told


def mark_ready(
    *, model: str, version: int, actor: Actor, cost_us_per_row: float | None = None, reason: str = ""
) -> ModelVersion:
    """Let a version take traffic: its probe loaded it fresh and it answered its sample as it should.

    Also for one that was rejected before. Writes the status and the measured cost; sends `version_ready`.
    """
    actor = permitted(actor, "push", to="mark_ready", model=model, version=version)
    with changing() as change:
        found = find_version(change, find_model(change, model), version)
        if found.status == VersionStatus.RETIRED:
            raise Refused(f"{found} was retired: its bundle was pruned. Push it again.")
        if not found.is_ready:
            if cost_us_per_row is not None:
                found.cost_us_per_row = cost_us_per_row
            _set_status(change, found, VersionStatus.READY, actor=actor, reason=reason)
            change.announce(signals.version_ready, ModelVersion, version=found, actor=actor, reason=reason)
        return found


def reject_version(*, model: str, version: int, actor: Actor, reason: str) -> ModelVersion:
    """Keep a version from taking traffic, because its probe found `reason`; sends `version_rejected`."""
    actor = permitted(actor, "push", to="reject_version", model=model, version=version)
    with changing() as change:
        found = find_version(change, find_model(change, model), version)
        if found.status not in {VersionStatus.REGISTERED, VersionStatus.REJECTED}:
            raise Refused(f"{found} is {found.status}; only a version that has not passed its probe can be rejected.")
        _set_status(change, found, VersionStatus.REJECTED, actor=actor, reason=reason)
        change.announce(signals.version_rejected, ModelVersion, version=found, actor=actor, reason=reason)
        return found


def _set_status(change: Change, version: ModelVersion, status: VersionStatus, *, actor: str, reason: str) -> None:
    before, after = {"status": version.status}, {"status": status.value}
    version.status, version.status_reason = status, reason
    version.save(update_fields=["status", "status_reason", "cost_us_per_row"])
    action = "mark_ready" if status == VersionStatus.READY else "reject_version"
    change.record(
        action,
        actor=actor,
        model=version.model.name,
        version=version.number,
        before=before,
        after=after,
        reason=reason,
    )
