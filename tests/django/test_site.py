"""The site behind the front door has a bound on who waits for it, and reads nothing that it will not take."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

from trivet.serving.site import WAITING_PER_THREAD, Site

SECONDS = 30
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/",
    "query_string": b"",
    "http_version": "1.1",
    "headers": [],
}


class Visitor:
    """One request; `status` once it is answered. `was_read`: whether somebody asked for its body."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self.scope = {**SCOPE, "headers": list(headers)}
        self.status = 0
        self.code = b""
        self.was_read = False

    async def ask(self, site: Site) -> None:
        await asyncio.wait_for(site(self.scope, self._receive, self._send), SECONDS)

    async def _receive(self) -> dict[str, Any]:
        self.was_read = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.code = dict(message["headers"]).get(b"trivet-error", b"")


def test_F28_a_site_that_is_busy_says_so_at_once_and_takes_others_again():
    is_over, threads = threading.Event(), 2
    most = threads * (1 + WAITING_PER_THREAD)

    def slow(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        assert is_over.wait(SECONDS)
        start("200 OK", [])
        return [b"done"]

    async def run() -> tuple[list[Visitor], Visitor, list[Visitor]]:
        site = Site(slow, threads, 1000)
        waiting = [Visitor() for _ in range(most)]
        under_way = [asyncio.create_task(one.ask(site)) for one in waiting]
        while not all(one.was_read for one in waiting):
            await asyncio.sleep(0)
        too_many = Visitor()
        await too_many.ask(site)
        assert not any(one.status for one in waiting), "it was answered before them"
        is_over.set()
        await asyncio.gather(*under_way)
        later = [Visitor() for _ in range(most + 1)]
        for one in later:
            await one.ask(site)
        return waiting, too_many, later

    waiting, too_many, later = asyncio.run(run())
    assert (too_many.status, too_many.code) == (503, b"QUEUE_FULL")
    assert {one.status for one in waiting + later} == {200}


def test_H20_a_page_is_told_that_its_body_is_too_large_before_any_of_it_is_read():
    visitor = Visitor((b"content-length", b"1001"))
    asyncio.run(visitor.ask(Site(lambda _environ, _start: [], 1, 1000)))
    assert (visitor.status, visitor.code, visitor.was_read) == (413, b"BODY_TOO_LARGE", False)
