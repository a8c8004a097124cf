"""The speed gate: what one row costs, compiled and native. A graph that answers later than the original does not serve."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from trivet.model.compile.original import Original
from trivet.model.compile.report import Speed

CALLS = 200
WARM_UPS = 20
BATCH_ROWS = 64
MOST_SECONDS = 0.5  # for one of the four figures: whoever is slow is asked less often
TRIES = 3  # a graph is called slower only when it was every time: another process may have had the core
HOP_MICROSECONDS = (
    100.0  # to a model worker and back, which an original needs and most graphs do not; until the probe measures
)
NANOSECONDS_A_MICROSECOND = 1_000

Run = Callable[[], Any]


def measure(original: Original, sample: pd.DataFrame, compiled: Callable[[pd.DataFrame], Run]) -> Speed:
    """Return what answering one row of `sample`, and 64, costs the original and the graph: medians of up to 200 calls.

    `compiled` takes rows and returns what is to be measured, with its tensors made. A graph that seems too slow is
    measured again, since whatever else the machine does makes a cost look larger, never smaller. Takes up to 4 seconds.
    """
    row = sample.head(1)
    batch = sample.iloc[[place % len(sample) for place in range(BATCH_ROWS)]]
    speed = Speed(
        compiled=_median(compiled(row)),
        native=_median(partial(original.answers, row)),
        compiled_batch=_median(compiled(batch)),
        native_batch=_median(partial(original.answers, batch)),
    )
    for _ in range(TRIES - 1):
        if not is_slower(speed):
            break
        again = Speed(_median(compiled(row)), _median(partial(original.answers, row)))
        if again.compiled - again.native < speed.compiled - speed.native:
            speed = Speed(again.compiled, again.native, speed.compiled_batch, speed.native_batch)
    return speed


def is_slower(speed: Speed) -> bool:
    """Tell whether a single row costs the graph more than the original and the way to a model worker."""
    return speed.compiled > speed.native + HOP_MICROSECONDS


def slower_sentence(speed: Speed) -> str:
    """Return both figures as the reason why a graph does not serve."""
    return (
        f"compiled, it answers a row in {speed.compiled:.0f} µs; the original takes {speed.native:.0f} µs "
        f"and {HOP_MICROSECONDS:.0f} µs to a model worker."
    )


def _median(call: Run) -> float:
    deadline = time.perf_counter() + MOST_SECONDS
    for _ in range(WARM_UPS):
        call()
        if time.perf_counter() > deadline:
            break
    costs: list[int] = []
    deadline = time.perf_counter() + MOST_SECONDS
    while len(costs) < CALLS and (time.perf_counter() < deadline or not costs):
        before = time.perf_counter_ns()
        call()
        costs.append(time.perf_counter_ns() - before)
    return statistics.median(costs) / NANOSECONDS_A_MICROSECOND
