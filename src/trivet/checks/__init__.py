"""System checks: what `manage.py check` says about settings and rows. They read, and never load a model."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  (Django's name)
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from trivet import conf
from trivet.checks.columns import (
    check_declared_outputs,
    check_predicted_fields,
    check_predicted_outputs,
    check_task_backend,
)
from trivet.checks.deployment import check_endless_inputs, check_open_models, check_pepper, check_plain_address
from trivet.checks.standing import (
    check_bundles,
    check_feature_hashes,
    check_keeper,
    check_libraries,
    check_log_durability,
    check_needed_features,
    check_unread_features,
)
from trivet.control.registry.trusted_keys import trusted_keys
from trivet.control.webhooks.targets import parsed
from trivet.core.errors import Refused, did_you_mean
from trivet.features import findings
from trivet.serving.spool_bound import least_spool_mb


def check_setting_values(**_: Any) -> list[CheckMessage]:
    """E002: a setting has a type or a value that is not accepted."""
    problems: list[CheckMessage] = []
    for setting in conf.SETTINGS:
        try:
            setting()
        except ImproperlyConfigured as problem:
            problems.append(Error(str(problem), hint=setting.doc, id="trivet.E002"))
    return problems


def check_engines(**_: Any) -> list[CheckMessage]:
    """E001: the BACKEND of `TRIVET_ENGINES` cannot be imported, or takes none of its OPTIONS by such a name."""
    if not conf.ENGINES.is_set:
        return []  # our own is imported by who answers
    try:
        entry = conf.ENGINES()["default"]
    except ImproperlyConfigured:
        return []  # E002 tells
    try:
        signature(import_string(entry["BACKEND"])).bind(**entry["OPTIONS"])
    except (ImportError, TypeError, ValueError) as problem:
        hint = "A class or function of an engine, by its place in code, and its own keywords as OPTIONS."
        return [Error(f"TRIVET_ENGINES: {entry['BACKEND']}: {problem}.", hint=hint, id="trivet.E001")]
    return []


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


def check_spool_bound(*, processes: int | None = None, **_: Any) -> list[CheckMessage]:
    """W007: `TRIVET_SPOOL_MB` is too small for the processes that answer, each of which holds a piece of the spool."""
    try:
        processes, bound = processes or conf.WORKERS(), conf.SPOOL_MB()
    except ImproperlyConfigured:
        return []  # E002 tells
    least = least_spool_mb(processes)
    if bound >= least:
        return []
    return [
        Warning(
            f"TRIVET_SPOOL_MB is {bound}, and {processes} processes that answer need {least}: predictions are refused while"
            " one waits for room that another holds.",
            hint=f"Set it to {least} or more, the more the longer the database may be away; or have fewer processes.",
            id="trivet.W007",
        )
    ]


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
    """E006: an entry of `TRIVET_ALERT_WEBHOOKS` is no host and no URL that a webhook could be sent to."""
    try:
        entries = conf.ALERT_WEBHOOKS()
    except ImproperlyConfigured:
        return []  # E002 tells
    problems: list[CheckMessage] = []
    for entry in entries:
        try:
            parsed(entry if "://" in entry else f"https://{entry}/")
        except Refused as problem:
            problems.append(Error(f"TRIVET_ALERT_WEBHOOKS: {problem}", hint=conf.ALERT_WEBHOOKS.doc, id="trivet.E006"))
    return problems


def check_predictor_names(**_: Any) -> list[CheckMessage]:
    """E010: two Predictors claim one name."""
    hint = "Rename one, give one of them another Meta.name, or remove it."
    return [Error(problem, hint=hint, id="trivet.E010") for problem in findings.twice()]


def check_unfilled_features(**_: Any) -> list[CheckMessage]:
    """E011: an `f.TODO` stands where a feature is still to be written."""
    hint = "docs/how-to/features-from-the-orm.md has the words; `trivet push` and `trivet.predict` take none that is not filled."
    found = [problem for id_, problem in findings.feature_problems() if id_ == "E011"]
    return [Error(problem, hint=hint, id="trivet.E011") for problem in found]


def check_feature_paths(**_: Any) -> list[CheckMessage]:
    """E012: a feature takes its values from what is not on its model, or that no feature is made of."""
    hint = "What each feature may be made of: docs/how-to/features-from-the-orm.md."
    found = [problem for id_, problem in findings.feature_problems() if id_ == "E012"]
    return [Error(problem, hint=hint, id="trivet.E012") for problem in found]


def check_feature_times(**_: Any) -> list[CheckMessage]:
    """W016: a feature counts rows of which nothing says when they came to be, so it has no past."""
    hint = 'Name the column: at="placed_at"; or say that there is none: at=None.'
    return [Warning(problem, hint=hint, id="trivet.W016") for problem in findings.untimed()]


def check_outcomes(**_: Any) -> list[CheckMessage]:
    """E013: an Outcome names a model or a field that is not there, lacks `matures`, or says what makes no label."""
    hint = "What each of its arguments may be: docs/how-to/labels-from-your-tables.md."
    return [Error(problem, hint=hint, id="trivet.E013") for problem in findings.outcomes()]


def check_training_imports(**_: Any) -> list[CheckMessage]:
    """W015: an `ml.py` imports a training library, so every process does when Django starts."""
    hint = "Import it inside the function that needs it."
    return [Warning(problem, hint=hint, id="trivet.W015") for problem in findings.training()]


def check_declared_names(**_: Any) -> list[CheckMessage]:
    """E018: a Predictor or a FeatureSet says a name, or a value of one, that is not known, or its `Meta` or `Monitoring` does."""
    hint = "Correct or remove it; what is your own begins with an underscore. docs/reference/python.md has all names."
    found = [*findings.unknown(), *(problem for id_, problem in findings.feature_problems() if id_ == "E018")]
    return [Error(problem, hint=hint, id="trivet.E018") for problem in found]


Check = Callable[..., list[CheckMessage]]
DATABASE_CHECKS: tuple[Check, ...] = (
    check_log_durability,
    check_bundles,
    check_libraries,
    check_feature_hashes,
    check_needed_features,
    check_unread_features,
    check_keeper,
    check_predicted_outputs,
    check_declared_outputs,
)
DEPLOY_CHECKS: tuple[Check, ...] = (check_open_models, check_plain_address, check_endless_inputs, check_pepper)
ALL_CHECKS: tuple[Check, ...] = (
    check_setting_values,
    check_engines,
    check_setting_names,
    check_bundle_storage,
    check_trusted_keys,
    check_webhooks,
    check_spool_bound,
    check_predictor_names,
    check_unfilled_features,
    check_feature_paths,
    check_feature_times,
    check_outcomes,
    check_training_imports,
    check_declared_names,
    check_predicted_fields,
    check_task_backend,
    *DATABASE_CHECKS,
    *DEPLOY_CHECKS,
)
