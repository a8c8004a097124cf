"""A large body is decoded in a thread: whoever else asks is answered meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.unit.dataplane.loop import SECONDS, ask
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
