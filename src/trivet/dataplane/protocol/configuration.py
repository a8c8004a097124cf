"""A version's configuration in Triton's words (protocol, section 12)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from trivet.core.signature import Input, Output
from trivet.core.snapshot import ModelEntry
from trivet.dataplane.protocol.metadata import described, platform_of


def configuration(
    entry: ModelEntry, selector: str | None, max_rows: int, *, cached: Collection[int] = ()
) -> dict[str, Any]:
    """Return the configuration of the version that `selector` names, else of the champion.

    Where rows are free, `max_batch_size` is how many a request may have and the shapes leave them out; else it is 0.
    `cached` are the versions whose answers may be remembered. Raises `NotFound` for a version or alias outside the snapshot.
    """
    version = described(entry, selector)
    signature = version.signature
    places = slice(1 if signature.has_rows else 0, None)
    return {
        "name": entry.name,
        "platform": platform_of(version),
        "backend": "trivet",
        "version_policy": {"specific": {"versions": [version.number]}},
        "max_batch_size": max_rows if signature.has_rows else 0,
        "input": _tensors(signature.inputs, places),
        "output": _tensors(signature.outputs, places),
        "instance_group": [{"name": f"{entry.name}_0", "count": 1, "kind": "KIND_CPU"}],
        "dynamic_batching": {"max_queue_delay_microseconds": 0},
        "response_cache": {"enable": version.number in cached},
        "parameters": {"digest": {"string_value": version.digest}},
    }


def _tensors(tensors: Sequence[Input | Output], places: slice) -> list[dict[str, Any]]:
    return [{"name": t.name, "data_type": _data_type(t.datatype), "dims": list(t.shape)[places]} for t in tensors]


def _data_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
