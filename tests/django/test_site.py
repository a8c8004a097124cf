"""The site behind the front door has a bound on who waits for it, and reads nothing that it will not take."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from trivet.serving.site import LARGE_AT_ONCE, SMALL_BYTES, WAITING_PER_THREAD, Site

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

    def __init__(self, *headers: tuple[bytes, bytes], is_slow: asyncio.Event | None = None) -> None:
        self.is_slow = is_slow
        self.scope = {**SCOPE, "headers": list(headers)}
        self.status = 0
        self.code = b""
        self.was_read = False

    async def ask(self, site: Site) -> None:
        await asyncio.wait_for(site(self.scope, self._receive, self._send), SECONDS)

    async def _receive(self) -> dict[str, Any]:
        self.was_read = True
        if self.is_slow is not None:
            await self.is_slow.wait()
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


@pytest.mark.parametrize("large", [(b"content-length", b"100000"), (b"transfer-encoding", b"chunked")])
def test_F28_bodies_that_nobody_was_asked_for_take_so_much_memory_and_no_more(large: tuple[bytes, bytes]):
    def page(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", [])
        return [b"done"]

    async def run() -> tuple[list[Visitor], list[Visitor]]:
        site, comes = Site(page, 4, 100_000), asyncio.Event()
        slow = [Visitor(large, is_slow=comes) for _ in range(LARGE_AT_ONCE)]
        under_way = [asyncio.create_task(one.ask(site)) for one in slow]
        while not all(one.was_read for one in slow):
            await asyncio.sleep(0)
        too_many, small, leaver = Visitor(large), Visitor((b"content-length", b"%d" % SMALL_BYTES)), Visitor()
        for one in (too_many, small, leaver):
            await one.ask(site)
        assert (too_many.status, too_many.code, too_many.was_read) == (503, b"QUEUE_FULL", False)
        assert (small.status, leaver.status) == (200, 200), "who sends little is held up by nobody"
        under_way.pop().cancel()
        comes.set()
        await asyncio.gather(*under_way)
        later = [Visitor(large) for _ in range(3 * LARGE_AT_ONCE)]
        for one in later:
            await one.ask(site)
        return slow[:-1], later

    slow, later = asyncio.run(run())
    assert {one.status for one in slow + later} == {200}
