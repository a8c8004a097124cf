"""The verb `keys`: make, limit, list, rotate and revoke API keys."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from django.utils import timezone

from trivet import conf
from trivet.cli.person import actor_of, find_person
from trivet.cli.values import duration_of
from trivet.cli.verb import DONE, WRONG, Out
from trivet.control.registry import actions
from trivet.control.registry.models import ApiKey, RegisteredModel, RegistryState
from trivet.core.errors import InvalidRequest, did_you_mean, quoted
from trivet.core.snapshot import ANY_MODEL
from trivet.serving.acknowledgement import wait_for_workers

COLUMNS = ("ID", "NAME", "STATE", "GRANTS", "LIMITS", "OWNER", "LAST USED", "MADE BY")
OVERLAP = "1d"


def keys(options: argparse.Namespace, out: Out) -> int:
    """Make, limit, list, rotate or revoke keys."""
    steps = {"create": _create, "limit": _limit, "list": _list, "rotate": _rotate, "revoke": _revoke}
    step = steps[options.step]
    return step(options, out)


def _create(options: argparse.Namespace, out: Out) -> int:
    grants = dict.fromkeys(options.models, options.verbs)
    expires = duration_of("--expires", options.expires) if options.expires else None
    owner = find_person(options.owner) if options.owner else None
    limits = _limits(options.limits)
    key, plaintext = actions.issue_key(
        name=options.name, grants=grants, actor=actor_of(options), owner=owner, expires=expires, limits=limits
    )
    known = list(RegisteredModel.objects.values_list("name", flat=True))
    for model in options.models:
        if model not in (*known, ANY_MODEL):
            out.problem(f"note: there is no model {quoted(model)} yet.{did_you_mean(model, known)}")
    acknowledged = wait_for_workers(RegistryState.objects.generation())
    out.say(
        f"key {key.pk} for {', '.join(options.models)}: {', '.join(options.verbs)}. It is shown now and never again:"
    )
    facts = {"id": key.pk, "key": plaintext, "grants": key.grants, "limits": key.limits or {}}
    out.document({**facts, "workers": acknowledged.live}, plaintext)
    return DONE


def _limit(options: argparse.Namespace, out: Out) -> int:
    key = actions.limit_key(key=options.id, limits=_limits(options.limits), actor=actor_of(options))
    acknowledged = wait_for_workers(RegistryState.objects.generation())
    done = acknowledged.live - len(acknowledged.behind)
    told = _written(key.limits) if key.limits else f"none of its own; of every key: {conf.RATE_LIMIT() or 'none'}"
    text = f"limit of key {key.pk}: {told} · on {done} of {acknowledged.live} workers"
    facts = {
        "id": key.pk,
        "limits": key.limits or {},
        "workers": acknowledged.live,
        "behind": list(acknowledged.behind),
    }
    out.document(facts, text)
    return WRONG if acknowledged.behind else DONE


def _list(_options: argparse.Namespace, out: Out) -> int:
    keys = ApiKey.objects.select_related("owner")
    rows = [
        (
            key.pk,
            key.name,
            _state(key),
            _granted(key),
            _written(key.limits or {}) or "-",
            key.owner_name or "-",
            _told(key.last_used_at) or "never",
            key.created_by,
        )
        for key in keys
    ]
    out.table([_facts(key) for key in keys], COLUMNS, rows)
    return DONE


def _rotate(options: argparse.Namespace, out: Out) -> int:
    if options.at_once and options.overlap:
        raise InvalidRequest("--at-once ends the old secrets now, --overlap later: give one of them.")
    key, plaintext = actions.rotate_key(
        key=options.id,
        actor=actor_of(options),
        overlap=duration_of("--overlap", options.overlap or OVERLAP),
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
        "expires_at": _told(key.expires_at),
        "grants": key.grants,
        "limits": key.limits or {},
        "owner": key.owner_name,
        "last_used_at": _told(key.last_used_at),
        "previous_until": _told(key.previous_until),
    }


def _granted(key: ApiKey) -> str:
    return "; ".join(f"{model}: {', '.join(verbs)}" for model, verbs in key.grants.items())


def _limits(given: list[str]) -> dict[str, str]:
    """Return what `--limit` says: for a model, or else for all together, its rates; several of one add up to a list."""
    limits: dict[str, list[str]] = {}
    for text in given:
        model, equals, rates = text.rpartition("=")
        limits.setdefault(model if equals else ANY_MODEL, []).append(rates)
    return {model: ",".join(rates) for model, rates in limits.items()}


def _written(limits: dict[str, str]) -> str:
    return "; ".join(text if model == ANY_MODEL else f"{model}: {text}" for model, text in limits.items())


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return "revoked"
    if not key.is_usable:
        return "expired" if key.expires_at and key.expires_at <= timezone.now() else "owner is disabled"
    return f"until {key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "valid"


def _told(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
