"""The exposition: counts as the text that Prometheus reads (format 0.0.4), names and labels as the families say."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import accumulate

from trivet.dataplane.metrics.families import (
    BOUNDS_NS,
    BUCKETS,
    BY_NAME,
    FAMILIES,
    ROW_BOUNDS,
    ROW_BUCKETS,
    UNKNOWN,
    Family,
)
from trivet.dataplane.metrics.host import Counts
from trivet.dataplane.metrics.sheet import VALUE, value_of
from trivet.dataplane.metrics.totals import (
    CACHED,
    CALLS,
    DECODE as FIRST_STAGE,
    FALLEN_BACK,
    IN_BATCH,
    QUICK,
    ROWS,
    RUN,
    SLOW,
    STAGES,
    rows_of,
)

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
OK = "OK"  # in place of an error's code

Labels = tuple[str, ...]
_INSTANTS = {family.name for family in FAMILIES if family.is_age}
_SECONDS = [repr(bound / 1e9) for bound in BOUNDS_NS]


class _Histogram:
    """How many fell into each bucket, and their sum: in nanoseconds, or in rows."""

    __slots__ = ("buckets", "sum")

    def __init__(self, buckets: int) -> None:
        self.buckets = [0] * buckets
        self.sum = 0

    def add(self, buckets: Iterable[int], total: int = 0) -> None:
        self.buckets = [a + b for a, b in zip(self.buckets, buckets, strict=True)]
        self.sum += total

    def add_rows(self, label: str, times: int, rows: int) -> None:
        """Add `times` calls that count by `label`, with so many `rows` in all."""
        self.buckets[min(int(label.rstrip("+")).bit_length(), ROW_BUCKETS) - 1] += times
        self.sum += rows


class Exposition:
    """The samples of one scrape. Series of models that are not in `models` are left out: they are no more."""

    def __init__(self, counts: Counts, models: Collection[str]) -> None:
        self._models = {*models, UNKNOWN}
        self._values: dict[str, dict[Labels, float]] = {family.name: {} for family in FAMILIES}
        self._histograms: dict[str, dict[Labels, _Histogram]] = {
            family.name: {} for family in FAMILIES if family.kind == "histogram"
        }
        for (kind, *labels), values in counts.items():
            take = _TAKE.get(kind)
            if take is not None:
                take(self, labels, values)

    def set(self, name: str, *labels: str, value: float) -> None:
        """Say what a gauge is, now that it is asked for."""
        self._values[name][labels] = value

    def add(self, name: str, *labels: str, value: int) -> None:
        """Add to what is told of a series, now that it is asked for."""
        values = self._values[name]
        values[labels] = values.get(labels, 0) + value

    def text(self) -> bytes:
        """Return all of it as text, families in their own order, series sorted."""
        lines: list[str] = []
        for family in FAMILIES:
            samples = list(self._samples(family))
            if samples:
                lines += (f"# HELP {family.name} {family.doc}", f"# TYPE {family.name} {family.kind}", *samples)
        return "\n".join([*lines, ""]).encode()

    def _samples(self, family: Family) -> Iterable[str]:
        name = family.name
        for labels, value in sorted(self._values[name].items()):
            if self._is_told(family, labels):
                yield f"{name}{braces(family.labels, labels)} {_number(value)}"
        for labels, histogram in sorted(self._histograms.get(name, {}).items()):
            if self._is_told(family, labels):
                yield from _of_histogram(family, labels, histogram)

    def _is_told(self, family: Family, labels: Labels) -> bool:
        return family.labels[:1] != ("model",) or labels[0] in self._models

    def _histogram(self, name: str, labels: Labels) -> _Histogram:
        return self._histograms[name].setdefault(
            labels, _Histogram(ROW_BUCKETS if BY_NAME[name].counts_rows else BUCKETS)
        )

    # --- what each kind of run tells ----------------------------------------------------------------------------------

    def _take_answers(self, labels: list[str], values: list[int]) -> None:
        model, version, protocol, how, rows = labels
        count, quick = values[QUICK] + values[SLOW], [values[QUICK]] + [0] * (BUCKETS - 1)
        self.add("trivet_requests_total", model, version, protocol, OK, value=count)
        answered = rows_of(rows, count, values[ROWS])
        self.add("trivet_rows_total", model, version, value=answered)
        if how == RUN and rows != "0":
            self._add_calls(model, version, rows, count, answered)
        stages = values[FIRST_STAGE : FIRST_STAGE + len(STAGES)]
        self._histogram("trivet_request_seconds", (model, version, protocol)).add(quick, sum(stages))
        for stage, ns in zip(STAGES, stages, strict=True):
            if stage != "infer" or how != CACHED:
                self._histogram("trivet_stage_seconds", (model, stage)).add(quick, ns)

    def _take_spread(self, labels: list[str], values: list[int]) -> None:
        model, version, protocol, how = labels
        self._histogram("trivet_request_seconds", (model, version, protocol)).add(values[:BUCKETS])
        for place, stage in enumerate(STAGES, start=1):
            if stage != "infer" or how != CACHED:
                buckets = values[place * BUCKETS : (place + 1) * BUCKETS]
                self._histogram("trivet_stage_seconds", (model, stage)).add(buckets)

    def _take_refused(self, labels: list[str], values: list[int]) -> None:
        model, version, protocol, code = labels
        if protocol == FALLEN_BACK:
            self.add("trivet_fallbacks_total", model, version, code, value=values[0])
            return
        self.add("trivet_rejected_total", model, code, value=values[0])
        if protocol:
            self.add("trivet_requests_total", model, version, protocol, code, value=values[0])

    def _take_lookup(self, labels: list[str], values: list[int]) -> None:
        self.add("trivet_cache_lookups_total", labels[0], labels[2], value=values[0])

    def _take_batch(self, labels: list[str], values: list[int]) -> None:
        model, version, rows = labels
        self._add_calls(model, version, rows, values[CALLS], rows_of(rows, values[CALLS], values[IN_BATCH]))

    def _add_calls(self, model: str, version: str, label: str, calls: int, rows: int) -> None:
        self.add("trivet_executions_total", model, version, value=calls)
        self._histogram("trivet_batch_rows", (model,)).add_rows(label, calls, rows)

    def _take_value(self, labels: list[str], values: list[int]) -> None:
        name, *rest = labels
        if name in _INSTANTS:
            self.set(name, *rest, value=max(time.monotonic_ns() - values[0], 0) / 1e9)
        elif name in BY_NAME:  # not a count of another release
            self.add(name, *rest, value=values[0])

    def _take_float(self, labels: list[str], values: list[int]) -> None:
        name, *rest = labels
        if name in BY_NAME and not math.isnan(value := value_of(values[0])):
            self.set(name, *rest, value=value)

    def _take_histogram(self, labels: list[str], values: list[int]) -> None:
        name, *rest = labels
        if name in self._histograms:
            self._histogram(name, tuple(rest)).add(values[:BUCKETS], values[BUCKETS])


_TAKE: Mapping[str, Callable[[Exposition, list[str], list[int]], None]] = {
    "answers": Exposition._take_answers,
    "spread": Exposition._take_spread,
    "refused": Exposition._take_refused,
    "lookup": Exposition._take_lookup,
    "batch": Exposition._take_batch,
    "count": Exposition._take_value,
    "gauge": Exposition._take_value,
    "least": Exposition._take_value,
    VALUE: Exposition._take_float,
    "histogram": Exposition._take_histogram,
}


def _of_histogram(family: Family, labels: Labels, histogram: _Histogram) -> Iterable[str]:
    counts = list(accumulate(histogram.buckets))
    bounds = [str(bound) for bound in ROW_BOUNDS] if family.counts_rows else _SECONDS
    total = histogram.sum if family.counts_rows else histogram.sum / 1e9
    for bound, count in zip([*bounds, "+Inf"], counts, strict=True):
        yield f"{family.name}_bucket{braces((*family.labels, 'le'), (*labels, bound))} {count}"
    yield f"{family.name}_sum{braces(family.labels, labels)} {_number(total)}"
    yield f"{family.name}_count{braces(family.labels, labels)} {counts[-1]}"


def braces(names: Labels, values: Labels) -> str:
    """Return labels as they stand behind a name."""
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) or not value.is_integer() or math.isinf(value) else str(int(value))
