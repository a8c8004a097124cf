"""What a model worker adds: the same small model inline and through a model worker, each through the whole exchange.

As in a web worker: inline on the event loop, through a model worker by way of the slow lane and back to the loop.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import uvloop

from trivet.core.snapshot import ModelEntry, Route, Snapshot, VersionEntry
from trivet.dataplane.authentication import trusted
from trivet.dataplane.engines.base import Engine
from trivet.dataplane.engines.inline import InlineEngine
from trivet.dataplane.engines.worker.engine import CONTROL_NAME, WorkerEngine
from trivet.dataplane.engines.worker.sockets import listen_on
from trivet.dataplane.frontends.rest import Exchange, Response
from trivet.dataplane.frontends.slow_lane import SlowLane
from trivet.dataplane.plane import Plane
from trivet.dataplane.reconcile import Reconciler
from trivet.dataplane.spool import Spool
from trivet.model.bundle.bundle import Bundle, make_bundle

ROUNDS = 20
CALLS = 200  # of each, one round; the two take turns, so that a neighbour on the machine disturbs both

Ask = Callable[[], Awaitable[None]]


def added(bundle: Bundle, body: bytes) -> dict[str, tuple[float, float]]:
    """Return where it runs -> the median and the first percentile of one request's microseconds."""
    with tempfile.TemporaryDirectory() as folder, model_workers(Path(folder)) as engine:
        elsewhere = msgspec.structs.replace(
            bundle.manifest, compile={**bundle.manifest.compile, "may_run_inline": False}
        )
        planes = {
            "inline": _plane(bundle, InlineEngine(), Path(folder) / "inline"),
            "through a model worker": _plane(make_bundle(elsewhere, bundle.files), engine, Path(folder) / "beside"),
        }
        seconds = uvloop.run(_turns(planes, body))
        for plane in planes.values():
            plane.follow(Snapshot(2, {}))
    return {
        where: (statistics.median(each) * 1e6, statistics.quantiles(each, n=100)[0] * 1e6)
        for where, each in seconds.items()
    }


@contextmanager
def model_workers(folder: Path) -> Iterator[WorkerEngine]:
    """Keep an owner of model workers running, and yield an engine that asks it."""
    listening = listen_on(folder / CONTROL_NAME)
    descriptor = listening.fileno()
    environments = folder / "environments"
    command = [
        sys.executable,
        "-m",
        "trivet.dataplane.engines.worker.owner",
        str(folder),
        str(environments),
        str(descriptor),
    ]
    owner = subprocess.Popen(command, pass_fds=(descriptor,))
    try:
        yield WorkerEngine(folder, _never_again)
    finally:
        owner.kill()  # and with it the model workers
        owner.wait()
        listening.close()


def _never_again(digest: str) -> Bundle:
    raise LookupError(digest)  # the owner was started once


def _plane(bundle: Bundle, engine: Engine, folder: Path) -> Plane:
    plane = Plane(Reconciler([engine], lambda _digest: bundle, 1024), Spool(folder, "bench"))
    version = VersionEntry(1, bundle.digest, "onnx", bundle.signature)
    plane.follow(Snapshot(1, {"late": ModelEntry("late", {1: version}, (Route(1, 100),), {"champion": 1})}))
    return plane


async def _turns(planes: dict[str, Plane], body: bytes) -> dict[str, list[float]]:
    lane = SlowLane()
    seconds: dict[str, list[float]] = {where: [] for where in planes}
    for number in range(ROUNDS + 1):  # the first one warms
        for where, plane in planes.items():
            for _ in range(CALLS):
                started = time.perf_counter()
                response = await _ask(plane, lane, body)
                if number:
                    seconds[where].append(time.perf_counter() - started)
                if response.status != 200:
                    raise RuntimeError(response.body)
    return seconds


async def _ask(plane: Plane, lane: SlowLane, body: bytes) -> Response:
    """Ask once, as `DirectProtocol` does."""
    exchange = Exchange(plane, "POST", "/v2/models/late/infer", {b"host": b"localhost"}, trusted("bench"))
    response = exchange.begin() or exchange.receive(body)
    if response is not None:
        return response
    if not exchange.is_slow:
        return exchange.run()
    answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    exchange.start_clock()
    lane.submit(exchange.run, exchange.lane, answered.set_result, exchange.put)
    return await answered
