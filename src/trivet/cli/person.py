"""Whom a verb acts for: `--as USER`, or whoever holds the shell."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model

from trivet.control.registry.permissions import why_not
from trivet.core.errors import NotFound, did_you_mean, quoted
from trivet.core.names import system_user

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

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


def check_may(options: argparse.Namespace, verb: str, model: str) -> None:
    """Raise what keeps the user of `--as` from `verb` with `model`."""
    person = person_of(options)
    if person is not None and (refusal := why_not(person, verb, model)) is not None:
        raise refusal
