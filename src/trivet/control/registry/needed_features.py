"""Needed features: what a version reads of a row, and which code that runs has no such feature."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from trivet.control.registry.declarations import declared, declared_features
from trivet.core.errors import did_you_mean, quoted
from trivet.core.signature import Signature, enumerate_names

if TYPE_CHECKING:
    from trivet.control.registry.models import ModelVersion


class Needs(NamedTuple):
    """What a version needs of the class that its rows come from."""

    features: str  # as code names it: "customers.ml.ChurnFeatures"
    names: tuple[str, ...]


def needs_of(version: ModelVersion) -> Needs | None:
    """Return what a version needs of the class that its model's Predictor names, or else of the one that it was trained on.

    None where neither is, and where it takes its inputs by their place and not by name.
    """
    said = (version.manifest.get("features") or {}).get("class")
    features = declared(version.model.name).features or (said if isinstance(said, str) else "")
    names = names_read(version.read_signature())
    return Needs(features, names) if features and names else None


def names_read(signature: Signature) -> tuple[str, ...]:
    """Return the names of what a version reads of a row, without those that may be left out; none where inputs have none."""
    if not all(spec.is_column or spec.columns for spec in signature.inputs):
        return ()
    return tuple(name for spec in signature.inputs if not spec.may_be_left_out for name in spec.field_names)


def lacking(version: ModelVersion, known: Mapping[str, Collection[str]] | None = None, whose: str = "") -> str:
    """Return what code lacks of what a version needs, as a sentence; "" where it has all of it.

    `known` has the names of the features of each class of that code, which is `whose`; by default it is this process's.
    """
    needs = needs_of(version)
    if needs is None:
        return ""
    code = declared_features() if known is None else known
    kind = needs.features.rpartition(".")[2]
    missing = [name for name in needs.names if name not in code.get(needs.features, ())]
    if not missing:
        return ""
    expects = f"{version} expects {enumerate_names([quoted(name) for name in missing])}; {whose}"
    if needs.features not in code:
        return f"{expects}there is no {kind}.{did_you_mean(needs.features, code)}"
    return f"{expects}{kind} has no such feature.{did_you_mean(missing[0], code[needs.features])}"
