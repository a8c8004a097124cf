"""The site behind the front door: Django's WSGI handler, run in a bounded pool of threads.

The body is read whole, within bounds, on the event loop; only then does a request take a thread. So slow clients hold
no thread, and Django runs at its synchronous speed. When every thread is busy and as many requests wait, the answer is 503;
so it is for a large body while others that are as large come or are worked on, for each stays in memory.
"""

from __future__ import annotations

import asyncio
import gc
import io
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from trivet.core.errors import TrivetError, Unavailable
from trivet.dataplane.frontends.asgi import ClientGone, Message, Receive, Scope, Send, read_body
from trivet.dataplane.frontends.headers import Headers, check_length, content_length, read_headers
from trivet.dataplane.frontends.slow_lane import LARGE_BYTES
from trivet.dataplane.frontends.threads import NoThread, submit
from trivet.serving.bounded import refuse

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
WAITING_PER_THREAD = 8
SMALL_BYTES = 64 * 1024  # of a body: so much each connection may have, whatever the others have
LARGE_AT_ONCE = 8  # bodies of the largest size, or as much in smaller ones: 128 MiB
SLOW_READER_SECONDS = (
    60  # a client that takes longer to read a part of a page loses its connection, and frees the thread
)
YOUNG = 1  # a generation of the collector: to look through it and what is younger takes a millisecond


class Site:
    """An ASGI application around a WSGI one. Websockets are closed: a site that needs them runs under its own ASGI handler."""

    def __init__(self, application: WsgiApplication, threads: int, max_body_bytes: int) -> None:
        self._application = application
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="trivet-site")
        self._most = threads * (1 + WAITING_PER_THREAD)
        self._under_way = 0
        self._room = LARGE_AT_ONCE * max_body_bytes
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of the site."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        headers = list(scope["headers"])  # before the body: what comes after it are trailers
        held = 0
        try:
            try:
                held = self._hold(read_headers(headers))
                body = await read_body(receive, self._max_body_bytes)
                if self._under_way >= self._most:
                    raise _busy()
            except ClientGone:
                return
            except TrivetError as error:
                await refuse(send, error)
                return
            await self._answer(scope, headers, body, send)
        finally:
            self._room += held

    def _hold(self, headers: Headers) -> int:
        """Set room aside for a body that is not small, and return how much; raises what it is refused with.

        Nobody was asked who they are yet, and there may be as many bodies as connections.
        """
        check_length(headers, self._max_body_bytes)
        is_open_ended = b"transfer-encoding" in headers
        size = self._max_body_bytes if is_open_ended else content_length(headers.get(b"content-length"))
        if size <= SMALL_BYTES:
            return 0
        if size > self._room:
            raise _busy()
        self._room -= size
        return size

    async def _answer(self, scope: Scope, headers: list[tuple[bytes, bytes]], body: bytes, send: Send) -> None:
        self._under_way += 1
        try:
            call = _Call(self._application, _environ(scope, headers, body), send)
            try:
                done = submit(self._pool, call.run)
            except NoThread:
                await refuse(send, _busy())
                return
            await asyncio.wrap_future(done)
        finally:
            self._under_way -= 1


def _busy() -> Unavailable:
    return Unavailable("the site is busy; ask again in a second.", code="QUEUE_FULL")


class _Call:
    """One request in a pool thread. A body of one part goes out in one message; a longer one as it is made."""

    def __init__(self, application: WsgiApplication, environ: dict[str, Any], send: Send) -> None:
        self._application = application
        self._environ = environ
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._start: Message = {}
        self._is_large = int(environ["CONTENT_LENGTH"]) > LARGE_BYTES

    def run(self) -> None:
        """Run the application; each message waits until the server took it, so a slow reader slows only this thread."""
        try:
            self._answer()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Free the body now: Django's request is part of a cycle, and would keep it until that is found by chance."""
        self._environ["wsgi.input"].close()
        if self._is_large:
            gc.collect(YOUNG)  # for what Django has made of it

    def _answer(self) -> None:
        parts = self._application(self._environ, self._start_response)
        try:
            held: bytes | None = None
            is_started = False
            for part in parts:
                if held is not None:
                    self._deliver(held, more=True, is_started=is_started)
                    is_started = True
                held = part
            self._deliver(held or b"", more=False, is_started=is_started)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()

    def _start_response(self, status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> None:
        self._start = {
            "type": "http.response.start",
            "status": int(status.split(" ", 1)[0]),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }

    def _deliver(self, part: bytes, *, more: bool, is_started: bool) -> None:
        messages = [] if is_started else [self._start]
        messages.append({"type": "http.response.body", "body": part, "more_body": more})
        asyncio.run_coroutine_threadsafe(self._send_all(messages), self._loop).result(SLOW_READER_SECONDS)

    async def _send_all(self, messages: list[Message]) -> None:
        for message in messages:
            await self._send(message)


def _environ(scope: Scope, headers: list[tuple[bytes, bytes]], body: bytes) -> dict[str, Any]:
    """Return the WSGI environment of `scope` (PEP 3333); header names with an underscore are dropped, they could forge others."""
    server = scope.get("server") or ("localhost", 80)
    client = scope.get("client") or ("", 0)
    root = scope.get("root_path", "")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root.encode().decode("latin-1"),
        "PATH_INFO": scope["path"].removeprefix(root).encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "CONTENT_LENGTH": str(len(body)),
    }
    for raw_name, raw_value in headers:
        if b"_" in raw_name or raw_name == b"content-length":
            continue
        name = raw_name.decode("latin-1").upper().replace("-", "_")
        key = name if name == "CONTENT_TYPE" else f"HTTP_{name}"
        value = raw_value.decode("latin-1")
        separator = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{separator}{value}" if key in environ else value
    return environ
