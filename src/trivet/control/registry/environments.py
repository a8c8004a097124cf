"""Environments that the registry's versions need of their own, on whichever machine runs them."""

from __future__ import annotations

from trivet.control.registry.storage import fetch_bundle
from trivet.control.registry.verifying import versions_to_verify
from trivet.model.environments.environment import Needs, needs_of


def environments_in_use() -> dict[Needs, list[str]]:
    """Return what versions in use need, and which these are, as "late 3"."""
    found: dict[Needs, list[str]] = {}
    for version in versions_to_verify(None, everything=False):
        if version.has_own_environment and (needs := needs_of(fetch_bundle(version.digest))) is not None:
            found.setdefault(needs, []).append(str(version))
    return found
