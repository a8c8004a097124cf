"""Verify: is what is stored still what was registered, and does it still answer as it did?"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from trivet.control.registry.golden import cases_of
from trivet.control.registry.models import ModelVersion
from trivet.control.registry.probing import probe_here
from trivet.control.registry.signing import Found, check_version, signatures_of
from trivet.control.registry.storage import audit_bundle
from trivet.core.errors import Refused, TrivetError
from trivet.model.bundle.golden import GoldenCase


@dataclass(frozen=True)
class Verified:
    """What was found of one version: what was replayed, and each thing that is not as it should be."""

    version: ModelVersion
    rows: int = 0
    golden_cases: int = 0
    problems: tuple[str, ...] = ()
    signatures: tuple[Found, ...] = ()

    @property
    def is_sound(self) -> bool:
        """True when nothing moved."""
        return not self.problems


def verify_versions(versions: Collection[ModelVersion]) -> Iterator[Verified]:
    """Yield what is found of each of `versions`; takes about a second each, in a fresh process."""
    cases = {name: cases_of(name) for name in {version.model.name for version in versions}}
    for version in versions:
        yield _verified(version, cases[version.model.name])


def versions_to_verify(model: str | None, *, everything: bool) -> list[ModelVersion]:
    """Return what is in use; with `everything`, whatever is ready. `model` narrows it to one."""
    versions = ModelVersion.objects.select_related("model").order_by("model__name", "number")
    if model is not None:
        versions = versions.filter(model__name=model)
    if everything:
        return list(versions.ready())
    return list(versions.in_use())


def _verified(version: ModelVersion, cases: Collection[GoldenCase]) -> Verified:
    try:
        bundle = audit_bundle(version.digest)
        signatures = tuple(signatures_of(version))
    except TrivetError as error:
        return Verified(version, problems=(error.message,))
    problems = [one.problem for one in signatures if one.problem] or _unsigned(version)
    if bundle.signature != version.read_signature() or bundle.manifest.runtime != version.runtime:
        problems.append("the registry's row says another signature or runtime than the bundle's manifest")
    found = probe_here(bundle, cases)
    if not found.passed:
        problems.append(found.reason)
    problems += [f"golden case {failure}" for failure in found.golden_failures]
    return Verified(version, found.rows, len(found.golden), tuple(problems), signatures)


def _unsigned(version: ModelVersion) -> list[str]:
    try:
        check_version(version)
    except Refused as refusal:
        return [refusal.message]
    return []
