"""Triton's names for what is counted here, for dashboards that know those (protocol, section 17).

They are untyped: a client library that knew them as counters would append `_total` to their names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from trivet.dataplane.metrics.exposition import braces
from trivet.dataplane.metrics.host import Counts
from trivet.dataplane.metrics.totals import FALLEN_BACK, Totals, totals_of

ALIAS = "triton"
_LABELS = ("model", "version")
_REASONS = {"MODEL_FAILED": "BACKEND", "DEADLINE": "CANCELED", "BODY_TIMEOUT": "CANCELED"} | dict.fromkeys(
    ("QUEUE_FULL", "DRAINING", "RATE", "LOG_UNAVAILABLE", "VERSION_NOT_LOADED"), "REJECTED"
)


def triton_text(counts: Counts, models: Collection[str]) -> bytes:
    """Return the samples of `models` under Triton's names; durations in microseconds."""
    values: dict[str, dict[tuple[str, ...], int]] = {}
    for (model, number), totals in totals_of(counts).items():
        if model in models:
            for name, value in _named(totals):
                values.setdefault(name, {})[model, str(number)] = value
    for (kind, *labels), counted in counts.items():
        if kind == "refused" and labels[0] in models and labels[1] and labels[2] != FALLEN_BACK:
            series = values.setdefault("nv_inference_request_failure", {})
            key = (labels[0], labels[1], _REASONS.get(labels[3], "OTHER"))
            series[key] = series.get(key, 0) + counted[0]
        if kind == "gauge" and labels[0] == "trivet_queue_depth" and labels[1] in models:
            values.setdefault("nv_inference_pending_request_count", {})[labels[1], labels[2]] = counted[0]
    lines = []
    for name, samples in sorted(values.items()):
        lines.append(f"# TYPE {name} untyped")
        lines += [f"{name}{braces((*_LABELS, 'reason')[: len(key)], key)} {samples[key]}" for key in sorted(samples)]
    return "\n".join([*lines, ""]).encode()


def _named(totals: Totals) -> Iterator[tuple[str, int]]:
    computed = (totals.compute_input, totals.compute_infer, totals.compute_output)
    yield "nv_inference_request_success", totals.success.count
    yield "nv_inference_count", totals.inference_count
    yield "nv_inference_exec_count", totals.execution_count
    yield "nv_inference_request_duration_us", totals.success.ns // 1000
    yield "nv_inference_queue_duration_us", totals.queue.ns // 1000
    for stage, duration in zip(("input", "infer", "output"), computed, strict=True):
        yield f"nv_inference_compute_{stage}_duration_us", duration.ns // 1000
    for result, lookups in (("hit", totals.cache_hit), ("miss", totals.cache_miss)):
        yield f"nv_cache_num_{result}{'es' if result == 'miss' else 's'}_per_model", lookups.count
        yield f"nv_cache_{result}_duration_per_model", lookups.ns // 1000
