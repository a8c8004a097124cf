"""The mounts of a plane: each takes a request as its transport has it and goes the whole way through the real front door.

`exchange` is the corridor without a transport. The others are what `trivet web`, an `asgi.py`, a `wsgi.py` and a
`urls.py` put before it, in this process: the bytes of a connection, an ASGI scope, two WSGI environments.
"""

from __future__ import annotations

import asyncio
import io
import socket
import string
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from http.client import HTTPResponse
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import quote, unquote, unquote_to_bytes

import uvicorn
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started
from django.db import close_old_connections
from django.test import override_settings
from uvicorn.server import ServerState

from trivet.dataplane.frontends.headers import Headers
from trivet.dataplane.frontends.rest import Exchange, Response
from trivet.dataplane.frontends.uvicorn import DirectProtocol
from trivet.dataplane.plane import Plane
from trivet.serving import asgi, process, wsgi

SECONDS = 20  # the longest that one request may take

Mount = Callable[[Plane, str, str, Headers, bytes], Response]
"""A plane, a method, a target as in a request line, headers with lower-case names, a body."""


def exchange(plane: Plane, method: str, target: str, headers: Headers, body: bytes) -> Response:
    """Drive the exchange itself; the path is taken as it stands."""
    path, _, query = target.partition("?")
    exchange = Exchange(plane, method, path, headers, query=query.encode())
    return exchange.begin() or exchange.receive(body) or exchange.run()


def by_uvicorn(plane: Plane, method: str, target: str, headers: Headers, body: bytes, *, site: Any = None) -> Response:
    """Send the request over a connection to the protocol of a web worker, as bytes; read until it closes."""
    fields = b"".join(b"%b: %b\r\n" % field for field in (headers | {b"connection": b"close"}).items())
    line = f"{method} {quote(target, safe=string.punctuation)} HTTP/1.1\r\n".encode()
    with _answering(plane):
        received = asyncio.run(_over_a_connection(plane, b"%b%b\r\n%b" % (line, fields, body), site))
    connection = SimpleNamespace(makefile=lambda _mode: io.BytesIO(received))
    answer = HTTPResponse(connection, method=method)  # type: ignore[arg-type]  # it reads a file and nothing else
    answer.begin()
    return Response(answer.status, _fields(answer.getheaders()), answer.read())


async def _over_a_connection(plane: Plane, sent: bytes, site: Any = None) -> bytes:
    front_door = asgi.in_front_of(site or _no_site)
    config = uvicorn.Config(front_door, ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    protocol = DirectProtocol(plane, front_door.slow_lane, config=config, server_state=ServerState(), app_state={})
    loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    with closing(ours):
        await loop.connect_accepted_socket(lambda: protocol, theirs)
        async with asyncio.timeout(SECONDS):
            sending = asyncio.create_task(loop.sock_sendall(ours, sent))
            parts = []
            with suppress(ConnectionResetError):  # it was refused, and closed, before all of it was read
                while part := await loop.sock_recv(ours, 1 << 20):
                    parts.append(part)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    return b"".join(parts)


def by_asgi(plane: Plane, method: str, target: str, headers: Headers, body: bytes) -> Response:
    """Call the ASGI application, as any server would."""
    path, _, query = target.partition("?")
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": list(headers.items()),
    }
    with _answering(plane):
        asyncio.run(asgi.in_front_of(_no_site)(scope, receive, send))
    start, content = sent
    return Response(start["status"], start["headers"], content["body"])


def by_wsgi(plane: Plane, method: str, target: str, headers: Headers, body: bytes) -> Response:
    """Call the WSGI application, as any server would."""
    with _answering(plane):
        return _called(wsgi.in_front_of(_no_site), method, target, headers, body)


def by_urls(plane: Plane, method: str, target: str, headers: Headers, body: bytes) -> Response:
    """Call Django, with its middleware, over the URLs that a site includes. Which hosts it takes is left to Trivet."""
    with _answering(plane), override_settings(ROOT_URLCONF="trivet.serving.urls", ALLOWED_HOSTS=["*"]):
        request_started.disconnect(
            close_old_connections
        )  # as Django's test client does: a test's connection is its own
        try:
            return _called(WSGIHandler(), method, target, headers, body)
        finally:
            request_started.connect(close_old_connections)


def _called(application: Any, method: str, target: str, headers: Headers, body: bytes) -> Response:
    path, _, query = target.partition("?")
    named = {name.decode().upper().replace("-", "_"): value.decode("latin-1") for name, value in headers.items()}
    started: list[Any] = []
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
    }
    own = ("CONTENT_TYPE", "CONTENT_LENGTH")
    environ |= {name if name in own else f"HTTP_{name}": value for name, value in named.items()}
    content = application(environ, lambda *arguments: started.append(arguments))
    ((status, answered),) = started
    return Response(int(status.split()[0]), _fields(answered), b"".join(content))


def _fields(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]


def _answering(plane: Plane) -> Any:
    """Let this process answer with `plane`."""
    return mock.patch.object(process, "_process", SimpleNamespace(plane=plane))


def _no_site(*_: object) -> list[bytes]:
    raise AssertionError("a request on a prediction path went to the site behind")


MOUNTS: dict[str, Mount] = {"uvicorn": by_uvicorn, "asgi": by_asgi, "wsgi": by_wsgi, "urls": by_urls}
