"""What the server and its models say of themselves (protocol, sections 1, 11 and 14)."""

from __future__ import annotations

from typing import Any

import msgspec

from trivet.core.errors import NotFound
from trivet.core.signature import Input, Signature
from trivet.core.snapshot import ModelEntry

encode = msgspec.json.Encoder().encode
EXTENSIONS = ["parameters", "trivet_rows"]  # what is offered by now, in the words of protocol section 1
PLATFORMS = {"onnx": "onnx_onnxv1"}


def server(release: str) -> bytes:
    """Return the server's metadata."""
    return encode({"name": "trivet", "version": release, "extensions": EXTENSIONS})


def model(entry: ModelEntry, selector: str | None) -> bytes:
    """Return a model's metadata: the tensors of the version `selector` names, else of the champion.

    Raises `NotFound` for a version or alias outside the snapshot.
    """
    number = _described(entry, selector)
    version = entry.versions.get(number)
    if version is None:
        raise NotFound(
            f"{entry.name} has no version or alias {(selector or 'champion')[:40]!r}.", code="UNKNOWN_VERSION"
        )
    versions = [number] if selector is not None else sorted(entry.versions)
    signature = version.signature
    return encode(
        {
            "name": entry.name,
            "versions": [str(n) for n in versions],
            "platform": PLATFORMS.get(version.runtime, f"trivet_{version.runtime}"),
            "inputs": [_input(i) for i in signature.inputs],
            "outputs": _outputs(signature),
            "properties": {"digest": version.digest, "runtime": version.runtime},
        }
    )


def _described(entry: ModelEntry, selector: str | None) -> int:
    if selector is not None:
        return entry.aliases.get(selector) or (int(selector) if selector.isdigit() else 0)
    return entry.aliases.get("champion") or max(
        (r.version for r in entry.routes), default=max(entry.versions, default=0)
    )


def _input(spec: Input) -> dict[str, Any]:
    tensor: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
    marks = {name: True for name, is_set in (("nullable", spec.nullable), ("optional", spec.optional)) if is_set}
    if marks:
        tensor["parameters"] = marks
    return tensor


def _outputs(signature: Signature) -> list[dict[str, Any]]:
    return [{"name": o.name, "datatype": o.datatype, "shape": list(o.shape)} for o in signature.outputs]
