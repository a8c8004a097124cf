"""What one row costs, compiled and native: the reason to compile, measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from trivet.model.compile.original import Original
from trivet.model.compile.report import Speed

CALLS = 200
WARM_UPS = 20
NATIVE_WARM_UPS = 2
MOST_SECONDS = 0.5  # a slow original is asked less often
NANOSECONDS_A_MICROSECOND = 1_000


def measure(
    original: Original,
    sample: pd.DataFrame,
    run: Callable[[Mapping[str, np.ndarray]], Any],
    tensors: Mapping[str, np.ndarray],
) -> Speed:
    """Return the median cost of answering one row of `sample`: `run` over `tensors`, and the original over the same row."""
    row = sample.head(1)
    return Speed(
        compiled=_median(lambda: run(tensors), WARM_UPS),
        native=_median(lambda: original.answers(row), NATIVE_WARM_UPS),
    )


def _median(call: Callable[[], Any], warm_ups: int) -> float:
    for _ in range(warm_ups):
        call()
    costs: list[int] = []
    deadline = time.perf_counter() + MOST_SECONDS
    while len(costs) < CALLS and (time.perf_counter() < deadline or not costs):
        before = time.perf_counter_ns()
        call()
        costs.append(time.perf_counter_ns() - before)
    return statistics.median(costs) / NANOSECONDS_A_MICROSECOND
