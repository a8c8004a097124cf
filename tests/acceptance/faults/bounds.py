"""Bounds of time, on a machine that may have other work: a bound is of seconds that the machine had for this work."""

from __future__ import annotations

import time

SPIN_SECONDS = 0.02


def slowness() -> float:
    """Return how many seconds a second of computing takes now, at least 1: what else runs takes the rest."""
    began, computed = time.monotonic(), time.thread_time()
    while time.thread_time() - computed < SPIN_SECONDS:
        pass
    return max(1.0, (time.monotonic() - began) / SPIN_SECONDS)
