"""Whom a verb acts for: `--as USER`, or whoever holds the shell."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model

from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.permissions import why_not
from trivet.core.errors import NotFound, PermissionDenied, did_you_mean, quoted
from trivet.core.names import system_user

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.db.models import Model

    from trivet.cli.needed import Needed
    from trivet.control.registry.permissions import Actor

NAMES_SUGGESTED_FROM = 1000  # of users: enough for a slip of the pen, and bounded


def person_of(options: argparse.Namespace) -> AbstractBaseUser | None:
    """Return the user whom `--as` names, who may do what they may anywhere; None without it."""
    return find_person(options.as_user) if options.as_user else None


def actor_of(options: argparse.Namespace) -> Actor:
    """Return who acts: the user of `--as`, else the system's user, who holds the database and may do everything."""
    return person_of(options) or f"cli:{system_user()}"


def find_person(name: str) -> AbstractBaseUser:
    """Return the user of that name; raises `NotFound` with the closest match."""
    users = get_user_model()
    found = users._default_manager.filter(**{users.USERNAME_FIELD: name}).first()
    if found is None:
        names = users._default_manager.values_list(users.USERNAME_FIELD, flat=True)[:NAMES_SUGGESTED_FROM]
        raise NotFound(f"no user {quoted(name)}.{did_you_mean(name, names)}")
    return found


def check_may_view(options: argparse.Namespace, table: type[Model]) -> None:
    """Raise `PermissionDenied` where the user of `--as` may not view a table of the project whose rows are taken out of it."""
    person: Any = person_of(options)  # a user of whatever class
    wanted = f"{table._meta.app_label}.view_{table._meta.model_name}"
    if person is not None and not person.has_perm(wanted):
        raise PermissionDenied(f"to take rows of {table.__name__} away takes {wanted!r}.")


def check_may(person: AbstractBaseUser, need: Needed) -> None:
    """Raise what keeps `person` from what a verb is about to read; where it leads to an action, with an Event."""
    if need.action:
        permitted(person, need.verb, to=need.action, model=need.model or "")
    elif (refusal := why_not(person, need.verb, need.model)) is not None:
        raise refusal
