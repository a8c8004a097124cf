"""What `manage.py check --deploy` says of settings that are well on a laptop and are not where others come by."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004  (Django's name)
from django.core.exceptions import ImproperlyConfigured

from trivet import conf


def check_open_models(**_: Any) -> list[CheckMessage]:
    """W030: models that are marked anonymous answer without a key."""
    try:
        if conf.REQUIRE_KEY():
            return []
    except ImproperlyConfigured:
        return []  # E002 tells
    return [
        Warning(
            "TRIVET_REQUIRE_KEY is False: models that are marked anonymous answer whoever reaches them.",
            hint="Set it to True, or leave it away, unless that is meant.",
            id="trivet.W030",
        )
    ]


def check_plain_address(**_: Any) -> list[CheckMessage]:
    """W031: the server is bound beyond loopback, and nothing says that a proxy in front of it speaks TLS."""
    try:
        bind, is_public_by_tls = conf.BIND(), conf.PUBLIC_URL().startswith("https://")
    except ImproperlyConfigured:
        return []  # E002 tells
    has_proxy = is_public_by_tls or settings.SECURE_PROXY_SSL_HEADER or settings.SECURE_SSL_REDIRECT
    if has_proxy or _is_loopback(bind):
        return []
    return [
        Warning(
            f"TRIVET_BIND is {bind!r}: others reach it without TLS, and keys and inputs go in the clear.",
            hint="Bind to 127.0.0.1 behind a proxy, or say where one is: TRIVET_PUBLIC_URL with https, or"
            " SECURE_PROXY_SSL_HEADER (docs/how-to/behind-a-proxy.md).",
            id="trivet.W031",
        )
    ]


def check_endless_inputs(**_: Any) -> list[CheckMessage]:
    """W034: inputs of predictions are logged and nothing erases them."""
    try:
        share, days = conf.LOG_INPUTS(), conf.INPUT_RETENTION_DAYS()
    except ImproperlyConfigured:
        return []  # E002 tells
    if not share or days is not None:
        return []
    return [
        Warning(
            f"TRIVET_LOG_INPUTS keeps inputs of {share:.0%} of the predictions, and TRIVET_INPUT_RETENTION_DAYS is None:"
            " they are kept for ever.",
            hint="Say after how many days the keeper erases them, or set TRIVET_LOG_INPUTS to 0.",
            id="trivet.W034",
        )
    ]


def check_pepper(**_: Any) -> list[CheckMessage]:
    """W035: API keys are hashed with `SECRET_KEY`, and would all end when that is replaced."""
    if conf.KEY_PEPPER.is_set or settings.SECRET_KEY_FALLBACKS:
        return []
    return [
        Warning(
            "API keys are hashed with SECRET_KEY, and SECRET_KEY_FALLBACKS is empty: a new SECRET_KEY ends every key.",
            hint="Set TRIVET_KEY_PEPPER to a secret of its own before keys are given out; or keep the old SECRET_KEY in"
            " SECRET_KEY_FALLBACKS when you replace it.",
            id="trivet.W035",
        )
    ]


def _is_loopback(bind: str) -> bool:
    host = bind.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
