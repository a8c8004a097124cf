"""The verb `web`: one web worker."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import time
from pathlib import Path

from trivet import conf
from trivet.cli.verb import OUT_OF_REACH, Out
from trivet.cli.verbs.processes import listen
from trivet.core.parent import end_with
from trivet.serving.web import run_web_worker

logger = logging.getLogger(__name__)

START_FIELD = 19  # of /proc/PID/stat, counted after the name: when it was started, in ticks since boot (proc(5))


def web(options: argparse.Namespace, out: Out) -> int:
    """Serve with this process until SIGTERM."""
    imported = _age_seconds()
    if options.supervisor is not None:
        end_with(options.supervisor, signal.SIGTERM)
    if options.fd is not None:
        listening: socket.socket | None = socket.socket(fileno=options.fd)
    else:
        listening = listen(options.bind or conf.BIND(), out)
    if listening is None:
        return OUT_OF_REACH

    def ready() -> None:
        logger.info("event=ready imports_seconds=%.2f loading_seconds=%.2f", imported, _age_seconds() - imported)
        if options.ready_fd is not None:
            os.close(options.ready_fd)
        else:
            out.say("ready")

    return run_web_worker(listening, on_ready=ready, ships=options.supervisor is None, processes=options.processes)


def _age_seconds() -> float:
    """Return how long ago this process was started, to the kernel's hundredth of a second."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[START_FIELD])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
