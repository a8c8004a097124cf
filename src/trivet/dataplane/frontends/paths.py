"""Which path names what (protocol, section 1): a path becomes a target, or nothing."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from trivet.core.names import ALIAS_NAME, MODEL_NAME, RESERVED_ALIASES, RESERVED_MODEL_NAMES, VERSION_NUMBER

_MODEL = re.compile(MODEL_NAME)
_SELECTOR = re.compile(f"{VERSION_NUMBER}|{ALIAS_NAME}")


class Target(NamedTuple):
    """What a path names: `kind` is the operation, `selector` a version or alias where one stands in the path."""

    kind: str
    model: str = ""
    selector: str | None = None


_SERVER = {
    ("v2",): Target("server"),
    ("v2", "health", "live"): Target("live"),
    ("v2", "health", "ready"): Target("ready"),
    ("v2", "models"): Target("models"),
    ("v1", "models"): Target("models"),
    ("metrics",): Target("metrics"),
    ("v2", "models", "stats"): Target("statistics"),
    ("v2", "repository", "index"): Target("index"),
}
_OF_MODEL: dict[tuple[str, ...], dict[tuple[str, ...], str]] = {
    ("v2", "models"): {
        (): "metadata",
        ("ready",): "model_ready",
        ("config",): "config",
        ("stats",): "model_statistics",
        ("openapi.json",): "openapi",
        ("infer",): "infer",
        ("predict",): "predict",
        ("feedback",): "feedback",
    },
    ("v1", "models"): {(): "model_ready", (":predict",): "v1_predict"},
}
WITHOUT_VERSION = frozenset({"feedback"})  # kinds that are about whichever version answered
_OF_REPOSITORY: dict[tuple[str, ...], str] = {("load",): "load", ("unload",): "unload"}
READ = ("GET", "HEAD")
METHODS = {
    "server": READ,
    "live": READ,
    "ready": READ,
    "models": READ,
    "metrics": READ,
    "metadata": READ,
    "model_ready": READ,
    "config": READ,
    "model_statistics": READ,
    "statistics": READ,
    "openapi": READ,
    "infer": ("POST",),
    "predict": ("POST",),
    "predict_csv": ("POST",),  # the same path, told apart by the media type
    "v1_predict": ("POST",),
    "feedback": ("POST",),
    "feedback_lines": ("POST",),  # likewise
    "index": ("POST",),
    "load": ("POST",),
    "unload": ("POST",),
}


def is_prediction_path(path: str, prefix: str = "/") -> bool:
    """True for a path that is answered here and never reaches the site behind.

    Of `/v1` only what begins as KServe's paths do: a site may well have an interface of its own under that name.
    """
    if not path.startswith(prefix):
        return False
    rest = path[len(prefix) :]
    return rest.startswith(("v2/", "v1/models/")) or rest in ("v2", "v1/models", "metrics")


@lru_cache(maxsize=4096)
def parse_path(path: str, prefix: str = "/") -> Target | None:
    """Return what the decoded `path` names, or None. Never decoded again: a `%2f` that is left names nothing."""
    segments = tuple(path[len(prefix) :].split("/"))
    if target := _SERVER.get(segments):
        return target
    if segments[0] == "v1":  # KServe V1 writes its verbs behind the last segment: churn:predict
        name, colon, verb = segments[-1].partition(":")
        segments = (*segments[:-1], name, colon + verb) if colon else segments
    if segments[:3] == ("v2", "repository", "models"):
        kinds, segments = _OF_REPOSITORY, segments[1:]
    else:
        kinds = _OF_MODEL.get(segments[:2], {})
    if len(segments) < 3:
        return None
    model, rest = segments[2], segments[3:]
    if not _MODEL.fullmatch(model) or model in RESERVED_MODEL_NAMES:
        return None
    selector = None
    if len(rest) >= 2 and rest[0] == "versions":
        selector, rest = rest[1], rest[2:]
        if not _SELECTOR.fullmatch(selector) or selector in RESERVED_ALIASES:
            return None
    kind = kinds.get(rest)
    if kind is None or (selector is not None and kind in WITHOUT_VERSION):
        return None
    return Target(kind, model, selector)


def likely_slip(path: str, prefix: str = "/") -> str:
    """Return what is probably wrong with a `path` that names nothing, told by its form alone; empty where it says nothing."""
    segments = path[len(prefix) :].split("/")
    if segments[-1] == "" and parse_path(path.rstrip("/"), prefix):
        return " Leave out the slash at its end."
    if segments[:2] in (["v2", "model"], ["v1", "model"]):
        return f" It begins with /{segments[0]}/models/."
    if len(segments) > 2 and segments[0] in ("v1", "v2") and "@" in segments[2]:
        return f" A version goes into the path: /{segments[0]}/models/NAME/versions/1."
    return ""
