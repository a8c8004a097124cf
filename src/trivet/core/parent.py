"""A process that ends when the one that started it does."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with(parent: int, number: signal.Signals) -> None:
    """Ask the kernel for the signal `number` when the process `parent` ends, so that nothing outlives its `kill -9`.

    `parent` comes from the parent itself: one that died while this process was starting is no longer to be asked for.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
