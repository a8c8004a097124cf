"""The verb `keys`: make, list, rotate and revoke API keys."""

from __future__ import annotations

import argparse
import re
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from trivet.cli.person import actor_of, find_person
from trivet.cli.verb import DONE, WRONG, Out
from trivet.control.registry import actions
from trivet.control.registry.models import ApiKey, RegisteredModel, RegistryState
from trivet.core.errors import InvalidRequest, did_you_mean, quoted
from trivet.core.snapshot import ANY_MODEL
from trivet.serving.acknowledgement import wait_for_workers

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def keys(options: argparse.Namespace, out: Out) -> int:
    """Make, list, rotate or revoke keys."""
    step = {"create": _create, "list": _list, "rotate": _rotate, "revoke": _revoke}[options.step]
    return step(options, out)


def _create(options: argparse.Namespace, out: Out) -> int:
    known = list(RegisteredModel.objects.values_list("name", flat=True))
    for model in options.models:
        if model not in (*known, ANY_MODEL):
            out.problem(f"note: there is no model {quoted(model)} yet.{did_you_mean(model, known)}")
    grants = dict.fromkeys(options.models, options.verbs)
    expires = _duration("--expires", options.expires) if options.expires else None
    owner = find_person(options.owner) if options.owner else None
    key, plaintext = actions.issue_key(
        name=options.name, grants=grants, actor=actor_of(options), owner=owner, expires=expires
    )
    acknowledged = wait_for_workers(RegistryState.objects.generation())
    out.say(
        f"key {key.pk} for {', '.join(options.models)}: {', '.join(options.verbs)}. It is shown now and never again:"
    )
    out.document({"id": key.pk, "key": plaintext, "grants": key.grants, "workers": acknowledged.live}, plaintext)
    return DONE


def _list(_options: argparse.Namespace, out: Out) -> int:
    keys = ApiKey.objects.select_related("owner")
    rows = [
        (k.pk, k.name, _state(k), _granted(k), k.owner_name or "-", _told(k.last_used_at) or "never", k.created_by)
        for k in keys
    ]
    out.table([_facts(key) for key in keys], ("ID", "NAME", "STATE", "GRANTS", "OWNER", "LAST USED", "MADE BY"), rows)
    return DONE


def _rotate(options: argparse.Namespace, out: Out) -> int:
    key, plaintext = actions.rotate_key(
        key=options.id,
        actor=actor_of(options),
        overlap=_duration("--overlap", options.overlap),
        at_once=options.at_once,
    )
    acknowledged = wait_for_workers(RegistryState.objects.generation())
    until = _told(key.previous_until)
    out.say(
        f"key {key.pk} has a new secret; the one before {f'is valid until {until}' if until else 'is not valid any more'}."
    )
    out.say("It is shown now and never again:")
    told = {"id": key.pk, "key": plaintext, "previous_until": until, "behind": list(acknowledged.behind)}
    out.document({**told, "workers": acknowledged.live}, plaintext)
    return WRONG if acknowledged.behind else DONE


def _revoke(options: argparse.Namespace, out: Out) -> int:
    actions.revoke_key(key=options.id, actor=actor_of(options))
    acknowledged = wait_for_workers(RegistryState.objects.generation())
    done = acknowledged.live - len(acknowledged.behind)
    text = f"revoked on {done} of {acknowledged.live} workers · {acknowledged.seconds:.1f} s"
    out.document({"id": options.id, "workers": acknowledged.live, "behind": list(acknowledged.behind)}, text)
    return WRONG if acknowledged.behind else DONE


def _facts(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.pk,
        "name": key.name,
        "state": _state(key),
        "grants": key.grants,
        "owner": key.owner_name,
        "last_used_at": _told(key.last_used_at),
        "previous_until": _told(key.previous_until),
    }


def _granted(key: ApiKey) -> str:
    return "; ".join(f"{model}: {', '.join(verbs)}" for model, verbs in key.grants.items())


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return "revoked"
    if not key.is_usable:
        return "expired" if key.expires_at and key.expires_at <= timezone.now() else "owner is disabled"
    return f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "valid"


def _told(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _duration(option: str, text: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if match is None:
        raise InvalidRequest(f"{option} {quoted(text)}: a number and h, d or w, such as 90d.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
