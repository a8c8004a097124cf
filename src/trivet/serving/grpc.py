"""One gRPC worker: the gRPC door on an event loop, on the same data plane as a web worker."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import uvloop

from trivet.control.registry.models import WorkerKind
from trivet.core.descriptors import allow_descriptors
from trivet.dataplane.frontends.grpc.server import make_server
from trivet.dataplane.frontends.grpc.servicer import Servicer
from trivet.dataplane.frontends.slow_lane import SlowLane
from trivet.dataplane.plane import Plane
from trivet.serving.process import WATCHED_ALONE, this_process

DRAIN_SECONDS = 20  # calls under way are given this long after SIGTERM


def run_grpc_worker(
    bind: str,
    *,
    on_ready: Callable[[int], None] = lambda _port: None,
    is_alone: bool = True,
    processes: int | None = None,
) -> int:
    """Serve on `bind` until SIGTERM; return the exit code. `on_ready` is called with the port once calls are answered.

    One that is alone ships its own records where no keeper does, and has the port to itself; others share it, and follow
    each other on it. It is one of `processes` that answer here. Raises `OSError` when it cannot listen.
    """
    allow_descriptors()
    # what is live is loaded before the first call
    process = this_process(WorkerKind.GRPC, ships=is_alone, processes=processes)

    def ready(port: int) -> None:
        process.arm(WATCHED_ALONE)
        on_ready(port)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(process.plane, bind, ready, shares_port=not is_alone))
    return 0


async def _serve(plane: Plane, bind: str, on_ready: Callable[[int], None], *, shares_port: bool) -> None:
    servicer = Servicer(plane, SlowLane(tell=plane.tell_in_flight, is_in_use=plane.has_model))
    server = make_server(servicer, plane.limits.max_body_bytes, shares_port=shares_port)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        port = server.add_insecure_port(bind)
    except RuntimeError as error:
        raise OSError(None, "the address is in use, or not one of this machine's") from error
    await server.start()
    on_ready(port)
    await ended.wait()
    servicer.drain()
    await server.stop(DRAIN_SECONDS)
