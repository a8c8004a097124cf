"""The verb `keys`: make, list and revoke API keys."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta

from trivet.cli.person import actor_of
from trivet.cli.verb import DONE, WRONG, Out
from trivet.control.registry import actions
from trivet.control.registry.models import ApiKey, RegisteredModel, RegistryState
from trivet.core.errors import InvalidRequest, did_you_mean, quoted
from trivet.core.snapshot import ANY_MODEL
from trivet.serving.acknowledgement import wait_for_workers

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def keys(options: argparse.Namespace, out: Out) -> int:
    """Make, list or revoke keys."""
    step = {"create": _create, "list": _list, "revoke": _revoke}[options.step]
    return step(options, out)


def _create(options: argparse.Namespace, out: Out) -> int:
    known = list(RegisteredModel.objects.values_list("name", flat=True))
    for model in options.models:
        if model not in (*known, ANY_MODEL):
            out.problem(f"note: there is no model {quoted(model)} yet.{did_you_mean(model, known)}")
    grants = dict.fromkeys(options.models, options.verbs)
    expires = _duration(options.expires) if options.expires else None
    key, plaintext = actions.issue_key(name=options.name, grants=grants, actor=actor_of(options), expires=expires)
    acknowledged = wait_for_workers(RegistryState.objects.generation())
    out.say(
        f"key {key.pk} for {', '.join(options.models)}: {', '.join(options.verbs)}. It is shown now and never again:"
    )
    out.document({"id": key.pk, "key": plaintext, "grants": key.grants, "workers": acknowledged.live}, plaintext)
    return DONE


def _list(_options: argparse.Namespace, out: Out) -> int:
    keys = ApiKey.objects.all()
    rows = [
        (k.pk, k.name, _state(k), "; ".join(f"{m}: {', '.join(v)}" for m, v in k.grants.items()), k.created_by)
        for k in keys
    ]
    facts = [{"id": r[0], "name": r[1], "state": r[2], "grants": k.grants} for r, k in zip(rows, keys, strict=True)]
    out.table(facts, ("ID", "NAME", "STATE", "GRANTS", "MADE BY"), rows)
    return DONE


def _revoke(options: argparse.Namespace, out: Out) -> int:
    actions.revoke_key(key=options.id, actor=actor_of(options))
    acknowledged = wait_for_workers(RegistryState.objects.generation())
    done = acknowledged.live - len(acknowledged.behind)
    text = f"revoked on {done} of {acknowledged.live} workers · {acknowledged.seconds:.1f} s"
    out.document({"id": options.id, "workers": acknowledged.live, "behind": list(acknowledged.behind)}, text)
    return WRONG if acknowledged.behind else DONE


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return "revoked"
    return f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "valid"


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if match is None:
        raise InvalidRequest(f"--expires {quoted(text)}: a number and h, d or w, such as 90d.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
