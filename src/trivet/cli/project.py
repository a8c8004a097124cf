"""The Django project a verb works in: found by `--settings`, `DJANGO_SETTINGS_MODULE` or `manage.py`, or made."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from django.apps import apps

import django
from trivet.core.errors import NotFound, Refused
from trivet.server.environment import PROJECT_VARIABLE
from trivet.server.project import SETTINGS, make_project

SETTINGS_VARIABLE = "DJANGO_SETTINGS_MODULE"
_NAMED = re.compile(r"DJANGO_SETTINGS_MODULE[\"'],\s*[\"']([\w.]+)[\"']")


def find_project(options: argparse.Namespace) -> None:
    """Set Django up in the project at hand. A second call changes nothing.

    Raises `NotFound` where there is none, and `Refused` where it does not have the app.
    """
    _set_up(options)
    if not apps.is_installed("trivet"):
        raise Refused(
            f'{os.environ.get(SETTINGS_VARIABLE)} does not have Trivet: add it, INSTALLED_APPS += ["trivet"],'
            " then run `python manage.py migrate`."
        )


def _set_up(options: argparse.Namespace) -> None:
    if apps.ready:
        return
    folder = Path.cwd()
    if options.settings:
        os.environ[SETTINGS_VARIABLE] = options.settings
    if SETTINGS_VARIABLE not in os.environ:
        found = _settings_of(folder / "manage.py")
        if found is None:
            raise NotFound(
                "no Django project here: go to the folder of manage.py, give --settings, or `trivet init DIR`."
            )
        os.environ[SETTINGS_VARIABLE] = found
    os.environ.setdefault(PROJECT_VARIABLE, str(folder))
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    django.setup()


def find_project_of_table(options: argparse.Namespace) -> None:
    """Set Django up where a table is named: a file can be looked at without a project."""
    if options.model:
        _set_up(options)


def initialise_project(options: argparse.Namespace) -> None:
    """Find the project of the folder, or make one in the folder that was named. `options.written` says what is new.

    One that was made gets what it has lost since.
    """
    folder = (options.directory or Path.cwd()).absolute()
    settings = _settings_of(folder / "manage.py")
    options.is_new = settings in (None, SETTINGS)
    if not options.is_new:
        find_project(options)
        return
    if options.directory is None and settings is None:
        raise Refused(
            "name the folder to make: `trivet init DIR`; or go to the folder of an existing project's manage.py."
        )
    _make(folder, options)


def make_demo_project(options: argparse.Namespace) -> None:
    """Make the demo's project, or find it made."""
    _make(options.dir.absolute(), options)


def _make(folder: Path, options: argparse.Namespace) -> None:
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder.name} is a file; name a folder to make.")
    options.written = make_project(folder)
    os.environ[PROJECT_VARIABLE] = str(folder)
    os.environ[SETTINGS_VARIABLE] = SETTINGS
    django.setup()


def _settings_of(manage: Path) -> str | None:
    try:
        named = _NAMED.search(manage.read_text(encoding="utf-8"))
    except OSError:
        return None
    return named[1] if named else None
