"""Faults at system calls, and their order, by strace: from outside, on the real program."""

from __future__ import annotations

import functools
import shutil
import subprocess


@functools.cache
def can_trace() -> bool:
    """True where there is a strace that may trace, and inject."""
    if shutil.which("strace") is None:
        return False
    command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=getcwd", "-e", "inject=getcwd:error=EIO", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
