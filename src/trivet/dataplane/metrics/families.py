"""The families of metrics: each name with its labels, its kind and what it tells (protocol, section 17)."""

from __future__ import annotations

from typing import NamedTuple

UNKNOWN = "_unknown"  # in place of a model name that is not registered: made-up names add no series
FINEST_NS = 100_000
BOUNDS_NS = (*(FINEST_NS << k for k in range(17)), 10_000_000_000)  # 100 µs, doubled until 6.6 s, then 10 s
BUCKETS = len(BOUNDS_NS) + 1  # the last has no bound


def bucket(nanoseconds: int) -> int:
    """Return the place of the first bound that is not below `nanoseconds`; one beyond the last where there is none."""
    place = (max(nanoseconds - 1, 0) // FINEST_NS).bit_length()
    if place < len(BOUNDS_NS) - 1:
        return place
    return len(BOUNDS_NS) - 1 if nanoseconds <= BOUNDS_NS[-1] else len(BOUNDS_NS)


ROW_BOUNDS = tuple((1 << k) - 1 for k in range(1, 12))  # 1, 3, 7 and so on to 2,047 rows
ROW_BUCKETS = len(ROW_BOUNDS) + 1


class Family(NamedTuple):
    """One metric. `kind` is counter, gauge or histogram; `labels` in the order they are given in.

    A gauge is the sum over the host's processes; with `is_least`, the least of them; with `is_age` they say when
    something was (`time.monotonic_ns()`), and the age of the oldest is told.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    doc: str
    is_least: bool = False
    is_age: bool = False
    counts_rows: bool = False  # a histogram of rows, not of seconds


_OF_VERSION = ("model", "version")

FAMILIES: tuple[Family, ...] = (
    Family(
        "trivet_requests_total",
        "counter",
        ("model", "version", "protocol", "code"),
        "Requests for a prediction, by what came of them: OK or a code of the error catalogue.",
    ),
    Family(
        "trivet_request_seconds",
        "histogram",
        ("model", "version", "protocol"),
        "From the whole body to the whole answer, of requests that were answered.",
    ),
    Family("trivet_stage_seconds", "histogram", ("model", "stage"), "Time at each station of the corridor."),
    Family("trivet_rejected_total", "counter", ("model", "code"), "Requests of any kind that were refused, by error."),
    Family(
        "trivet_fallbacks_total",
        "counter",
        (*_OF_VERSION, "code"),
        "Requests that the version failed, with which error, and another answered.",
    ),
    Family("trivet_auth_failures_total", "counter", ("reason",), "Requests refused for their key, or its grants."),
    Family("trivet_rows_total", "counter", _OF_VERSION, "Rows answered, those from the cache included."),
    Family("trivet_executions_total", "counter", _OF_VERSION, "Calls of the model."),
    Family("trivet_batch_rows", "histogram", ("model",), "Rows of each call of the model.", counts_rows=True),
    Family("trivet_nonfinite_outputs_total", "counter", _OF_VERSION, "Values in answers that were NaN or infinite."),
    Family("trivet_flagged_rows_total", "counter", _OF_VERSION, "Rows with a value outside what training saw."),
    Family("trivet_version_loaded", "gauge", _OF_VERSION, "Processes of this host that have the version loaded."),
    Family(
        "trivet_in_flight",
        "gauge",
        (),
        "Requests of web and gRPC workers that are with a thread or a model worker; others take microseconds.",
    ),
    Family("trivet_queue_depth", "gauge", _OF_VERSION, "Requests that wait for an answer of a model worker."),
    Family(
        "trivet_breaker_open", "gauge", _OF_VERSION, "Processes of this host that find no model worker they may ask."
    ),
    Family("trivet_model_workers", "gauge", _OF_VERSION, "Model workers of this host that answer."),
    Family(
        "trivet_model_worker_restarts_total",
        "counter",
        ("model", "reason"),
        "Model workers that ended and were replaced: crash, hang, memory, tripwire or drain.",
    ),
    Family(
        "trivet_tripwire_total",
        "counter",
        ("process",),
        "Processes that answer (web, grpc or process) and ended because something in them unpickled or started a program.",
    ),
    Family("trivet_model_worker_rss_bytes", "gauge", ("model",), "Memory of the model workers of this host."),
    Family(
        "trivet_cache_lookups_total",
        "counter",
        ("model", "result"),
        "Look-ups in the cache: hit, miss, shared (found in the second level) or bypass.",
    ),
    Family(
        "trivet_inline_stall_seconds",
        "histogram",
        _OF_VERSION,
        "Runs of over 50 ms on an event loop; three in a minute, and the version runs in model workers.",
    ),
    Family(
        "trivet_labels_total",
        "counter",
        ("model", "result"),
        "What became of labels: applied, revised, repeated, waiting for their prediction, or refused.",
    ),
    Family(
        "trivet_folded_rows_total",
        "counter",
        (),
        "Rows of the log that the keeper of this host counted into profiles of their versions.",
    ),
    Family(
        "trivet_fold_lag_seconds",
        "gauge",
        (),
        "How old the newest of the rows was that were counted last, once they were.",
    ),
    Family(
        "trivet_drift_evidence",
        "gauge",
        ("model",),
        "Evidence of drift against the champion, mean M over its series; 1 at rest, an alarm at its budget of windows.",
    ),
    Family(
        "trivet_alerts_open", "gauge", ("model", "severity"), "Alerts that are not over, acknowledged ones included."
    ),
    Family(
        "trivet_label_coverage",
        "gauge",
        ("model",),
        "Share of what the champion was asked in the last 30 days whose outcome is known; from the first label on.",
    ),
    Family(
        "trivet_estimate_trusted",
        "gauge",
        _OF_VERSION,
        "1 while labels fit the champion's estimated quality, 0 when they do not; from 200 labels on.",
    ),
    Family(
        "trivet_performance",
        "gauge",
        (*_OF_VERSION, "metric", "kind"),
        "Quality of the champion in the last 30 days: realised, by labels, and estimated, without labels.",
    ),
    Family("trivet_snapshot_generation", "gauge", (), "The oldest that a process of this host follows.", is_least=True),
    Family("trivet_snapshot_age_seconds", "gauge", (), "Since the process behind most saw the registry.", is_age=True),
    Family(
        "trivet_log_lines_dropped_total",
        "counter",
        (),
        "Lines that standard error did not take at once; answers do not wait for it.",
    ),
    Family("trivet_spool_bytes", "gauge", (), "Disk held by the records of this host on their way into the log."),
    Family("trivet_spool_unshipped_records", "gauge", (), "Records of this host that are not in the log yet."),
    Family("trivet_spool_oldest_seconds", "gauge", (), "Age of the oldest of them; 0 for none."),
    Family(
        "trivet_spool_lost_records_total",
        "counter",
        (),
        "Answers that were sent without a record, because the log could not be written and `TRIVET_SPOOL_FULL` is 'serve'.",
    ),
)
BY_NAME = {family.name: family for family in FAMILIES}
