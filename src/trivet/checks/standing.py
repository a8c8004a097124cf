"""What `manage.py check --database` says of what the registry holds: bundles that are there, processes that live."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  (Django's name)
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.db.models import Q

from trivet import conf
from trivet.checks.schema import asked_database
from trivet.control.predictions.durability import may_lose_commits
from trivet.control.registry.declarations import declared_features
from trivet.control.registry.needed_features import lacking, needs_of
from trivet.control.registry.storage import bundle_storage, stored_name
from trivet.core.errors import quoted
from trivet.core.signature import enumerate_names
from trivet.features import findings
from trivet.model.bundle.libraries import COMPILED_RUNTIME, has_requirements, libraries_of
from trivet.model.bundle.manifest import MANIFEST_NAME

KEEPER, ANSWERING = "keeper", frozenset({"web", "grpc"})  # kinds of workers
STORAGE_HINT = (
    'STORAGES["trivet"] says where bundles lie, by default a folder in TRIVET_HOME. Bring the files back, or push the model'
    " again."
)
IN_USE = Q(routes__isnull=False) | Q(shadows__isnull=False) | Q(aliases__isnull=False)


def check_log_durability(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """W008: answers are to survive a loss of power, and commits of the log's database may not (`check --database`)."""
    database = router.db_for_write(apps.get_model("trivet", "Prediction"))
    try:
        if database not in (databases or ()) or conf.DURABILITY() != "power":
            return []
    except ImproperlyConfigured:
        return []  # E002 tells
    cause = may_lose_commits(connections[database])
    if not cause:
        return []
    return [
        Warning(
            f"TRIVET_DURABILITY is 'power', and with {cause} the database {database!r} may lose what it committed when the"
            " power goes: predictions that the spool no longer has.",
            hint='SQLite: "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" among its OPTIONS.'
            " PostgreSQL: synchronous_commit and fsync are on unless somebody turned them off.",
            id="trivet.W008",
        )
    ]


def check_bundles(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """W022: the bundle of a version that is routed, a shadow or has an alias is not in the storage (`check --database`).

    A warning, for `migrate` checks too: a job that only migrates may have no bundles, and a restored database none yet.
    """
    versions = apps.get_model("trivet", "ModelVersion")
    database = asked_database(versions, databases)
    if database is None:
        return []
    rows = versions._default_manager.using(database).filter(IN_USE).distinct().order_by("model__name", "number")
    storage = bundle_storage()
    problems: list[CheckMessage] = []
    for model, number, digest in rows.values_list("model__name", "number", "digest"):
        try:
            is_there = storage.exists(stored_name(digest, MANIFEST_NAME))
        except OSError as error:
            return [Warning(f"the storage of bundles does not answer: {error}", hint=STORAGE_HINT, id="trivet.W022")]
        if not is_there:
            said = f"{model} {number} is in use, and its bundle {digest[:12]} is not there: no process that starts can load it."
            problems.append(Warning(said, hint=STORAGE_HINT, id="trivet.W022"))
    return problems


def check_libraries(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """W023: a native version was trained with another version of its library than the one here (`check --database`)."""
    versions = apps.get_model("trivet", "ModelVersion")
    database = asked_database(versions, databases)
    if database is None:
        return []
    native = versions._default_manager.using(database).exclude(runtime=COMPILED_RUNTIME).filter(IN_USE).distinct()
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


def check_feature_hashes(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """W024: a version in use was trained on other features than the code now has (`check --database`)."""
    versions = apps.get_model("trivet", "ModelVersion")
    database = asked_database(versions, databases)
    if database is None:
        return []
    rows = versions._default_manager.using(database).filter(IN_USE).distinct().order_by("model__name", "number")
    hint = "Take the change back, or give it a class of its own; or export the rows again, train on them and push that."
    return [
        Warning(f"{model} {number} was trained on {problem}", hint=hint, id="trivet.W024")
        for model, number, features in rows.values_list("model__name", "number", "manifest__features")
        if (problem := findings.moved(features or {}))
    ]


def check_needed_features(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """E020: a version in use needs a feature that the code has not (`check --database`).

    An error where it has traffic. Of one that only has an alias or is a shadow it is a warning, or a challenger that was
    pushed yesterday would keep everybody from migrating until somebody has written what it needs.
    """
    hint = "Write the feature, or give traffic to a version that does without: `trivet promote MODEL@V`."
    problems: list[CheckMessage] = []
    for version in _versions_in_use(databases):
        if said := lacking(version):
            level = Error if version.routes.all() else Warning
            problems.append(level(said, hint=hint, id="trivet.E020"))
    return problems


def check_unread_features(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """W021: a feature is declared, and no version in use reads it (`check --database`)."""
    read: dict[str, set[str]] = {}
    for version in _versions_in_use(databases):
        if (needs := needs_of(version)) is not None:
            read.setdefault(needs.features, set()).update(version.read_signature().field_names)
    hint = "Train with it and push that; or take it out: each is a part of the query for every row."
    known = declared_features()
    return [
        Warning(
            f"{place}: no version in use reads {enumerate_names(unread)}.",
            hint=hint,
            id="trivet.W021",
        )
        for place, names in sorted(read.items())
        if (unread := [quoted(name) for name in known.get(place, ()) if name not in names])
    ]


def _versions_in_use(databases: Collection[str] | None) -> list[Any]:
    """Return the versions that are routed, shadows or have an alias, with their routes; none where nobody asks the database."""
    versions = apps.get_model("trivet", "ModelVersion")
    database = asked_database(versions, databases)
    if database is None:
        return []
    rows = versions._default_manager.using(database).filter(IN_USE).distinct()
    return list(rows.select_related("model").prefetch_related("routes").order_by("model__name", "number"))


def check_keeper(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """W025: processes answer, and no keeper lives that ships what they log (`check --database`)."""
    workers = apps.get_model("trivet", "Worker")
    database = asked_database(workers, databases)
    if database is None:
        return []
    try:
        live = workers._default_manager.using(database).live(conf.LEASE_SECONDS())
    except ImproperlyConfigured:
        return []  # E002 tells
    kinds = set(live.values_list("kind", flat=True))
    if KEEPER in kinds or not kinds & ANSWERING:
        return []
    return [
        Warning(
            "processes answer, and no keeper lives: predictions stay in the spool, and nothing is judged.",
            hint="`trivet serve` runs one; where web workers are started by themselves, start `trivet keeper` beside them.",
            id="trivet.W025",
        )
    ]
