"""Totals: what was counted of one version by all processes of this host, in the terms of Triton's statistics."""

from __future__ import annotations

from dataclasses import dataclass, field

from trivet.dataplane.metrics.host import Counts

STAGES = ("decode", "validate", "queue", "infer", "encode", "record")

# The slots of each kind of run, and its labels.
QUICK, SLOW, ROWS, DECODE, VALIDATE, QUEUE, INFER, ENCODE, RECORD = range(9)
ANSWERS = 9  # "answers": model, version, protocol, how, rows
CALLS, IN_BATCH, RUNNING = range(3)
BATCH = 3  # "batch", what an engine counts of its calls: model, version, rows
TIMED = 2  # "refused": model, version, protocol, code; "lookup": model, version, result. How often, nanoseconds

RUN, BATCHED, CACHED = "run", "batched", "cached"  # how: a call of its own, one that the engine counts, none
FALLEN_BACK = "fallback"  # in place of a protocol: a version failed, and another answered the request
EXACT_ROWS = 64  # up to here each number of rows has its own run; beyond, each power of two


def rows_label(rows: int) -> str:
    """Return what a run counts by: "3" for three rows, "128+" for 128 to 255."""
    return str(rows) if rows <= EXACT_ROWS else f"{1 << rows.bit_length() - 1}+"


@dataclass(slots=True)
class Duration:
    """How often, and how many nanoseconds in all."""

    count: int = 0
    ns: int = 0

    def add(self, count: int, ns: int) -> None:
        """Add `count` times and `ns` nanoseconds."""
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class BatchTotals:
    """What calls of the model with one number of rows took."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


@dataclass(slots=True)
class Totals:
    """Of one version. `success` and `queue` include answers from the cache; rows, calls and what they took do not."""

    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)  # decode and validate
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)  # encode and record
    cache_hit: Duration = field(default_factory=Duration)
    cache_miss: Duration = field(default_factory=Duration)
    inference_count: int = 0  # rows
    execution_count: int = 0  # calls of the model
    last_inference: int = 0  # milliseconds since 1970; 0 for never
    batches: dict[int, BatchTotals] = field(default_factory=dict)  # by rows of a call; over 64, the power of two below


def totals_of(counts: Counts) -> dict[tuple[str, int], Totals]:
    """Return the totals of each model and version in `counts`."""
    found: dict[tuple[str, int], Totals] = {}
    for (kind, *labels), values in counts.items():
        add = _ADD.get(kind)
        if (
            add is not None and labels[1]
        ):  # a request that was refused before its version was known is none of its failures
            add(found.setdefault((labels[0], int(labels[1])), Totals()), labels, values)
    return found


def rows_of(label: str, times: int, counted: int) -> int:
    """Return the rows of `times` requests or calls: `counted` where the label stands for several numbers."""
    return counted if label.endswith("+") else times * int(label)


def _add_answers(into: Totals, labels: list[str], values: list[int]) -> None:
    _, _, _, how, label = labels
    count, nanoseconds = values[QUICK] + values[SLOW], sum(values[DECODE:])
    into.success.add(count, nanoseconds)
    into.queue.add(count, values[QUEUE])
    if how == CACHED:
        into.cache_hit.add(count, nanoseconds)
        return
    into.inference_count += rows_of(label, count, values[ROWS])
    durations = (values[DECODE] + values[VALIDATE], values[INFER], values[ENCODE] + values[RECORD])
    _add_computing(into, count, *durations)
    if how == RUN and label != "0":  # without rows the model is not called
        _add_calls(into, label, count, *durations)


def _add_batch(into: Totals, labels: list[str], values: list[int]) -> None:
    _add_calls(into, labels[2], values[CALLS], 0, values[RUNNING], 0)


def _add_refused(into: Totals, _: list[str], values: list[int]) -> None:
    into.fail.add(*values)


def _add_lookup(into: Totals, labels: list[str], values: list[int]) -> None:
    if labels[2] == "miss":
        into.cache_miss.add(*values)


def _add_last(into: Totals, _: list[str], values: list[int]) -> None:
    into.last_inference = values[0] // 1_000_000


def _add_calls(into: Totals, label: str, calls: int, *durations: int) -> None:
    into.execution_count += calls
    _add_computing(into.batches.setdefault(int(label.rstrip("+")), BatchTotals()), calls, *durations)


def _add_computing(into: Totals | BatchTotals, count: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
    into.compute_input.add(count, input_ns)
    into.compute_infer.add(count, infer_ns)
    into.compute_output.add(count, output_ns)


_ADD = {"answers": _add_answers, "batch": _add_batch, "refused": _add_refused, "lookup": _add_lookup, "last": _add_last}
