"""Metrics and statistics are read from files, which may be many: whoever else asks is answered meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from tests.unit.dataplane.loop import SECONDS, Held, ask
from tests.unit.dataplane.world import World, infer_body
from trivet.dataplane.frontends.slow_lane import SlowLane
from trivet.dataplane.metrics import backlog
from trivet.dataplane.spool import Spool

SMALL = json.dumps(infer_body()).encode()


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.sees_all = True
    world.route({1: 100}, verbs={"predict", "view"})
    return world


@pytest.mark.parametrize("path", ["/metrics", "/v2/models/stats", "/v2/models/churn/stats"])
def test_a_request_is_answered_while_files_are_read(world: World, monkeypatch: pytest.MonkeyPatch, path: str):
    reads = Held(world.plane.meter.read)
    monkeypatch.setattr(world.plane.meter, "read", reads)

    async def run() -> tuple[int, int]:
        lane = SlowLane()
        reading = asyncio.create_task(ask(world, lane, b"", method="GET", path=path))
        await asyncio.to_thread(reads.have_begun.wait, SECONDS)
        asked = await ask(world, lane, SMALL)
        reads.may_go.set()
        return asked, await reading

    assert asyncio.run(run()) == (200, 200)
    assert reads.waited, "the loop itself waited"


def test_metrics_are_read_while_no_thread_is_free_and_no_record_can_be_written(world: World, tmp_path: Path):
    world.plane.spool = Spool(tmp_path / "spool", "durable", survives_power_loss=True)
    world.plane.spool.commits.close()
    world.plane.spool.commits.hold = lambda *_: pytest.fail("it waited for the disk")
    assert asyncio.run(ask(world, SlowLane(threads=1, waiting=-1), b"", method="GET", path="/metrics")) == 200


def test_two_that_look_at_the_backlog_at_once_count_each_record_once(world: World, monkeypatch: pytest.MonkeyPatch):
    for _ in range(3):
        world.ask()
    walks = Held(backlog._walk)
    monkeypatch.setattr(backlog, "_walk", walks)
    found: list[int] = []
    looking = [
        threading.Thread(target=lambda: found.append(world.plane.backlog.look(world.spool_root).records))
        for _ in range(2)
    ]
    for thread in looking:
        thread.start()
    assert walks.have_begun.wait(SECONDS)
    assert walks._left == 0, "the second one walked too"
    walks.may_go.set()
    for thread in looking:
        thread.join(SECONDS)
    assert found == [3, 3]
