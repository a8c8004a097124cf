"""A version's configuration in Triton's words (protocol, section 12)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from trivet.core.signature import Input, Output
from trivet.core.snapshot import ModelEntry
from trivet.dataplane.protocol.metadata import described, platform_of


class Workers(NamedTuple):
    """The model workers of one version: how many run, and how they batch."""

    instances: int
    max_batch_rows: int  # of the requests that share a run; 1 where none may
    max_batch_delay_ms: float


def configuration(
    entry: ModelEntry,
    selector: str | None,
    max_rows: int,
    *,
    workers: Workers | None = None,
    cached: Collection[int] = (),
) -> dict[str, Any]:
    """Return the configuration of the version that `selector` names, else of the champion.

    Where rows are free, `max_batch_size` is how many a request may have and the shapes leave them out; else it is 0.
    `workers` are those of its own that the version runs in; without, it runs in the process that is asked, by itself.
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
        "instance_group": [
            {"name": f"{entry.name}_0", "count": workers.instances if workers else 1, "kind": "KIND_CPU"}
        ],
        **(_batching(workers) if workers and workers.max_batch_rows > 1 else {}),
        "response_cache": {"enable": version.number in cached},
        "parameters": {"digest": {"string_value": version.digest}},
    }


def _batching(workers: Workers) -> dict[str, Any]:
    return {"dynamic_batching": {"max_queue_delay_microseconds": round(workers.max_batch_delay_ms * 1000)}}


def _tensors(tensors: Sequence[Input | Output], places: slice) -> list[dict[str, Any]]:
    return [{"name": t.name, "data_type": _data_type(t.datatype), "dims": list(t.shape)[places]} for t in tensors]


def _data_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
