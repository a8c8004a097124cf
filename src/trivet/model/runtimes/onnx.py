"""The ONNX runtime: one session, one thread, on the processor. The only runtime that may run inline."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else it keeps a database in the home folder, and a thread for it

import onnxruntime  # it looks once, when it is imported

from trivet.core.errors import BundleError
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.packing import graph_inputs
from trivet.model.runtimes.base import Runtime

MODEL_FILE = "model.onnx"
FATAL_ONLY = 4  # onnxruntime's log level: what it has to say, it raises


class OnnxRuntime(Runtime):
    """An ONNX graph in ONNX Runtime. `run` is thread-safe and does not hold the interpreter's lock."""

    name: ClassVar[str] = "onnx"
    is_thread_safe: ClassVar[bool] = True
    may_run_inline: ClassVar[bool] = True

    def __init__(self, session: Any) -> None:
        # The wrapper's `run` looks for missing inputs in Python, a fifth of a small graph's time; the corridor has
        # checked them all. Where a release has no such attribute, the wrapper takes the same arguments.
        self._run = getattr(session, "_sess", session).run

    @classmethod
    def load(cls, bundle: Bundle) -> Self:
        model = bundle.files.get(MODEL_FILE)
        if model is None:
            raise BundleError(f"bundle {bundle.digest[:12]}…: {MODEL_FILE} is missing.")
        try:
            session = open_session(model)
        except Exception as error:  # its exceptions share no base class
            raise BundleError(f"bundle {bundle.digest[:12]}…: ONNX Runtime cannot load it: {error}") from error
        graph = {i.name for i in session.get_inputs()}
        declared = graph_inputs(bundle.signature, bundle.manifest.packs).keys()
        if graph != declared:
            raise BundleError(
                f"bundle {bundle.digest[:12]}…: graph and manifest disagree on {sorted(graph ^ declared)}."
            )
        return cls(session)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        answer: list[np.ndarray] = self._run(outputs, inputs, None)
        return answer


def open_session(model: bytes) -> Any:
    """Return an ONNX Runtime session of `model`; raises whatever the runtime raises, whose errors share no base class."""
    return onnxruntime.InferenceSession(model, _options(), providers=["CPUExecutionProvider"])


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # one request, one thread: workers scale by process
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # memory goes back after a large batch
    options.log_severity_level = FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
