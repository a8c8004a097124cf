"""The verb `web`: one web worker."""

from __future__ import annotations

import argparse
import os
import signal
import socket

from trivet import conf
from trivet.cli.verb import OUT_OF_REACH, Out
from trivet.cli.verbs.processes import listen
from trivet.core.parent import end_with
from trivet.serving.web import run_web_worker


def web(options: argparse.Namespace, out: Out) -> int:
    """Serve with this process until SIGTERM."""
    if options.supervisor is not None:
        end_with(options.supervisor, signal.SIGTERM)
    if options.fd is not None:
        listening: socket.socket | None = socket.socket(fileno=options.fd)
    else:
        listening = listen(options.bind or conf.BIND(), out)
    if listening is None:
        return OUT_OF_REACH

    def ready() -> None:
        if options.ready_fd is not None:
            os.close(options.ready_fd)
        else:
            out.say("ready")

    return run_web_worker(listening, on_ready=ready, ships=options.supervisor is None)
