"""Verbs that start others and become another program: serve, model-workers."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time

from django.db import connections

from trivet import conf
from trivet.cli.settings import note_spool_bound
from trivet.cli.verb import OUT_OF_REACH, Out
from trivet.cli.verbs.grpc import grpc_children
from trivet.control.registry.models import RegisteredModel
from trivet.serving.address import remember_address
from trivet.serving.inline_guard import forget_what_ended, guard_folder
from trivet.serving.listening import open_listening_socket
from trivet.serving.model_workers import Control, open_control, owner_child, run_owner
from trivet.serving.supervision import Plan, become_supervisor
from trivet.serving.supervisor import Child
from trivet.serving.zygote import open_zygote_socket, zygote_child

MODELS_SHOWN = 5
ENDING_SECONDS = 5.0  # another that serves is given to end; one that drains for longer is in the way


def serve(options: argparse.Namespace, out: Out) -> int:
    """Serve until SIGTERM, as another program that only supervises."""
    started = time.monotonic()
    bind = options.bind or conf.BIND()
    listening = listen(bind, out)
    if listening is None:
        return OUT_OF_REACH
    workers = options.workers or conf.WORKERS()
    forget_what_ended()
    processes = workers + (options.grpc_workers if options.grpc else 0)
    note_spool_bound(processes, out)
    grpc = grpc_children(options.grpc, options.grpc_workers, processes, out)
    if isinstance(grpc, int):
        return grpc
    control = model_workers_of(out)
    if isinstance(control, int):
        listening.close()
        return control
    *others, keeper = serving_children(listening, workers, control, processes)
    zygote = open_zygote_socket() if control is not None else None
    if zygote is not None:
        others.append(zygote_child(zygote, os.getpid()))
    out.say(_table(bind, workers, options.grpc, len(grpc)))
    remember_address(bind)
    plan = Plan(
        [*others, *grpc, keeper],
        listening.fileno(),
        started,
        voice=out.descriptor,
        kept=(
            *(control.descriptors if control is not None else ()),
            *((zygote.socket.fileno(),) if zygote is not None else ()),
        ),
        removed=[str(held.path) for held in (control, zygote) if held is not None],
    )
    connections.close_all()
    return become_supervisor(plan)


def model_workers_of(out: Out) -> Control | int | None:
    """Return the control of the model workers, None where `trivet model-workers` has it, or the code to end with.

    Two that serve would answer from one another's model workers, each with settings of its own, until one of them ends
    and takes them along.
    """
    found = open_control("serve", patience=ENDING_SECONDS)
    if isinstance(found, Control):
        return found
    if found.verb == "model-workers":
        return None
    out.problem(
        f"process {found.pid} serves this TRIVET_HOME already ({conf.HOME()}). End it first: kill {found.pid};"
        " or give this one a TRIVET_HOME of its own."
    )
    return OUT_OF_REACH


def serving_children(
    listening: socket.socket, workers: int, control: Control | None = None, processes: int = 0
) -> list[Child]:
    """Return the processes of one machine: web workers on one listening socket, model workers once somebody asks for
    them on `control`, then the keeper. With others that answer, as gRPC workers do, they are `processes`.
    """
    base = [sys.executable, "-m", "trivet"]
    supervisor = ["--supervisor", str(os.getpid())]
    shared = ["--processes", str(processes or workers)]
    descriptor = str(listening.fileno())
    web = [
        Child(
            f"web {number + 1}",
            [*base, "web", "--fd", descriptor, *supervisor, *shared],
            pass_descriptors=(listening.fileno(),),
            signals_ready=True,
            guard_folder=str(guard_folder()),
        )
        for number in range(workers)
    ]
    owner = [owner_child(control, os.getpid())] if control is not None else []
    return [*web, *owner, Child("keeper", [*base, "keeper", *supervisor])]


def _table(bind: str, workers: int, grpc_bind: str | None, grpc_workers: int) -> str:
    url = conf.PUBLIC_URL() or f"http://{bind}"
    models = list(RegisteredModel.objects.values_list("name", flat=True))
    lines = [
        f"web      {workers} workers   {url}",
        *([f"grpc     {grpc_workers} workers   {grpc_bind}"] if grpc_bind else []),
        "keeper   1 process",
        *(f"model    {name:<10}  POST {url}{conf.PREFIX()}v2/models/{name}/infer" for name in models[:MODELS_SHOWN]),
    ]
    if len(models) > MODELS_SHOWN:
        lines.append(f"         and {len(models) - MODELS_SHOWN} more: trivet list")
    return "\n".join(lines)


def model_workers(_options: argparse.Namespace, out: Out) -> int:
    """Run model workers for the web workers of this TRIVET_HOME until SIGTERM."""
    control = open_control("model-workers")
    if isinstance(control, Control):
        out.say("ready")
        run_owner(control)
    out.problem(
        f"process {control.pid} (trivet {control.verb}) runs the model workers of this TRIVET_HOME already ({conf.HOME()})."
        f" End it first: kill {control.pid}."
    )
    return OUT_OF_REACH


def listen(bind: str, out: Out) -> socket.socket | None:
    """Return a listening socket on `bind`, or say why not."""
    try:
        return open_listening_socket(bind)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not an address such as 127.0.0.1:8000"
        out.problem(f"cannot listen on {bind}: {reason}. Another address: --bind HOST:PORT.")
        return None
