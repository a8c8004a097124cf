"""Grants: what a user or a group may do with one model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

from trivet.control.registry.actions.change import Change, changing
from trivet.control.registry.actions.finding import bad_parameter, find_model
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.models import Grant
from trivet.control.registry.permissions import VERBS_OF_MODELS, VERBS_OF_REGISTRY, permission_of
from trivet.core.errors import NotFound, did_you_mean, quoted
from trivet.core.snapshot import ANY_MODEL

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor

NAMES_SUGGESTED_FROM = 1000  # of users: enough for a slip of the pen, and bounded


def grant(*, to: str, model: str, verbs: Iterable[str], actor: Actor, reason: str = "") -> Grant:
    """Let `to`, as `user:NAME` or `group:NAME`, do `verbs` with a model, besides what they may already.

    The verbs are those of `VERBS_OF_MODELS`; any of them includes `view`. It takes the permission `manage_grants`. What
    is granted already is no change. Raises `NotFound` for a user, a group or a model that is not there.
    """
    actor = permitted(actor, "manage_grants", to="grant", model=model)
    wanted = _checked(verbs)
    if model == ANY_MODEL:
        raise bad_parameter(f"a grant is for one model; for all of them, {_permission_for(min(wanted))}.")
    with changing() as change:
        found = find_model(change, model)
        principal = _find_principal(change, to)
        row = change.rows(Grant).filter(model=found, **principal).first() or Grant(model=found, verbs=[], **principal)
        before = sorted(row.verbs)
        row.verbs = sorted({*before, *wanted})
        if row.verbs != before:
            row.save(using=change.database)
            _record(change, "grant", row, to, before=before, actor=actor, reason=reason)
        return row


def revoke_grant(
    *, of: str, model: str, actor: Actor, verbs: Iterable[str] | None = None, reason: str = ""
) -> list[str]:
    """Take `verbs`, or all that was granted, from `of` (`user:NAME` or `group:NAME`); return what is left them.

    It takes the permission `manage_grants`. A Django permission, which is for all models, is not taken away by it.
    """
    actor = permitted(actor, "manage_grants", to="revoke_grant", model=model)
    taken = None if verbs is None else _checked(verbs)
    with changing() as change:
        found = find_model(change, model)
        row = change.rows(Grant).filter(model=found, **_find_principal(change, of)).first()
        if row is None:
            raise NotFound(f"{of} has no grant for {model}.")
        before = sorted(row.verbs)
        left = [] if taken is None else [verb for verb in before if verb not in taken]
        if left != before:
            row.verbs = left
            if left:
                row.save(update_fields=["verbs"])
            else:
                row.delete()
            _record(change, "revoke_grant", row, of, before=before, actor=actor, reason=reason)
        return left


def _record(
    change: Change, action: str, row: Grant, principal: str, *, before: list[str], actor: str, reason: str
) -> None:
    told = ({"principal": principal, "verbs": verbs} for verbs in (before, row.verbs))
    change.record(action, actor=actor, model=row.model.name, before=next(told), after=next(told), reason=reason)


def _permission_for(verb: str) -> str:
    return f"give the Django permission '{permission_of(verb)}' to the user or the group in the admin"


def _checked(verbs: Iterable[str]) -> set[str]:
    wanted = set(verbs)
    if not wanted:
        raise bad_parameter("a grant needs at least one verb.")
    for verb in sorted(wanted - VERBS_OF_MODELS.keys()):
        if verb in VERBS_OF_REGISTRY:
            raise bad_parameter(f"{quoted(verb)} is of no single model: {_permission_for(verb)}.")
        known = ", ".join(VERBS_OF_MODELS)
        raise bad_parameter(f"{quoted(verb)} is no verb.{did_you_mean(verb, VERBS_OF_MODELS)} Known: {known}.")
    return wanted


def _find_principal(change: Change, text: str) -> dict[str, Any]:
    """Return the user or group of `user:NAME` or `group:NAME`, as the field of a grant."""
    kind, _, name = text.partition(":")
    if kind not in ("user", "group"):
        raise bad_parameter(f"{quoted(text)} is nobody: write user:NAME or group:NAME.")
    table, field = (Group, "name") if kind == "group" else (get_user_model(), get_user_model().USERNAME_FIELD)
    rows = table._default_manager.using(change.database)
    found = rows.filter(**{field: name}).first()
    if found is None:
        names = rows.values_list(field, flat=True)[:NAMES_SUGGESTED_FROM]
        raise NotFound(f"no {kind} {quoted(name)}.{did_you_mean(name, names)}")
    return {kind: found}
