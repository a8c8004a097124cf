"""The verb that serves gRPC, and what `serve` needs of it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from importlib.util import find_spec

from trivet.cli.verb import OUT_OF_REACH, REFUSED, Out
from trivet.core.parent import end_with
from trivet.serving.inline_guard import guard_folder
from trivet.serving.listening import open_listening_socket
from trivet.serving.supervisor import Child


def serve(options: argparse.Namespace, out: Out) -> int:
    """Serve gRPC with this process until SIGTERM."""
    if options.supervisor is not None:
        end_with(options.supervisor, signal.SIGTERM)
    if not _is_installed(out):
        return REFUSED
    from trivet.serving.grpc import run_grpc_worker

    def ready(port: int) -> None:
        if options.ready_fd is not None:
            os.close(options.ready_fd)
        else:
            out.say(f"ready on {options.bind.rpartition(':')[0]}:{port}")

    try:
        is_alone = options.supervisor is None
        return run_grpc_worker(options.bind, on_ready=ready, is_alone=is_alone, processes=options.processes)
    except OSError as error:
        return _cannot_listen(options.bind, error.strerror, out)


def grpc_children(bind: str | None, workers: int, processes: int, out: Out) -> list[Child] | int:
    """Return the processes that share `bind` to serve gRPC, none without one, or an exit code where they could not.

    With the web workers they are `processes` that answer.
    """
    if bind is None:
        return []
    if not _is_installed(out):
        return REFUSED
    try:
        open_listening_socket(bind).close()  # to say at once what each process would fail of, again and again
    except OSError as error:
        return _cannot_listen(bind, error.strerror, out)
    except ValueError:
        return _cannot_listen(bind, "not an address such as 127.0.0.1:8001", out)
    command = [sys.executable, "-m", "trivet", "grpc", "--bind", bind, "--supervisor", str(os.getpid())]
    command += ["--processes", str(processes)]
    folder = str(guard_folder())
    return [Child(f"grpc {number + 1}", command, signals_ready=True, guard_folder=folder) for number in range(workers)]


def _is_installed(out: Out) -> bool:
    if find_spec("grpc") and find_spec("google.protobuf") and find_spec("uvloop"):
        return True
    out.problem('gRPC is served with grpcio and protobuf: `pip install "trivet[grpc]"` brings them.')
    return False


def _cannot_listen(bind: str, reason: str | None, out: Out) -> int:
    out.problem(f"cannot listen on {bind}: {reason}. Another address: HOST:PORT.")
    return OUT_OF_REACH
