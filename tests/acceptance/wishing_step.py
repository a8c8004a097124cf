"""A custom step of a scikit-learn pipeline that does as the first value of a row says. Accepted by name, run unchanged."""

from __future__ import annotations

import os
import pickle
import signal
import socket
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

RAISE, CRASH, HANG, LEAK, ALLOCATE, UNPICKLE, START, ESCAPE = -1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0
LEAK_BYTES = 16 * 1024 * 1024
LEAKED: list[bytearray] = []


class WishingStep(BaseEstimator, TransformerMixin):
    """Hands rows on as they are; misbehaves for negative numbers."""

    def fit(self, rows: Any, labels: Any = None) -> Self:
        self.n_features_in_ = np.shape(rows)[1]
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, rows: Any) -> Any:
        for wish in set(np.asarray(rows)[:, 0].tolist()) & set(WISHES):
            WISHES[wish]()
        return rows


def _raise() -> None:
    raise ValueError("as you wish")


def _hang() -> None:
    while True:
        pass


def _escape() -> None:
    """Raise unless every way out is closed."""
    for attempt in (lambda: Path("/etc/passwd").read_text(), socket.socket, lambda: Path("/var/x").write_text("")):
        try:
            attempt()
        except PermissionError:
            continue
        raise AssertionError("there is a way out")


WISHES: dict[float, Any] = {
    RAISE: _raise,
    CRASH: lambda: os.kill(os.getpid(), signal.SIGSEGV),
    HANG: _hang,
    LEAK: lambda: LEAKED.append(bytearray(b"x") * LEAK_BYTES),
    ALLOCATE: lambda: LEAKED.append(bytearray(1 << 40)),
    UNPICKLE: lambda: pickle.loads(b"cos\ngetpid\n(tR."),
    START: lambda: os.system("true"),
    ESCAPE: _escape,
}
