"""What the server and its models say of themselves (protocol, sections 1, 11 and 14)."""

from __future__ import annotations

from typing import Any

import msgspec

from trivet.core.errors import NotFound
from trivet.core.signature import Input, Signature
from trivet.core.snapshot import ModelEntry, VersionEntry

encode = msgspec.json.Encoder().encode
EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
    "trivet_rows",
    "trivet_feedback",
    "trivet_openapi",
]  # what is offered by now, in protocol section 1's words
PLATFORMS = {"onnx": "onnx_onnxv1"}


def server(release: str) -> dict[str, Any]:
    """Return the server's metadata."""
    return {"name": "trivet", "version": release, "extensions": EXTENSIONS}


def model(entry: ModelEntry, selector: str | None) -> dict[str, Any]:
    """Return a model's metadata: the tensors of the version `selector` names, else of the champion.

    Raises `NotFound` for a version or alias outside the snapshot.
    """
    version = described(entry, selector)
    versions = [version.number] if selector is not None else sorted(entry.versions)
    signature = version.signature
    return {
        "name": entry.name,
        "versions": [str(n) for n in versions],
        "platform": platform_of(version),
        "inputs": [_input(i) for i in signature.inputs],
        "outputs": _outputs(signature),
        "properties": {"digest": version.digest, "runtime": version.runtime},
    }


def described(entry: ModelEntry, selector: str | None) -> VersionEntry:
    """Return the version that `selector` names; without one the champion, else the highest that is routed, else the newest.

    Raises `NotFound` for a version or alias outside the snapshot.
    """
    if selector is not None:
        number = entry.aliases.get(selector) or (int(selector) if selector.isdigit() else 0)
    else:
        routed = max((route.version for route in entry.routes), default=0)
        number = entry.aliases.get("champion") or routed or max(entry.versions, default=0)
    version = entry.versions.get(number)
    if version is None:
        raise NotFound(
            f"{entry.name} has no version or alias {(selector or 'champion')[:40]!r}.", code="UNKNOWN_VERSION"
        )
    return version


def platform_of(version: VersionEntry) -> str:
    """Return the protocol's name for a version's runtime."""
    return PLATFORMS.get(version.runtime, f"trivet_{version.runtime}")


def _input(spec: Input) -> dict[str, Any]:
    tensor: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
    marks = {name: True for name, is_set in (("nullable", spec.nullable), ("optional", spec.optional)) if is_set}
    if marks:
        tensor["parameters"] = marks
    return tensor


def _outputs(signature: Signature) -> list[dict[str, Any]]:
    return [{"name": o.name, "datatype": o.datatype, "shape": list(o.shape)} for o in signature.outputs]
