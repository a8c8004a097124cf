"""Runs a command that ends with the process that started it, however that ends, and with all that the command started.

The kernel tells a child of its parent's death (`core.parent`), but not a grandchild, and installers have some. So between
both there is a process that holds a pipe of which the parent alone has the other end, and leads a group of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

_BETWEEN = """
import os, signal, subprocess, sys, threading

def end_with_parent(pipe):
    os.read(pipe, 1)  # nothing is ever written: it returns when nobody is left who could
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=end_with_parent, args=(int(sys.argv[1]),), daemon=True).start()
sys.exit(subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL).returncode)
"""


def run_on_leash(
    command: Sequence[str], variables: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run `command` with the environment `variables`; return its status and what it wrote, as text.

    Raises `subprocess.TimeoutExpired` after `seconds`, and `OSError`. Nothing of it is left then, nor when this is interrupted.
    """
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603  (this interpreter, and what the caller named)
            [sys.executable, "-I", "-c", _BETWEEN, str(reading), *command],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[reading],
            start_new_session=True,
        )
        with process:
            try:
                told, complained = process.communicate(timeout=seconds)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(command, process.returncode, told, complained)
    finally:
        os.close(reading)
        os.close(writing)
