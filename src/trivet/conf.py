"""Every setting of Trivet: its name, its default, what it accepts and what it is for. All are optional.

Each is a function read late: `conf.MAX_ROWS()`. Only Django rooms read settings; the data plane receives values.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from trivet.core.errors import quoted
from trivet.core.keys import derive_pepper
from trivet.core.rates import EXPECTED, read_rates, write_rates

T = TypeVar("T")
Reader = Callable[[Any], T]  # Any: whatever stands in the settings module

SETTING_PREFIX = "TRIVET_"
_MAIL = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")
MIB = 1024 * 1024
FOLDER_NAME = ".trivet"
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
REDIS_OPTIONS = ("db", "username", "password")  # of a CACHES entry, beside what its URL says
MODEL_WORKERS = "trivet.serving.model_workers.worker_engine"


@dataclass(frozen=True)
class Setting(Generic[T]):
    """One setting. `read` returns the value in its own type or raises `ValueError` with what was expected."""

    name: str
    default: Callable[[], T]
    read: Reader[T]
    doc: str

    def __call__(self) -> T:
        """Return the value now in force; raises `ImproperlyConfigured` when it is not one that is accepted."""
        if not self.is_set:
            return self.default()
        value = getattr(settings, self.name)
        try:
            return self.read(value)
        except ValueError as problem:
            shown = "" if self in SECRETS else f", not {quoted(value)}"
            raise ImproperlyConfigured(f"{self.name} must be {problem}{shown}.") from None

    @property
    def is_set(self) -> bool:
        """True when the settings module says something about it."""
        return hasattr(settings, self.name)


def boolean(value: Any) -> bool:
    """Accept True or False."""
    if not isinstance(value, bool):
        raise ValueError("True or False")  # noqa: TRY004  (readers raise one kind)
    return value


def integer(low: int, high: int) -> Reader[int]:
    """Accept a whole number from `low` to `high`."""

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a whole number from {low:,} to {high:,}")
        return value

    return read


def optional(read: Reader[T]) -> Reader[T | None]:
    """Accept None, or what `read` does."""

    def read_or_none(value: Any) -> T | None:
        return None if value is None else read(value)

    return read_or_none


def number(low: float, high: float) -> Reader[float]:
    """Accept a number from `low` to `high`."""

    def read(value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return float(value)

    return read


def choice(*words: str) -> Reader[str]:
    """Accept one of `words`."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(" or ".join(repr(word) for word in words))
        return str(value)

    return read


def names(*known: str) -> Reader[tuple[str, ...]]:
    """Accept a list of names from `known`."""

    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(name in known for name in value):
            raise ValueError(f"a list of {' or '.join(repr(word) for word in known)}")
        return tuple(value)

    return read


def rates(value: Any) -> str:
    """Accept how often something may happen; empty means: as often as anybody likes."""
    if not isinstance(value, str):
        raise ValueError(EXPECTED)  # noqa: TRY004  (readers raise one kind)
    return write_rates(read_rates(value)) if value else ""


def folder(value: Any) -> Path:
    """Accept a path as text or `Path`, made absolute."""
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("the path of a folder")
    return Path(value).absolute()


