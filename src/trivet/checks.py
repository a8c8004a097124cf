"""System checks: what `manage.py check` says about settings and rows. They read, and never load a model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  (Django's name)
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.db.models import Model, Q

from trivet import conf
from trivet.control.registry.trusted_keys import trusted_keys
from trivet.control.webhooks.targets import parsed
from trivet.core.errors import Refused, did_you_mean
from trivet.model.bundle.libraries import COMPILED_RUNTIME, has_requirements, libraries_of


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
            hint="Correct or remove it; docs/reference/settings.md lists every setting.",
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


def check_libraries(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """W023: a native version was trained with another version of its library than the one here (`check --database`)."""
    versions = apps.get_model("trivet", "ModelVersion")
    database = router.db_for_read(versions)
    if database not in (databases or ()) or not _has_table(versions, database):
        return []
    in_use = Q(routes__isnull=False) | Q(shadows__isnull=False) | Q(aliases__isnull=False)
    native = versions._default_manager.using(database).exclude(runtime=COMPILED_RUNTIME).filter(in_use).distinct()
    rows = native.order_by("model__name", "number").values_list(
        "model__name", "number", "manifest__source", "manifest__files"
    )
    return [
        Warning(
            f"{model} {number} was {library.in_words()}: it runs in that library, which may answer otherwise.",
            hint=f"`trivet verify {model}@{number}` says whether it does; push it again, with --requirements where it has to"
            f" stay as it is, or install {library.name} {library.trained} where model workers run.",
            id="trivet.W023",
        )
        for model, number, source, files in rows
        if not has_requirements(files)
        for library in libraries_of(source or {})
        if library.differs
    ]


def _has_table(model: type[Model], database: str) -> bool:
    """True once the migrations have made it: `migrate` checks first."""
    return model._meta.db_table in connections[database].introspection.table_names()


def check_trusted_keys(**_: Any) -> list[CheckMessage]:
    """E005: a signature is required, and a key that may give it is missing, unreadable or no such key."""
    try:
        if not conf.TRUSTED_KEYS() and not conf.REQUIRE_SIGNATURE():
            return []
    except ImproperlyConfigured:
        return []  # E002 tells
    try:
        trusted_keys()
    except ImproperlyConfigured as problem:
        return [Error(str(problem), hint=conf.TRUSTED_KEYS.doc, id="trivet.E005")]
    return []


def check_webhooks(**_: Any) -> list[CheckMessage]:
    """E006: an entry of `TRIVET_WEBHOOKS` is no host and no URL that a webhook could be sent to."""
    try:
        entries = conf.WEBHOOKS()
    except ImproperlyConfigured:
        return []  # E002 tells
    problems: list[CheckMessage] = []
    for entry in entries:
        try:
            parsed(entry if "://" in entry else f"https://{entry}/")
        except Refused as problem:
            problems.append(Error(f"TRIVET_WEBHOOKS: {problem}", hint=conf.WEBHOOKS.doc, id="trivet.E006"))
    return problems


Check = Callable[..., list[CheckMessage]]
DATABASE_CHECKS: tuple[Check, ...] = (check_libraries,)
ALL_CHECKS: tuple[Check, ...] = (
    check_setting_values,
    check_setting_names,
    check_bundle_storage,
    check_trusted_keys,
    check_webhooks,
    *DATABASE_CHECKS,
)
