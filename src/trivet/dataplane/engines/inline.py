"""The inline engine: the runtime lives in this process and runs in the caller's thread."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence

import numpy as np

from trivet.core.errors import Unavailable
from trivet.dataplane.engines.base import Engine, LoadedVersion
from trivet.dataplane.engines.guard import Guard
from trivet.dataplane.engines.warming import warm
from trivet.model.bundle.bundle import Bundle
from trivet.model.runtimes.base import Runtime, runtime_class

logger = logging.getLogger(__name__)


class InlineVersion(LoadedVersion):
    """A runtime in this process."""

    def __init__(self, runtime: Runtime, digest: str, guard: Guard) -> None:
        self._slots = guard.slots
        self._place = guard.place(digest)
        self._stalls = guard.stalls(digest)
        self._runtime = runtime
        self._run = runtime.run
        self._digest = digest

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        deadline: float = math.inf,  # noqa: ARG002  (a run of microseconds cannot be stopped)
    ) -> list[np.ndarray]:
        began = time.thread_time_ns() if self._stalls.is_watched else 0
        self._slots[self._place] = 1  # whoever sees this process die looks here
        try:
            return self._run(inputs, outputs)
        except Exception as error:
            logger.warning("event=model_failed digest=%s error=%s", self._digest[:12], type(error).__name__)
            raise Unavailable("the model failed on this request.", code="MODEL_FAILED") from error
        finally:
            self._slots[self._place] = 0
            if began:
                self._stalls.note_run(time.thread_time_ns() - began)

    def unload(self) -> None:
        self._runtime.close()


class InlineEngine(Engine):
    """Runs what may run inline: ONNX that was compiled here or audited."""

    is_in_process = True

    def __init__(self, guard: Guard | None = None) -> None:
        """Tell `guard` what runs; without one, nobody who sees this process die knows."""
        self._guard = guard or Guard()

    def accepts(self, bundle: Bundle) -> bool:
        """True for a bundle whose manifest says so, of a runtime that may, and that is not given up."""
        if self._guard.has_given_up(bundle.digest) or not bundle.manifest.compile.get("may_run_inline"):
            return False  # before its runtime is imported: a native one has no place in this process
        return runtime_class(bundle.manifest.runtime).may_run_inline

    def load(self, bundle: Bundle) -> InlineVersion:
        runtime_type = runtime_class(bundle.manifest.runtime)
        version = InlineVersion(runtime_type.load(bundle), bundle.digest, self._guard)
        version.cost_us_per_row = warm(version, bundle)
        return version

    def has_given_up(self, digest: str) -> bool:
        return self._guard.has_given_up(digest)
