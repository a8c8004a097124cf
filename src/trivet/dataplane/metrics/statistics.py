"""Statistics in Triton's words, made of what all processes of this host have counted (protocol, section 12)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trivet.dataplane.metrics.totals import Totals

_STAGES = (
    *("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"),
    *("cache_hit", "cache_miss"),
)


def statistics_of(model: str, version: int, totals: Totals | None, memory_bytes: int | None = None) -> dict[str, Any]:
    """Return the statistics of one version; zeros where nothing was counted of it yet.

    Durations are `{"count","ns"}`, `last_inference` is in milliseconds since 1970. A call of over 64 rows is told under
    the power of two below. `memory_bytes` is what the version's model workers use; a version that runs inline has no
    memory of its own to measure, and none is told.
    """
    totals = totals or Totals()
    told = asdict(totals)
    return {
        "name": model,
        "version": str(version),
        "last_inference": totals.last_inference,
        "inference_count": totals.inference_count,
        "execution_count": totals.execution_count,
        "inference_stats": {stage: told[stage] for stage in _STAGES},
        "response_stats": {},
        "batch_stats": [{"batch_size": rows, **asdict(batch)} for rows, batch in sorted(totals.batches.items())],
        "memory_usage": [] if memory_bytes is None else [{"type": "CPU", "id": 0, "byte_size": memory_bytes}],
    }