def address(value: Any) -> str:
    """Accept `host:port`, with an IPv6 host in brackets."""
    host, colon, port = str(value).rpartition(":")
    if not (isinstance(value, str) and host and colon and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError("an address such as '127.0.0.1:8000'")
    return value


def path_prefix(value: Any) -> str:
    """Accept a URL path that begins and ends with a slash."""
    if not isinstance(value, str) or not (value.startswith("/") and value.endswith("/")):
        raise ValueError("a path that begins and ends with '/'")
    return value


def base_url(value: Any) -> str:
    """Accept an absolute http or https URL, without its trailing slash; empty means: from the request."""
    if not isinstance(value, str) or (value and not _is_web_url(value)):
        raise ValueError("a URL such as 'https://models.example.com'")
    return value.rstrip("/")


def redis_alias(value: Any) -> str:
    """Accept the alias of an entry of `CACHES` whose `LOCATION` is the URL of a Redis; empty means none."""
    if not isinstance(value, str) or (value and not _location(value).startswith(REDIS_SCHEMES)):
        raise ValueError("the alias of an entry of CACHES whose LOCATION is a URL such as 'redis://127.0.0.1:6379/1'")
    return value


def secret(value: Any) -> str:
    """Accept a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("a text that is not empty")
    return value


def text(value: Any) -> str:
    """Accept a text; empty means none."""
    if not isinstance(value, str):
        raise ValueError("a text")  # noqa: TRY004  (readers raise one kind)
    return value


def secrets(value: Any) -> tuple[str, ...]:
    """Accept a list of texts that are not empty."""
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text for text in value):
        raise ValueError("a list of texts that are not empty")
    return tuple(value)


def webhooks(value: Any) -> tuple[str, ...]:
    """Accept a list of hosts, and of URLs of http or https."""
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text for text in value):
        raise ValueError("a list of URLs, or hosts, such as 'https://hooks.example.com/trivet'")
    return tuple(value)


def file_paths(value: Any) -> tuple[Path, ...]:
    """Accept a list of paths as texts or `Path`s, made absolute."""
    if not isinstance(value, list | tuple) or not all(isinstance(path, str | Path) and str(path) for path in value):
        raise ValueError("a list of paths of files")
    return tuple(Path(path).absolute() for path in value)


def emails(value: Any) -> tuple[str, ...]:
    """Accept a list of addresses of mail."""
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) and _MAIL.fullmatch(one) for one in value):
        raise ValueError("a list of addresses such as 'ana@example.com'")
    return tuple(value)


def _location(alias: str) -> str:
    """Return where a cache is: the first of several places, which Django writes to."""
    location = settings.CACHES.get(alias, {}).get("LOCATION", "")
    places = re.split("[;,]", location) if isinstance(location, str) else location
    return str(places[0]) if places else ""


def engines(value: Any) -> dict[str, dict[str, Any]]:
    """Accept one entry `default` with a BACKEND, and OPTIONS by name."""
    entry = value.get("default") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(entry, dict) or not entry.keys() <= {"BACKEND", "OPTIONS"}:
        raise ValueError("one entry 'default' with a BACKEND and OPTIONS")
    backend, options = entry.get("BACKEND", MODEL_WORKERS), entry.get("OPTIONS", {})
    if not (isinstance(backend, str) and isinstance(options, dict)):
        raise ValueError("one entry 'default' with a BACKEND, which is a text, and OPTIONS, which are named")  # noqa: TRY004
    return {"default": {"BACKEND": backend, "OPTIONS": options}}


def _is_web_url(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def _default_home() -> Path:
    return Path(getattr(settings, "BASE_DIR", Path.cwd())).absolute() / FOLDER_NAME


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _default_pepper() -> str:
    return str(settings.SECRET_KEY)


def _default_pepper_fallbacks() -> tuple[str, ...]:
    return () if KEY_PEPPER.is_set else tuple(str(key) for key in settings.SECRET_KEY_FALLBACKS)


HOME = Setting("TRIVET_HOME", _default_home, folder, "Folder of the spool, the bundles and the environments of models.")
BIND = Setting("TRIVET_BIND", lambda: "127.0.0.1:8000", address, "Address that `serve` opens.")
WORKERS = Setting("TRIVET_WORKERS", _cores, integer(1, 1024), "Web workers that `serve` starts; default one per core.")
WEB_THREADS = Setting("TRIVET_WEB_THREADS", lambda: 8, integer(1, 1024), "Threads of a web worker for Django's pages.")
PREFIX = Setting("TRIVET_PREFIX", lambda: "/", path_prefix, "Path under which the prediction paths lie.")
PUBLIC_URL = Setting("TRIVET_PUBLIC_URL", lambda: "", base_url, "Address in snippets; default that of the request.")
MAX_BODY_MB = Setting("TRIVET_MAX_BODY_MB", lambda: 16, integer(1, 2048), "Largest request body, in MiB.")
MAX_ROWS = Setting("TRIVET_MAX_ROWS", lambda: 1024, integer(1, 1_000_000), "Most rows of one request.")
REQUIRE_KEY = Setting("TRIVET_REQUIRE_KEY", lambda: True, boolean, "False lets models marked anonymous answer keyless.")
RATE_LIMIT = Setting(
    "TRIVET_RATE_LIMIT",
    lambda: "",
    rates,
    "How often one key may ask for predictions, unless it has a limit of its own; default as often as it likes.",
)
KEY_PEPPER = Setting("TRIVET_KEY_PEPPER", _default_pepper, secret, "Keys the hash of API keys; default `SECRET_KEY`.")
KEY_PEPPER_FALLBACKS = Setting(
    "TRIVET_KEY_PEPPER_FALLBACKS", _default_pepper_fallbacks, secrets, "Earlier peppers that still open their keys."
)
REQUIRE_SIGNATURE = Setting(
    "TRIVET_REQUIRE_SIGNATURE",
    lambda: False,
    boolean,
    "True refuses versions that no key of `TRIVET_TRUSTED_KEYS` signed: to push, to give traffic, to load.",
)
TRUSTED_KEYS = Setting[tuple[Path, ...]](
    "TRIVET_TRUSTED_KEYS", tuple, file_paths, "Files of the public keys, in PEM, whose signatures of bundles count."
)
APPROVALS = Setting(
    "TRIVET_APPROVALS",
    lambda: 1,
    integer(1, 2),
    "People it takes to give a version traffic, or more of it: with 2, one proposes and another approves.",
)
SPOOL_MB = Setting("TRIVET_SPOOL_MB", lambda: 2048, integer(64, 10_000_000), "Bound of the spool on disk, in MiB.")
SPOOL_FULL = Setting(
    "TRIVET_SPOOL_FULL",
    lambda: "refuse",
    choice("refuse", "serve"),
    "While the log cannot be written: 'refuse' answers 503, 'serve' answers without a record and counts what is lost.",
)
MODELS_MEMORY_MB = Setting(
    "TRIVET_MODELS_MEMORY_MB",
    lambda: 0,
    integer(0, 10_000_000),
    "Memory a worker's loaded versions may take, in MiB, about; what does not fit is loaded when asked for. 0: no bound.",
)
DURABILITY = Setting(
    "TRIVET_DURABILITY",
    lambda: "process",
    choice("process", "power"),
    "What an answer's record survives before the answer is sent: the death of every process, or the loss of power.",
)
LOG_INPUTS = Setting("TRIVET_LOG_INPUTS", lambda: 1.0, number(0, 1), "Share of predictions whose inputs are kept.")
INPUT_RETENTION_DAYS = Setting[int | None](
    "TRIVET_INPUT_RETENTION_DAYS",
    lambda: 90,
    optional(integer(1, 100_000)),
    "Age at which the keeper erases inputs and parameters from the log, in days; the answers stay."
    " `None`, or `none` in `.env`, keeps them.",
)
LOG_RETENTION_DAYS = Setting[int | None](
    "TRIVET_LOG_RETENTION_DAYS",
    lambda: 400,
    optional(integer(1, 100_000)),
    "Age at which `trivet prune --log` deletes predictions, in days; `None`, or `none` in `.env`, keeps them."
    " No row is deleted by itself.",
)
KEEPER = Setting("TRIVET_KEEPER", lambda: "auto", choice("auto", "external"), "'external': no other process ships.")
LEASE_SECONDS = Setting(
    "TRIVET_LEASE_SECONDS", lambda: 5.0, number(3, 3600), "How long a silent worker counts as live."
)
DEADLINE_SECONDS = Setting(
    "TRIVET_DEADLINE_SECONDS",
    lambda: 10.0,
    number(0.001, 3600),
    "How long a request may take, in seconds; beyond it the answer is 504.",
)
QUEUE_LENGTH = Setting(
    "TRIVET_QUEUE_LENGTH",
    lambda: 256,
    integer(1, 10_000),
    "Requests of one model that may wait for a model worker; the web workers share them.",
)
WORKER_MEMORY_MB = Setting(
    "TRIVET_WORKER_MEMORY_MB", lambda: 2048, integer(128, 1_000_000), "Memory of one model worker, in MiB."
)
ENGINES = Setting(
    "TRIVET_ENGINES",
    lambda: {"default": {"BACKEND": MODEL_WORKERS, "OPTIONS": {}}},
    engines,
    "Where versions run that may not run inline: a BACKEND and its OPTIONS, as `default`.",
)
INLINE_LIMIT_MS = Setting(
    "TRIVET_INLINE_LIMIT_MS",
    lambda: 2.0,
    number(0, 1000),
    "Cost of a request, in ms, beyond which it leaves the event loop for a thread.",
)

CACHE = Setting(
    "TRIVET_CACHE",
    lambda: "auto",
    choice("auto", "on", "off"),
    "Whether answers are remembered: 'auto' where that was measured to pay, 'on' for every version that may.",
)
CACHE_MB = Setting("TRIVET_CACHE_MB", lambda: 64, integer(1, 1_000_000), "Most that one process remembers, in MiB.")
SHARED_CACHE = Setting(
    "TRIVET_SHARED_CACHE",
    lambda: "",
    redis_alias,
    "Alias of a Redis in `CACHES` through which processes share answers.",
)

METRICS_ALIASES = Setting[tuple[str, ...]](
    "TRIVET_METRICS_ALIASES", tuple, names("triton"), "Whose names `/metrics` uses as well: 'triton' adds `nv_*`."
)
ALERT_WEBHOOKS = Setting[tuple[str, ...]](
    "TRIVET_ALERT_WEBHOOKS",
    tuple,
    webhooks,
    "The URLs that are told of alerts, and hosts by https that `trivet webhooks test` may try; none else is asked.",
)
ALERT_EMAILS = Setting[tuple[str, ...]](
    "TRIVET_ALERT_EMAILS",
    tuple,
    emails,
    "Addresses that are told of alerts of severity warning, by Django's mail; from `DEFAULT_FROM_EMAIL`.",
)
FALSE_ALARM_DAYS = Setting(
    "TRIVET_FALSE_ALARM_DAYS",
    lambda: 90,
    integer(1, 10_000),
    "At most one false drift alarm per model is expected in this many days.",
)
LABELS_MATURE_HOURS = Setting(
    "TRIVET_LABELS_MATURE_HOURS",
    lambda: 168,
    integer(1, 24 * 365),
    "How late labels may come: after so many hours a day of predictions is held against what was expected, once.",
)
WEBHOOK_SECRET = Setting("TRIVET_WEBHOOK_SECRET", lambda: "", text, "Signs webhooks; receivers have it too.")
ACCESS_LOG = Setting("TRIVET_ACCESS_LOG", lambda: False, boolean, "True logs a line for each prediction asked for.")
TRACING = Setting("TRIVET_TRACING", lambda: False, boolean, "True makes OpenTelemetry spans of each prediction.")
TESTS = Setting(
    "TRIVET_TESTS",
    lambda: "stub",
    choice("stub", "raise", "real"),
    "What `trivet.predict` does in your tests: answer for the model, fail unless the test answers, or ask the model.",
)
TASKS = Setting("TRIVET_TASKS", lambda: "default", text, "Alias of the backend in `TASKS` by which `trivet.tasks` run.")

SETTINGS: tuple[Setting[Any], ...] = (  # Any: of one type each
    HOME,
    BIND,
    WORKERS,
    WEB_THREADS,
    PREFIX,
    PUBLIC_URL,
    MAX_BODY_MB,
    MAX_ROWS,
    REQUIRE_KEY,
    RATE_LIMIT,
    KEY_PEPPER,
    KEY_PEPPER_FALLBACKS,
    REQUIRE_SIGNATURE,
    TRUSTED_KEYS,
    APPROVALS,
    SPOOL_MB,
    SPOOL_FULL,
    DURABILITY,
    MODELS_MEMORY_MB,
    LOG_INPUTS,
    INPUT_RETENTION_DAYS,
    LOG_RETENTION_DAYS,
    KEEPER,
    LEASE_SECONDS,
    DEADLINE_SECONDS,
    QUEUE_LENGTH,
    WORKER_MEMORY_MB,
    ENGINES,
    INLINE_LIMIT_MS,
    CACHE,
    CACHE_MB,
    SHARED_CACHE,
    METRICS_ALIASES,
    ALERT_EMAILS,
    ALERT_WEBHOOKS,
    WEBHOOK_SECRET,
    FALSE_ALARM_DAYS,
    LABELS_MATURE_HOURS,
    ACCESS_LOG,
    TRACING,
    TASKS,
    TESTS,
)
SECRETS = (KEY_PEPPER, KEY_PEPPER_FALLBACKS, ALERT_WEBHOOKS, WEBHOOK_SECRET)  # never repeated in a message


def read_all() -> None:
    """Read every setting; raises `ImproperlyConfigured` for the first that is not accepted."""
    for setting in SETTINGS:
        setting()


def peppers() -> tuple[bytes, ...]:
    """Return the keys of the API key hash: first the one that new keys are hashed with, then those still accepted."""
    return tuple(derive_pepper(text) for text in (KEY_PEPPER(), *KEY_PEPPER_FALLBACKS()))


def cache_secret() -> bytes:
    """Return what keys the prediction cache: the same in every process of a project, and derived from the pepper."""
    return hashlib.blake2b(peppers()[0], digest_size=32, person=b"trivet cache").digest()


def shared_cache() -> tuple[str, dict[str, Any]] | None:  # Any: what redis-py takes
    """Return the address of the second level of the prediction cache, and what Redis has to be told; None for none."""
    alias = SHARED_CACHE()
    if not alias:
        return None
    options = settings.CACHES[alias].get("OPTIONS", {})
    return _location(alias), {name: options[name] for name in REDIS_OPTIONS if name in options}
