"""The descriptors of a process: how many it may have, and that the first three are what everybody takes them for."""

from __future__ import annotations

import os
import resource
import sys


def allow_descriptors() -> None:
    """Let this process, and those it starts, have as many descriptors as it may ask for: every connection is one.

    The soft limit is 1,024 where nobody chose, for programs that use `select(2)`; none of ours does with many.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def hold_standard_streams() -> None:
    """Open the null device in place of standard streams that are closed.

    Else the next file or socket that is opened, a database perhaps, takes the number of one of them, and what any
    library prints is written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, number)  # inheritable, for the processes that this one starts
            if opened != number:
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
