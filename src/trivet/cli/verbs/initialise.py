"""The verb `init`: a new project in a folder, or what an existing one still lacks."""

from __future__ import annotations

import argparse
import os
import secrets
from contextlib import suppress
from pathlib import Path

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import Error as DatabaseFailure, connection
from django.urls import NoReverseMatch, reverse

from trivet import conf
from trivet.cli.verb import DONE, Out
from trivet.control.registry.groups import SUGGESTED_GROUPS, make_suggested_groups
from trivet.control.registry.models import RegisteredModel
from trivet.control.registry.storage import make_private

ADMIN = "admin"


def initialise(options: argparse.Namespace, out: Out) -> int:
    """Finish the project that was made, or say what an existing one lacks."""
    if not options.is_new:
        return _existing(options, out)
    directory = options.directory or Path()
    password = migrate_and_admit()
    for name in options.written:
        out.say(f"wrote {directory / name}")
    if not options.written and not password:
        out.say("nothing is missing: every file is there, the database is migrated, and there is a login.")
    if password:
        out.say(f"login {ADMIN} / {password}   (shown once; `manage.py changepassword {ADMIN}` makes another)")
    groups = _groups(options, out)
    out.say("next: trivet serve" if options.directory is None else f"next: cd {directory} && trivet serve")
    facts = {
        "directory": str(directory),
        "written": options.written,
        "admin_user": ADMIN,
        "admin_password": password,
        "groups": groups,
    }
    out.document(facts)
    return DONE


def migrate_and_admit() -> str | None:
    """Migrate the database and make the superuser; return their password where they are new."""
    make_private(conf.HOME())
    if connection.vendor == "sqlite":
        _make_private_file(Path(connection.settings_dict["NAME"]))
    call_command("migrate", verbosity=0)
    model = get_user_model()
    if model.objects.filter(**{model.USERNAME_FIELD: ADMIN}).exists():
        return None
    password = secrets.token_urlsafe(12)
    model.objects.create_superuser(ADMIN, "", password)
    return password


def _make_private_file(path: Path) -> None:
    """Make an empty file that only its owner may read, where there is none; SQLite gives its log the same mode."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _groups(options: argparse.Namespace, out: Out) -> list[str]:
    """Make the suggested groups where that was asked for, and return the names of those that are new; else offer them."""
    if options.groups:
        made = make_suggested_groups(apps.get_app_config("trivet"))
        out.say(f"groups made: {', '.join(made)}" if made else "groups made: none; all of them are there already")
        return made
    if not Group.objects.filter(name__in=SUGGESTED_GROUPS).exists():
        names = ", ".join(name.removeprefix("Trivet ") for name in SUGGESTED_GROUPS)
        out.say(f"`trivet init --groups` would make groups of people with the fitting permissions: {names}")
    return []


def _existing(options: argparse.Namespace, out: Out) -> int:
    """Make the folder of TRIVET_HOME; say which of the edits are still missing."""
    missing, groups = [], []
    make_private(conf.HOME())
    try:
        reverse("trivet:overview")
    except NoReverseMatch:
        missing.append('urls.py       urlpatterns += [path("trivet/", include("trivet.console.urls"))]   (the console)')
    if _is_migrated():
        groups = _groups(options, out)
    elif options.groups:
        missing.append("database      manage.py migrate   (then `trivet init --groups`)")
    for line in missing:
        out.say(line)
    if not missing:
        out.say("nothing is missing: `manage.py migrate`, then `manage.py trivet push FILE --name NAME`.")
    out.document({"directory": str(Path.cwd()), "missing": missing, "groups": groups})
    return DONE


def _is_migrated() -> bool:
    """True where the tables are there: an existing project may not have migrated yet, or its database may be away."""
    try:
        return RegisteredModel._meta.db_table in connection.introspection.table_names()
    except DatabaseFailure:
        return False
