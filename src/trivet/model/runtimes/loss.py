"""What runs loss.onnx, in the process that ships the log."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from trivet.core.errors import BundleError
from trivet.model.bundle.loss import LOSS_INPUT, LOSS_NAME, LOSS_OUTPUTS
from trivet.model.runtimes.onnx import open_session

ROWS_AT_ONCE = 1_000  # so that what it takes does not grow with what is shipped


class LossModel:
    """Says of rows how wrong the answers to them probably are. Thread-safe."""

    def __init__(self, session: Any) -> None:
        self._session = session

    @classmethod
    def load(cls, graph: bytes) -> Self:
        """Return the loss model in `graph`; raises `BundleError` where it cannot be loaded."""
        try:
            return cls(open_session(graph))
        except Exception as error:  # its exceptions share no base class
            raise BundleError(f"ONNX Runtime cannot load {LOSS_NAME}: {error}") from error

    def expect(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the absolute error to be expected of each row, and its square, (rows,) float64 each.

        `inputs` is what `loss_inputs` makes of rows. Raises `BundleError` where it cannot answer.
        """
        parts = [self._answer(inputs[start : start + ROWS_AT_ONCE]) for start in range(0, len(inputs), ROWS_AT_ONCE)]
        absolute, squared = np.concatenate(parts, axis=1) if parts else np.zeros((2, 0))
        return absolute, squared

    def _answer(self, inputs: np.ndarray) -> np.ndarray:
        try:
            answers = np.array(self._session.run(LOSS_OUTPUTS, {LOSS_INPUT: inputs}), dtype=np.float64)
        except Exception as error:
            raise BundleError(f"{LOSS_NAME} cannot answer: {error}") from error
        if answers.shape != (len(LOSS_OUTPUTS), len(inputs)):
            raise BundleError(f"{LOSS_NAME} answers {answers.shape} to {len(inputs)} rows.")
        return answers
