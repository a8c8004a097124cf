"""Warming: run a version before anybody waits for it, and measure what a row costs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from trivet.core.datatypes import NUMPY_DTYPES
from trivet.core.signature import Input
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.sample import SAMPLE_NAME, decode_sample

WARM_UP_RUNS = 20  # the first runs of a session allocate; the cost is measured over as many after them
WARM_UP_SECONDS = 0.25  # no longer than this, for a model that takes its time


class Runs(Protocol):
    """What can be warmed."""

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], /) -> Any:
        """Run once."""


def warm(runs: Runs, bundle: Bundle) -> float:
    """Run one row until the session is warm; return the mean cost of a row in microseconds."""
    feed = first_row(bundle)
    outputs = [output.name for output in bundle.signature.outputs]
    cost = 0.0
    for _ in range(2):  # the first round warms, the second measures
        started = time.perf_counter()
        done = 0
        while done < WARM_UP_RUNS and (done == 0 or time.perf_counter() - started < WARM_UP_SECONDS):
            runs.run(feed, outputs)
            done += 1
        cost = (time.perf_counter() - started) / done * 1e6
    return cost


def first_row(bundle: Bundle) -> dict[str, np.ndarray]:
    """Return the graph's inputs for the bundle's first sample row, or for a row made from its signature."""
    sample = bundle.files.get(SAMPLE_NAME, b"").partition(b"\n")[0]
    if sample:
        return bundle.feed(decode_sample(bundle.signature, sample)[0])
    return bundle.feed({spec.name: _blank(spec) for spec in bundle.signature.inputs})


def _blank(spec: Input) -> np.ndarray:
    shape = [1 if d == -1 else d for d in spec.shape]
    if spec.datatype == "BYTES":
        return np.full(shape, (spec.categories or ("",))[0], dtype=object)
    return np.zeros(shape, dtype=NUMPY_DTYPES[spec.datatype])
