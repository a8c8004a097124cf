"""A process that ends when the one that started it does."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with(parent: int, number: signal.Signals) -> None:
    """Ask the kernel for the signal `number` when the process `parent` ends; one that has ended already counts."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
