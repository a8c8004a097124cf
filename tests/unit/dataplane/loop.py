"""One event loop that answers several requests of a world at once, as a web worker's does, without a socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from tests.unit.dataplane.world import World
from trivet.dataplane.frontends import asgi
from trivet.dataplane.frontends.slow_lane import SlowLane

SECONDS = 10.0  # the longest that anything here may take
INFER = "/v2/models/churn/infer"


class Held:
    """Does as ever what it stands for, but keeps whoever calls until told to go on."""

    def __init__(self, does: Callable[..., Any], *, calls: int = 1) -> None:
        self.does = does
        self._left = calls
        self.have_begun = threading.Event()  # as many calls as were to be
        self.may_go = threading.Event()
        self.waited = True  # nobody had to give up

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self._left -= 1
        if self._left <= 0:
            self.have_begun.set()
        self.waited = self.may_go.wait(SECONDS) and self.waited
        return self.does(*arguments, **named)


async def ask(
    world: World, lane: SlowLane, body: bytes, *headers: tuple[bytes, bytes], method: str = "POST", path: str = INFER
) -> int:
    """Send one request through ASGI; return its status."""
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    key = (b"authorization", f"Bearer {world.key}".encode())
    scope = {"method": method, "path": path, "headers": [(b"host", b"localhost"), key, *headers]}
    async with asyncio.timeout(2 * SECONDS):
        await asgi.answer(world.plane, scope, receive, send, lane)
    return sent[0]["status"]
