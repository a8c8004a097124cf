"""How many files and sockets a process may have open."""

from __future__ import annotations

import resource


def allow_descriptors() -> None:
    """Let this process, and those it starts, have as many descriptors as it may ask for: every connection is one.

    The soft limit is 1,024 where nobody chose, for programs that use `select(2)`; none of ours does with many.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
