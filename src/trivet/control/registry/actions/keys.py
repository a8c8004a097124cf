"""Who may ask: API keys, and models that answer without one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone

from trivet import conf
from trivet.control.registry.actions.change import Change, changing
from trivet.control.registry.actions.finding import bad_parameter, check_model_name, find_model
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.models import ApiKey, RegisteredModel
from trivet.core.errors import NotFound, Refused, did_you_mean, quoted
from trivet.core.keys import ID_LENGTH, PREFIX, hash_secret, mint_key
from trivet.core.rates import read_rates, write_rates
from trivet.core.snapshot import ANY_MODEL, VERBS

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor

NAME_LENGTH = 100  # characters
NAMESAKES_SHOWN = 5
ROTATION = timedelta(days=1)  # how long both secrets are valid, unless another time is named


def issue_key(
    *,
    name: str,
    grants: Mapping[str, Iterable[str]],
    actor: Actor,
    owner: Any = None,  # a user, of whichever class the site has
    expires: datetime | timedelta | None = None,
    limits: Mapping[str, str] | None = None,
    reason: str = "",
) -> tuple[ApiKey, str]:
    """Make an API key and return it with its plaintext, which is shown to its owner once and stored nowhere.

    `grants` maps a model's name, or `*`, to verbs of `view`, `predict`, `explain`, `label`, `promote`. `limits` maps a
    model's name, or `*` for all together, to how often it may be asked: `100/s`, `100/s, 50000/d`; a model that the key is
    not for is refused. `name` is one line, for people. A key with an `owner` ends when that user is disabled or deleted;
    the key may do what it is granted, not what they may. The Event names the key by its id. It takes the permission
    `manage_keys`, with which a user may make a key for anything.
    """
    actor = permitted(actor, "manage_keys", to="issue_key")
    name, granted, limited = _checked_name(name), _checked_grants(grants), _checked_limits(limits)
    _check_limits_bite(limited, granted)
    expires_at = _moment(expires)
    owner_name = "" if owner is None else owner.get_username()
    key_id, plaintext = mint_key()
    with changing() as change:
        if owner is not None and not owner.is_active:
            raise Refused(f"{quoted(owner_name)} is disabled: a key of theirs would not hold.")
        key = change.rows(ApiKey).create(
            id=key_id,
            name=name,
            hash=hash_secret(conf.peppers()[0], plaintext),
            grants=granted,
            limits=limited,
            owner=owner,
            owner_name=owner_name,
            created_by=actor,
            expires_at=expires_at,
        )
        after: dict[str, Any] = {
            "key": key_id,
            "name": name,
            "grants": granted,
            "limits": limited,
            "expires_at": _iso(expires_at),
        }
        if owner is not None:
            after["owner"] = owner_name
        change.record("issue_key", actor=actor, after=after, reason=reason)
        return key, plaintext


def rotate_key(
    *, key: str, actor: Actor, overlap: timedelta = ROTATION, at_once: bool = False, reason: str = ""
) -> tuple[ApiKey, str]:
    """Give the API key with the id `key` a new secret, and return it with its new plaintext, which is shown once.

    Id, grants and expiry stay. The secret before stays valid for `overlap`, or ends `at_once` with any other. Never are
    there three: where an earlier rotation still goes on, another is `Refused` unless it is `at_once`.
    """
    actor = permitted(actor, "manage_keys", to="rotate_key")
    if overlap <= timedelta():
        raise bad_parameter("both secrets are valid for some time, or the old one ends at once.")
    with changing() as change:
        found = _find_key(change, key)
        now = timezone.now()
        if not found.is_usable:
            raise Refused(f"the key {quoted(key)} is not valid any more; make a new one.")
        running = found.previous_until
        if running is not None and running > now and not at_once:
            raise Refused(
                f"the key {quoted(key)} has two secrets until {running.isoformat(timespec='seconds')}; rotate it then, "
                "or at once, which ends both of them."
            )
        _, plaintext = mint_key(found.pk)
        before = {"key": key, "previous_until": _iso(running)}
        found.previous_hash = None if at_once else found.hash
        found.previous_until = None if at_once else now + overlap
        found.hash = hash_secret(conf.peppers()[0], plaintext)
        found.save(update_fields=["hash", "previous_hash", "previous_until"])
        after = {"key": key, "previous_until": _iso(found.previous_until)}
        change.record("rotate_key", actor=actor, before=before, after=after, reason=reason)
        return found, plaintext


def revoke_key(*, key: str, actor: Actor, reason: str = "") -> ApiKey:
    """Revoke the API key with the id `key`: workers refuse it from the next generation on. A second time is no change.

    All its secrets end. It takes the permission `manage_keys`.
    """
    actor = permitted(actor, "manage_keys", to="revoke_key")
    with changing() as change:
        found = _find_key(change, key)
        if found.revoked_at is None:
            _revoke(change, found, actor=actor, reason=reason)
        return found


def limit_key(*, key: str, limits: Mapping[str, str] | None, actor: Actor, reason: str = "") -> ApiKey:
    """Say how often the API key with the id `key` may ask; none leaves it what `TRIVET_RATE_LIMIT` says for every key.

    It takes the permission `manage_keys`.
    """
    actor = permitted(actor, "manage_keys", to="limit_key")
    limited = _checked_limits(limits)
    with changing() as change:
        found = _find_key(change, key)
        _check_limits_bite(limited, found.grants)
        if found.limits != limited:
            before, after = {"key": key, "limits": found.limits}, {"key": key, "limits": limited}
            found.limits = limited
            found.save(update_fields=["limits"])
            change.record("limit_key", actor=actor, before=before, after=after, reason=reason)
        return found


def revoke_orphaned_keys(*, actor: Actor) -> list[ApiKey]:
    """Revoke every key whose owner was disabled or deleted, with an Event each; enabling them again revives none."""
    actor = permitted(actor, "manage_keys", to="revoke_key")
    revoked = []
    for key in ApiKey.objects.orphaned().values_list("pk", flat=True):
        with changing() as change:  # an Event has a generation of its own
            found = change.rows(ApiKey).orphaned().filter(pk=key).select_related("owner").first()  # type: ignore[attr-defined]  # of its own QuerySet
            if found is None:
                continue
            what = "disabled" if found.owner is not None else "deleted"
            _revoke(change, found, actor=actor, reason=f"its owner {found.owner_name} was {what}")
            revoked.append(found)
    return revoked


def _revoke(change: Change, key: ApiKey, *, actor: str, reason: str) -> None:
    key.revoked_at = timezone.now()
    key.save(update_fields=["revoked_at"])
    before, after = {"key": key.pk, "revoked_at": None}, {"key": key.pk, "revoked_at": _iso(key.revoked_at)}
    change.record("revoke_key", actor=actor, before=before, after=after, reason=reason)


def _find_key(change: Change, key: str) -> ApiKey:
    found = change.rows(ApiKey).filter(pk=key).select_related("owner").first()
    if found is not None:
        return found
    if key.startswith(f"{PREFIX}_"):  # a whole key, which is not said again
        raise NotFound(f"a key is named by its id, the {ID_LENGTH} characters after {PREFIX}_, and not by all of it.")
    called = change.rows(ApiKey).filter(name=key, revoked_at=None).values_list("pk", flat=True)[:NAMESAKES_SHOWN]
    ids = f" A key is named by its id; {quoted(key)} is the name of {', '.join(called)}." if called else ""
    raise NotFound(f"no API key {quoted(key)}.{ids}")


def set_anonymous(*, model: str, anonymous: bool, actor: Actor, reason: str = "") -> RegisteredModel:
    """Let a model answer `predict` without a key, or no longer. It has effect only with TRIVET_REQUIRE_KEY = False.

    It takes the permission `manage_grants`: it grants everybody something.
    """
    actor = permitted(actor, "manage_grants", to="set_anonymous", model=model)
    with changing() as change:
        found = find_model(change, model)
        if found.anonymous != anonymous:
            before = {"anonymous": found.anonymous}
            found.anonymous = anonymous
            found.save(update_fields=["anonymous"])
            after = {"anonymous": anonymous}
            change.record("set_anonymous", actor=actor, model=model, before=before, after=after, reason=reason)
        return found


def _checked_name(name: str) -> str:
    """Return the name without blanks around it, as one line of a list shows it."""
    stripped = name.strip()
    if not stripped or len(stripped) > NAME_LENGTH or not stripped.isprintable():
        raise bad_parameter(
            f"{quoted(name)} cannot name a key: use 1 to {NAME_LENGTH} characters of one line, not only blanks."
        )
    return stripped


def _check_limits_bite(limits: Mapping[str, str] | None, grants: Mapping[str, Iterable[str]]) -> None:
    """Raise for a limit of a model that the key is not for: a misspelt name would leave the right one unlimited."""
    if ANY_MODEL in grants:
        return
    for model in limits or {}:
        if model not in grants and model != ANY_MODEL:
            raise bad_parameter(
                f"a limit of {quoted(model)} limits nothing: the key is not for it.{did_you_mean(model, grants)}"
                f" It is for: {', '.join(grants)}."
            )


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


def _checked_limits(limits: Mapping[str, str] | None) -> dict[str, str] | None:
    checked = {}
    for model, text in (limits or {}).items():
        if model != ANY_MODEL:
            check_model_name(model)
        try:
            checked[model] = write_rates(read_rates(text))
        except ValueError as problem:
            raise bad_parameter(f"a limit must be {problem}, not {quoted(text)}.") from None
    return checked or None


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
