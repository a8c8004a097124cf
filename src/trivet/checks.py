"""System checks: what `manage.py check` says about the settings. They read settings and never load a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  (Django's name)
from django.core.exceptions import ImproperlyConfigured

from trivet import conf
from trivet.core.errors import did_you_mean


def check_setting_values(**_: Any) -> list[CheckMessage]:
    """E002: a setting has a type or a value that is not accepted."""
    problems: list[CheckMessage] = []
    for setting in conf.SETTINGS:
        try:
            setting()
        except ImproperlyConfigured as problem:
            problems.append(Error(str(problem), hint=setting.doc, id="trivet.E002"))
    return problems


def check_setting_names(**_: Any) -> list[CheckMessage]:
    """W003: a setting begins with `TRIVET_` and is none of ours."""
    known = [setting.name for setting in conf.SETTINGS]
    unknown = sorted(name for name in dir(settings) if name.startswith(conf.SETTING_PREFIX) and name not in known)
    return [
        Warning(
            f"{name} is no setting of Trivet.{did_you_mean(name, known)}",
            hint="Correct or remove it; trivet/conf.py lists every setting.",
            id="trivet.W003",
        )
        for name in unknown
    ]


def check_bundle_storage(**_: Any) -> list[CheckMessage]:
    """W004: bundles would lie where uploaded files are served from."""
    location = _folder_of_bundles()
    if location is None or not settings.MEDIA_ROOT:
        return []
    if not location.is_relative_to(Path(settings.MEDIA_ROOT).absolute()):
        return []
    return [
        Warning(
            "the bundles of models lie under MEDIA_ROOT, which web servers usually hand out to anyone.",
            hint='Give STORAGES["trivet"] a location of its own, or remove it to use TRIVET_HOME.',
            id="trivet.W004",
        )
    ]


def _folder_of_bundles() -> Path | None:
    entry = settings.STORAGES.get("trivet")
    if entry is None or entry.get("BACKEND") != "django.core.files.storage.FileSystemStorage":
        return None
    return Path(entry.get("OPTIONS", {}).get("location") or settings.MEDIA_ROOT).absolute()


Check = Callable[..., list[CheckMessage]]
ALL_CHECKS: tuple[Check, ...] = (check_setting_values, check_setting_names, check_bundle_storage)
