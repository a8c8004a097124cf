"""The verb `init`: a new project in a folder, or what an existing one still lacks."""

from __future__ import annotations

import argparse
import os
import secrets
from contextlib import suppress
from pathlib import Path

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.urls import NoReverseMatch, reverse

from trivet import conf
from trivet.cli.verb import DONE, Out
from trivet.control.registry.storage import make_private

ADMIN = "admin"


def initialise(options: argparse.Namespace, out: Out) -> int:
    """Finish the project that was made, or say what an existing one lacks."""
    if not options.is_new:
        return _existing(out)
    directory = options.directory or Path()
    password = migrate_and_admit()
    for name in options.written:
        out.say(f"wrote {directory / name}")
    if not options.written and not password:
        out.say("nothing is missing: every file is there, the database is migrated, and there is a login.")
    if password:
        out.say(f"login {ADMIN} / {password}   (shown once; `manage.py changepassword {ADMIN}` makes another)")
    out.say("next: trivet serve" if options.directory is None else f"next: cd {directory} && trivet serve")
    facts = {
        "directory": str(directory),
        "written": options.written,
        "admin_user": ADMIN,
        "admin_password": password,
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


def _existing(out: Out) -> int:
    """Make the folder of TRIVET_HOME; say which of the edits are still missing."""
    missing = []
    if not apps.is_installed("trivet"):
        missing.append('settings.py   INSTALLED_APPS += ["trivet"]')
    else:
        make_private(conf.HOME())
        try:
            reverse("trivet:overview")
        except NoReverseMatch:
            missing.append(
                'urls.py       urlpatterns += [path("trivet/", include("trivet.console.urls"))]   (the console)'
            )
    for line in missing:
        out.say(line)
    if not missing:
        out.say("nothing is missing: `manage.py migrate`, then `manage.py trivet push FILE --name NAME`.")
    out.document({"directory": str(Path.cwd()), "missing": missing})
    return DONE
