"""Reads the project's folder: where it is, and what its `.env` file says."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

import django

PROJECT_VARIABLE = "TRIVET_PROJECT"
NONE = "none"  # what stands for None where a number may be left out
PREFIX = "TRIVET_"
NEARLY = 0.85  # chosen: a letter or two of a word
OTHER_VARIABLES = (
    PROJECT_VARIABLE,
    "TRIVET_API_KEY",
    "TRIVET_URL",
    "TRIVET_SIGNING_PASSPHRASE",
)  # of the environment, and no settings
BOOLEANS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
    "": False,
}


def project_folder() -> Path:
    """Return the folder of the project: `TRIVET_PROJECT`, else the current one."""
    return Path(os.environ.get(PROJECT_VARIABLE) or Path.cwd()).absolute()


def load_env_file(path: Path) -> list[str]:
    """Put the `NAME=value` lines of `path` into the environment, where they are not set yet; return their names.

    Of two lines with one name the later holds, as where a shell reads the file, so that `>>` changes what is there.
    `export` may stand before a name. Other lines are ignored.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    written = {}
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and name.strip().isidentifier():
            written[name.strip()] = value.strip().strip("'\"")
    for name, value in written.items():
        os.environ.setdefault(name, value)
    return list(written)


def listed(text: str) -> list[str]:
    """Return what stands between the commas of `text`, without the blanks around it."""
    return [part.strip() for part in text.split(",") if part.strip()]


PATIENCE = {"connect_timeout": "5", "tcp_user_timeout": "10000"}  # seconds; milliseconds


def database(url: str, default: Path, *, survives_power_loss: bool = False) -> dict[str, Any]:
    """Return Django's settings for `url` (postgres://user:password@host:port/name), else for SQLite in `default`.

    Parameters, as in `?sslmode=require`, go to the driver. A PostgreSQL that cannot be reached counts as away after
    seconds (`connect_timeout`, `tcp_user_timeout`), not after the quarter of an hour that an operating system gives.
    SQLite runs with a write-ahead log, so that pages read while the keeper writes, and takes its write lock when a
    transaction begins, so that two writers wait for one another instead of failing. Each commit waits for the disk where
    it has to be there after a loss of power.
    """
    if not url:
        synchronous = "FULL" if survives_power_loss else "NORMAL"
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(default),
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};",
            },
        }
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured(f"DATABASE_URL begins with {parts.scheme!r}; postgres:// is read here.")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": PATIENCE | dict(parse_qsl(parts.query)),
    }


MAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
MAIL_SECONDS = 10  # a mail server has for an answer


def mail(url: str) -> dict[str, Any]:
    """Return Django's settings for `url`: smtp://user:password@host:port, or smtps:// encrypted from the first byte.

    smtp:// to another machine turns encryption on (STARTTLS).
    """
    parts = urlsplit(url)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ImproperlyConfigured(f"EMAIL_URL is {parts.scheme!r}, not smtp://host:port or smtps://host:port.")
    is_encrypted = parts.scheme == "smtps"
    options = {
        "host": parts.hostname,
        "port": parts.port or (465 if is_encrypted else 587),
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "use_ssl": is_encrypted,
        "use_tls": not is_encrypted and not is_loopback(f"{parts.hostname}:0"),
        "timeout": MAIL_SECONDS,
    }
    if django.VERSION >= (6, 1):
        return {"MAILERS": {"default": {"BACKEND": MAIL_BACKEND, "OPTIONS": options}}}
    names = {"username": "HOST_USER", "password": "HOST_PASSWORD"}
    return {f"EMAIL_{names.get(name, name.upper())}": value for name, value in options.items()}


def is_loopback(bind: str) -> bool:
    """True for an address that only this machine reaches, and for none: then it is the default, which is one."""
    host = bind.rpartition(":")[0].strip("[]")
    try:
        return not bind or host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def trivet_settings(names: dict[str, type], written: Sequence[str] = ()) -> dict[str, Any]:
    """Return the `TRIVET_*` settings that the environment gives, each in its type.

    Those of the project's file that are no settings come along as they are, and those of the environment that are nearly
    one: `manage.py check` and every verb tell of them. Others there are other programs'. Raises `ImproperlyConfigured` for
    a value that is none of its type.
    """
    found: dict[str, Any] = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and name not in names and name not in OTHER_VARIABLES
        if name in written or _is_nearly_one(name, names)
    }
    for name, kind in names.items():
        text = os.environ.get(name)
        if text is not None:
            found[name] = _converted(name, text, kind)
    return found


def _is_nearly_one(name: str, names: Iterable[str]) -> bool:
    """Tell whether the name of a variable looks like a slip of the pen."""
    known = [one.removeprefix(PREFIX) for one in names]
    return bool(difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=NEARLY))


def _converted(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in BOOLEANS:
            raise ImproperlyConfigured(f"{name} is {text!r} in the environment or .env; true or false is wanted there.")
        return BOOLEANS[text.lower()]
    if kind is tuple:
        return tuple(listed(text))
    if kind in (int, float) and text.strip().lower() == NONE:
        return None
    try:
        return kind(text)
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} is {text!r} in the environment or .env; a number is wanted there."
        ) from None
