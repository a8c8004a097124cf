"""Environments that the registry's versions need of their own, on whichever machine runs them."""

from __future__ import annotations

from dataclasses import dataclass, field

from trivet.control.registry.storage import fetch_bundle
from trivet.control.registry.verifying import versions_to_verify
from trivet.core.errors import BundleError, Unavailable
from trivet.model.environments.environment import Needs, needs_of


@dataclass(frozen=True)
class InUse:
    """What versions in use need, and which these are, as "late 3"; and of which it cannot be told, with the reason."""

    needed: dict[Needs, list[str]] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


def environments_in_use() -> InUse:
    """Return the environments that versions in use need; a bundle that cannot be read hides those of no other."""
    found = InUse()
    for version in versions_to_verify(None, everything=False):
        if not version.has_own_environment:
            continue
        try:
            needs = needs_of(fetch_bundle(version.digest))
        except (BundleError, Unavailable) as error:
            found.unknown[str(version)] = error.message
        else:
            if needs is not None:
                found.needed.setdefault(needs, []).append(str(version))
    return found
