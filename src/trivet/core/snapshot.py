"""Snapshot: everything the data plane may know about the registry, as one numbered, immutable value."""

from __future__ import annotations

from typing import Any

import msgspec

from trivet.core.rates import Limits
from trivet.core.signature import Signature

ANY_MODEL = "*"
VERBS = ("view", "predict", "explain", "label", "promote")
IMPLIED_VERBS = {"predict": ("view",), "explain": ("view",)}


class VersionEntry(msgspec.Struct, frozen=True):
    """One ready version. `keep_loaded`: routed, aliased, or the one a rollback would go to."""

    number: int
    digest: str  # SHA-256 of the bundle's manifest, 64 hexadecimal digits
    runtime: str
    signature: Signature
    keep_loaded: bool = True


class Route(msgspec.Struct, frozen=True):
    """One version's share of a model's traffic, in percent; the shares of a model add to 100."""

    version: int
    weight: int


class ModelEntry(msgspec.Struct, frozen=True):
    """One model: its versions by number, its routes, its aliases."""

    name: str
    versions: dict[int, VersionEntry]
    routes: tuple[Route, ...] = ()
    aliases: dict[str, int] = msgspec.field(default_factory=dict)
    anonymous: bool = False  # answers `predict` without a key
    fallback: tuple[int, ...] = ()  # versions that answer, in this order, where the routed one fails
    constant: dict[str, Any] | None = None  # output -> value of one row: what is answered where those fail as well
    shadows: tuple[Route, ...] = ()  # versions that run a share of the requests as well and never answer
    sticky_by: str = ""  # the input whose value keeps a caller on one version, where no `route_key` is sent
    sensitive: frozenset[str] = frozenset()  # inputs whose values stand in no record


class KeyEntry(msgspec.Struct, frozen=True):
    """One API key that may still be used: only the keyed hash of its secret is here."""

    id: str
    hash: bytes
    grants: dict[str, frozenset[str]]  # model name or "*" -> verbs, implied ones included
    expires_at: float | None = None  # seconds since 1970
    previous_hash: bytes | None = None  # of the secret before, valid as well until
    previous_until: float = 0.0  # seconds since 1970
    limits: Limits = {}  # how often it may ask, what holds for every key included


class Snapshot(msgspec.Struct, frozen=True):
    """The registry at one generation. A higher generation is newer; equal ones are the same value."""

    generation: int
    models: dict[str, ModelEntry] = msgspec.field(default_factory=dict)
    keys: dict[str, KeyEntry] = msgspec.field(default_factory=dict)
    changed_at: float = 0.0  # seconds since 1970, of its last change: tells two registries at one generation apart
    keyless_limits: Limits = {}  # how often callers without a key may ask, all together


NO_VERBS: frozenset[str] = frozenset()


def with_implied(verbs: frozenset[str] | set[str] | list[str] | tuple[str, ...]) -> frozenset[str]:
    """Return `verbs` with those they include: `predict` and `explain` include `view`."""
    return frozenset(verbs) | {implied for verb in verbs for implied in IMPLIED_VERBS.get(verb, ())}
