"""The inline engine: the runtime lives in this process and runs in the caller's thread."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence

import numpy as np

from trivet.core.datatypes import NUMPY_DTYPES
from trivet.core.errors import Unavailable
from trivet.core.signature import Input
from trivet.dataplane.engines.base import Engine, LoadedVersion
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.sample import SAMPLE_NAME, decode_sample
from trivet.model.runtimes.base import Runtime, runtime_class

logger = logging.getLogger(__name__)

WARM_UP_RUNS = 20  # the first runs of a session allocate; the cost is measured over as many after them


class InlineVersion(LoadedVersion):
    """A runtime in this process."""

    def __init__(self, runtime: Runtime, digest: str) -> None:
        self._runtime = runtime
        self._run = runtime.run
        self._digest = digest

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        deadline: float = math.inf,  # noqa: ARG002  (a run of microseconds cannot be stopped)
    ) -> list[np.ndarray]:
        try:
            return self._run(inputs, outputs)
        except Exception as error:
            logger.warning("event=model_failed digest=%s error=%s", self._digest[:12], type(error).__name__)
            raise Unavailable("the model failed on this request.", code="MODEL_FAILED") from error

    def unload(self) -> None:
        self._runtime.close()


class InlineEngine(Engine):
    """Runs what may run inline: ONNX that was compiled here or audited."""

    def accepts(self, bundle: Bundle) -> bool:
        """True for a bundle whose manifest says so, of a runtime that may."""
        runtime_type = runtime_class(bundle.manifest.runtime)
        return runtime_type.may_run_inline and bool(bundle.manifest.compile.get("may_run_inline"))

    def load(self, bundle: Bundle) -> InlineVersion:
        runtime_type = runtime_class(bundle.manifest.runtime)
        version = InlineVersion(runtime_type.load(bundle), bundle.digest)
        version.cost_us_per_row = _warm(version, bundle)
        return version


def _warm(version: InlineVersion, bundle: Bundle) -> float:
    """Run one row until the session is warm; return the mean cost of a row in microseconds."""
    feed = first_row(bundle)
    outputs = [output.name for output in bundle.signature.outputs]
    for _ in range(WARM_UP_RUNS):
        version.run(feed, outputs)
    started = time.perf_counter_ns()
    for _ in range(WARM_UP_RUNS):
        version.run(feed, outputs)
    return (time.perf_counter_ns() - started) / WARM_UP_RUNS / 1000


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
