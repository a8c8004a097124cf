"""Runtimes for model workers of tests: one does as it is told by the first value of a row, one tells what it was asked."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from trivet.core.errors import BundleError
from trivet.model.bundle.bundle import Bundle
from trivet.model.runtimes.base import Runtime

RAISE, CRASH, HANG, LEAK, WRONG_SHAPE, WRONG_DATATYPE, ALLOCATE = -1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0
LEAK_BYTES = 16 * 1024 * 1024


class ByWish(Runtime):
    """Doubles numbers; counts its runs; misbehaves for negative ones."""

    name: ClassVar[str] = "by-wish"

    def __init__(self, source: Mapping[str, Any]) -> None:
        self._seconds = float(source.get("seconds", 0.0))  # a run takes
        self._seconds_a_row = float(source.get("seconds_a_row", 0.0))
        self._calls = 0
        self._leaked: list[bytearray] = []

    @classmethod
    def load(cls, bundle: Bundle) -> Self:
        wish = bundle.manifest.source.get("at_load")
        if wish == "raise":
            raise BundleError("it does not wish to be loaded.")
        if wish == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        return cls(bundle.manifest.source)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        x = inputs["x"]
        self._calls += 1
        if seconds := self._seconds + self._seconds_a_row * len(x):
            time.sleep(seconds)
        wishes = set(x[:, 0].tolist())
        if RAISE in wishes:
            raise ValueError("as you wish")
        if CRASH in wishes:
            os.kill(os.getpid(), signal.SIGSEGV)
        if HANG in wishes:
            while True:
                pass
        if LEAK in wishes:
            self._leaked.append(bytearray(b"x") * LEAK_BYTES)
        if ALLOCATE in wishes:
            self._leaked.append(bytearray(1 << 40))
        answers = {
            "doubled": x * 2,
            "text": np.array([f"{value:g}\ud800ü" for value in x[:, 0]], dtype=object),
            "run": np.column_stack(
                [np.full(len(x), self._calls), np.full(len(x), len(x)), np.full(len(x), os.getpid())]
            ),
        }
        if WRONG_SHAPE in wishes:
            answers["doubled"] = answers["doubled"][:, :0]
        if WRONG_DATATYPE in wishes:
            answers["doubled"] = answers["doubled"].astype(np.int64)
        return [answers[name] for name in outputs]


class Parrot(Runtime):
    """Answers each row with all that it saw of it, to the bit."""

    name: ClassVar[str] = "parrot"

    @classmethod
    def load(cls, bundle: Bundle) -> Self:
        return cls()

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        rows = range(len(next(iter(inputs.values()))))
        seen = [[_bits(name, array[row]) for name, array in inputs.items()] for row in rows]
        return [np.array([repr(row) for row in seen], dtype=object)]


def _bits(name: str, values: np.ndarray) -> tuple[str, str, object]:
    return name, values.dtype.str, values.tolist() if values.dtype.kind == "O" else values.tobytes()
