"""NVIDIA Triton, through PyTriton: each model a Python callable with two instances."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.opponents.opponent import Known
from benchmarks.opponents.servers.estimators import FOLDER, NAMES, Estimator


def callable_of(model: Estimator, known: Known) -> Any:
    """Return the function Triton calls with arrays."""

    @batch  # type: ignore[untyped-decorator]
    def infer(**arrays: np.ndarray) -> dict[str, np.ndarray]:
        if not known.columns:
            return {"probabilities": np.array(model.probabilities(arrays["X"]))}  # type: ignore[arg-type]
        columns = [arrays[name][:, 0] for name in known.columns]
        words = [np.char.decode(c.astype(np.bytes_), "utf-8") if c.dtype.kind in "OS" else c for c in columns]
        return {"probabilities": np.array(model.probabilities(list(zip(*words, strict=True))))}

    return infer


def inputs_of(known: Known) -> list[Tensor]:
    """Return the tensors that the model takes."""
    if not known.columns:
        return [Tensor(name="X", dtype=np.float64, shape=(len(known.rows[0]),))]
    kinds = [np.bytes_ if isinstance(value, str) else np.float64 for value in known.rows[0]]
    return [Tensor(name=n, dtype=k, shape=(1,)) for n, k in zip(known.columns, kinds, strict=True)]


if __name__ == "__main__":
    port = int(sys.argv[1])
    config = TritonConfig(
        http_port=port, grpc_port=port + 1, metrics_port=port + 2, http_address="127.0.0.1", log_verbose=0
    )
    with Triton(config=config) as triton:
        for name in NAMES:
            known = Known.read(FOLDER, name)
            triton.bind(
                model_name=name,
                infer_func=[callable_of(Estimator(name), known) for _ in range(2)],
                inputs=inputs_of(known),
                outputs=[Tensor(name="probabilities", dtype=np.float64, shape=(len(known.probabilities[0]),))],
                config=ModelConfig(max_batch_size=256, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
                strict=False,
            )
        triton.serve()
