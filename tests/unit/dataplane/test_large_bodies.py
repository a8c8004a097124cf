"""A large body is decoded in a thread: whoever else asks is answered meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.unit.dataplane.loop import SECONDS, Held, ask
from tests.unit.dataplane.world import World, infer_body
from trivet.dataplane.frontends import asgi, rest
from trivet.dataplane.frontends.slow_lane import SlowLane
from trivet.dataplane.plane import Limits

SMALL = json.dumps(infer_body()).encode()
LARGE = SMALL + b" " * asgi.LARGE_BYTES


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, limits=Limits())


class Decoder:
    """Decodes as ever, but keeps a large body until told to go on."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_go = threading.Event()
        self.waited = False
        self._decode = rest.decode_infer

    def __call__(self, body: bytes, *others: Any) -> Any:
        if len(body) > asgi.LARGE_BYTES:
            self.has_begun.set()
            self.waited = self.may_go.wait(SECONDS)
        return self._decode(body, *others)


@pytest.mark.parametrize(
    ("body", "headers"),
    [(LARGE, ()), (gzip.compress(LARGE), ((b"content-encoding", b"gzip"),))],
    ids=["as it is", "that inflates"],
)
def test_a_small_request_is_answered_while_a_large_body_is_decoded(
    world: World, monkeypatch: pytest.MonkeyPatch, body: bytes, headers: tuple
):
    decoder = Decoder()
    monkeypatch.setattr(rest, "decode_infer", decoder)
    if headers:
        monkeypatch.setattr(asgi, "MAX_RATIO", 10_000)
        monkeypatch.setattr("trivet.dataplane.protocol.compression.MAX_RATIO", 10_000)  # spaces deflate well

    async def run() -> tuple[int, int]:
        lane = SlowLane()
        large = asyncio.create_task(ask(world, lane, body, *headers))
        await asyncio.to_thread(decoder.has_begun.wait, SECONDS)
        small = await ask(world, lane, SMALL)
        decoder.may_go.set()
        return small, await large

    assert asyncio.run(run()) == (200, 200)
    assert decoder.waited, "the loop itself waited"
    assert len(world.records()) == 2


def test_where_no_thread_is_free_for_it_a_large_body_is_refused(world: World):
    assert asyncio.run(ask(world, SlowLane(threads=1, waiting=-1), LARGE)) == 503
    assert not world.records()


def test_a_large_body_is_answered_while_every_load_waits_for_other_workers(world: World):
    world.route({1: 100}, verbs={"promote", "predict"})
    loads = Held(lambda _change: None, calls=4)
    world.plane.change_loading = loads

    async def run() -> tuple[int, list[int]]:
        lane = SlowLane()
        path = "/v2/repository/models/churn/load"
        loading = [asyncio.create_task(ask(world, lane, b"{}", path=path)) for _ in range(6)]
        await asyncio.to_thread(loads.have_begun.wait, SECONDS)
        asked = await ask(world, lane, LARGE)
        loads.may_go.set()
        return asked, list(await asyncio.gather(*loading))

    assert asyncio.run(run()) == (200, [200] * 6)
    assert loads.waited, "the body waited behind the loads"


def test_what_a_large_body_waits_to_be_decoded_counts_towards_its_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    arrive = rest.Exchange.arrive

    def arrive_long_ago(exchange: rest.Exchange) -> None:
        arrive(exchange)
        exchange._arrived -= int(world.plane.limits.deadline_seconds * 1e9)

    monkeypatch.setattr(rest.Exchange, "arrive", arrive_long_ago)
    assert asyncio.run(ask(world, SlowLane(), LARGE)) == 504
    assert not world.records()
