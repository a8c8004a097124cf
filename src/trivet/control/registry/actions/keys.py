"""Who may ask: API keys, and models that answer without one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from trivet import conf
from trivet.control.registry.actions.change import changing
from trivet.control.registry.actions.finding import bad_parameter, check_model_name, find_model
from trivet.control.registry.models import ApiKey, RegisteredModel
from trivet.core.errors import NotFound, did_you_mean, quoted
from trivet.core.keys import hash_secret, mint_key
from trivet.core.snapshot import ANY_MODEL, VERBS


def issue_key(
    *,
    name: str,
    grants: Mapping[str, Iterable[str]],
    actor: str,
    expires: datetime | timedelta | None = None,
    reason: str = "",
) -> tuple[ApiKey, str]:
    """Make an API key and return it with its plaintext, which is shown to its owner once and stored nowhere.

    `grants` maps a model's name, or `*`, to verbs of `view`, `predict`, `explain`, `label`, `promote`. The Event names
    the key by its id.
    """
    granted = _checked_grants(grants)
    expires_at = _moment(expires)
    key_id, plaintext = mint_key()
    with changing() as change:
        key = change.rows(ApiKey).create(
            id=key_id,
            name=name,
            hash=hash_secret(conf.peppers()[0], plaintext),
            grants=granted,
            created_by=actor,
            expires_at=expires_at,
        )
        after = {"key": key_id, "name": name, "grants": granted, "expires_at": _iso(expires_at)}
        change.record("issue_key", actor=actor, after=after, reason=reason)
        return key, plaintext


def revoke_key(*, key: str, actor: str, reason: str = "") -> ApiKey:
    """Revoke the API key with the id `key`: workers refuse it from the next generation on. A second time is no change."""
    with changing() as change:
        found = change.rows(ApiKey).filter(pk=key).first()
        if found is None:
            raise NotFound(f"no API key {quoted(key)}.")
        if found.revoked_at is None:
            found.revoked_at = timezone.now()
            found.save(update_fields=["revoked_at"])
            before, after = {"key": key, "revoked_at": None}, {"key": key, "revoked_at": _iso(found.revoked_at)}
            change.record("revoke_key", actor=actor, before=before, after=after, reason=reason)
        return found


def set_anonymous(*, model: str, anonymous: bool, actor: str, reason: str = "") -> RegisteredModel:
    """Let a model answer `predict` without a key, or no longer. It has effect only with TRIVET_REQUIRE_KEY = False."""
    with changing() as change:
        found = find_model(change, model)
        if found.anonymous != anonymous:
            before = {"anonymous": found.anonymous}
            found.anonymous = anonymous
            found.save(update_fields=["anonymous"])
            after = {"anonymous": anonymous}
            change.record("set_anonymous", actor=actor, model=model, before=before, after=after, reason=reason)
        return found


def _checked_grants(grants: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    checked = {model: sorted(set(verbs)) for model, verbs in grants.items()}
    if not checked or not all(checked.values()):
        raise bad_parameter("a key needs at least one verb on at least one model.")
    for model, verbs in checked.items():
        if model != ANY_MODEL:
            check_model_name(model)
        for verb in verbs:
            if verb not in VERBS:
                raise bad_parameter(f"{quoted(verb)} is no verb.{did_you_mean(verb, VERBS)} Known: {', '.join(VERBS)}.")
    return checked


def _moment(expires: datetime | timedelta | None) -> datetime | None:
    if expires is None:
        return None
    now = timezone.now()
    moment = now + expires if isinstance(expires, timedelta) else expires
    if settings.USE_TZ and timezone.is_naive(moment):
        moment = timezone.make_aware(moment)
    if moment <= now:
        raise bad_parameter(f"the key would have expired already, at {moment.isoformat(timespec='seconds')}.")
    return moment


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
