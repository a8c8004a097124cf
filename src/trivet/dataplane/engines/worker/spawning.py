"""Spawning: processes that wait for the order to be a model worker."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from trivet.core.environment import lean_environment


@dataclass(eq=False)
class Spawned:
    """A process that waits for the order to be a model worker, and the descriptors that tell of it."""

    process: subprocess.Popen[bytes]
    report: int  # read from
    told: int  # the same number in the process, which writes to it
    died: int  # becomes readable when the process ends

    def give_up(self) -> None:
        """End it, and close what is held of it."""
        self.process.kill()
        self.process.communicate()
        os.close(self.report)
        os.close(self.died)


def spawn(command: Sequence[str]) -> Spawned:
    """Start `command`, which waits for its order on standard input; raises `OSError`, with nothing left behind."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    process = None
    try:
        process = subprocess.Popen(  # noqa: S603  (our own module; nothing of a bundle is in the command)
            command,
            pass_fds=(writing,),
            env=lean_environment(),
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        return Spawned(process, reading, writing, os.pidfd_open(process.pid))
    except OSError:
        os.close(reading)
        if process is not None:
            process.kill()
            process.communicate()
        raise
    finally:
        os.close(writing)
