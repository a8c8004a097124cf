"""ASGI: an exchange driven on the event loop. What takes microseconds runs there; what may take longer, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from trivet.core.errors import InvalidRequest, TooLarge, TrivetError, Unavailable
from trivet.dataplane.frontends.descriptions import PUBLIC
from trivet.dataplane.frontends.headers import Headers, read_headers, too_large
from trivet.dataplane.frontends.paths import parse_path
from trivet.dataplane.frontends.rest import Exchange, Response
from trivet.dataplane.frontends.slow_lane import LARGE_BYTES, LaneFull, SlowLane
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol.compression import MAX_RATIO

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_GRACE_SECONDS = 5.0  # a body may start this slowly
BODY_BYTES_PER_SECOND = 1024  # and must then arrive at this rate
MAX_CHUNKS = 65_536  # of a body, however small they are
BODY_SECONDS = 30.0  # and be complete by then
CLOSE_BEYOND_DIGITS = 4  # an unread body whose length has more digits is not waited for: the connection closes
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
NOT_TEXT = InvalidRequest("the path is not UTF-8.", code="BAD_PATH")


class ClientGone(Exception):
    """The client disconnected before its request was complete; there is nobody to answer."""


async def answer(plane: Plane, scope: Scope, receive: Receive, send: Send, slow_lane: SlowLane) -> None:
    """Answer one request on a prediction path. Slow ones take the `slow_lane`, so that they do not hold the loop."""
    headers = read_headers(list(scope["headers"]))
    exchange = Exchange(
        plane, scope["method"], scope["path"], headers, query=scope.get("query_string", b""), holds=True
    )
    if plane.lease.is_over and (refusal := await _catch_up(plane, scope["path"])):
        await _send(_closing(exchange.refuse(refusal)), send)
        return
    response = exchange.begin() if _is_text(scope) else exchange.refuse(NOT_TEXT)
    if response is not None:
        if len(headers.get(b"content-length", b"")) > CLOSE_BEYOND_DIGITS:
            response = _closing(response)
        await _send(response, send)
        return
    try:
        body = await read_body(receive, exchange.max_body_bytes)
    except ClientGone:
        return
    except TrivetError as error:
        await _send(_closing(exchange.refuse(error)), send)
        return
    is_large = _is_large(body, headers)
    response = await _decoded(exchange, body, slow_lane) if is_large else exchange.receive(body)
    if response is None:
        response = await _in_turn(exchange, slow_lane) if is_large or exchange.is_slow else exchange.run()
        if plane.spool.commits is not None and exchange.is_recorded:
            try:
                await plane.spool.commits.held()
            except Unavailable as error:
                response = exchange.refuse(error)
    await _send(response, send)


async def _catch_up(plane: Plane, path: str) -> TrivetError | None:
    """Look at the registry before anything is answered, in a thread; return the refusal where that took too long."""
    target = parse_path(path, plane.prefix)
    if target is None or target.kind in PUBLIC:
        return None
    try:
        await asyncio.to_thread(plane.lease.catch_up)
    except TrivetError as error:
        return error
    return None


def _is_large(body: bytes, headers: Headers) -> bool:
    """True where to decode `body` would hold the loop, or where it may inflate to as much."""
    return len(body) * (MAX_RATIO if b"content-encoding" in headers else 1) > LARGE_BYTES


async def _decoded(exchange: Exchange, body: bytes, slow_lane: SlowLane) -> Response | None:
    """Let a thread decode a large body; a refusal where too many wait for one."""
    exchange.arrive()
    try:
        return await slow_lane.run(lambda: exchange.receive(body))
    except LaneFull as error:
        return exchange.refuse(error)


async def _in_turn(exchange: Exchange, slow_lane: SlowLane) -> Response:
    """Return what `exchange` answers; a refusal where too many are waiting, or its time is over before its turn."""
    if refusal := exchange.start_clock():
        return refusal
    try:
        return await slow_lane.run(exchange.run, exchange.lane)
    except LaneFull as error:
        return exchange.stand_in(error)


def _is_text(scope: Scope) -> bool:
    """False when the path's bytes are not UTF-8: the server has put U+FFFD in their place."""
    if REPLACEMENT not in scope["path"]:
        return True
    try:
        unquote_to_bytes(scope.get("raw_path") or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the whole body.

    Raises `TooLarge` beyond `limit` bytes or `MAX_CHUNKS` pieces, `InvalidRequest` (BODY_TIMEOUT) when it comes too slowly,
    `ClientGone`.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    parts: list[bytes] = []
    size = 0
    while True:
        allowed = min(BODY_GRACE_SECONDS + size / BODY_BYTES_PER_SECOND, BODY_SECONDS)
        try:
            async with asyncio.timeout_at(began + allowed):
                message = await receive()
        except TimeoutError:
            waited = loop.time() - began
            raise InvalidRequest(
                f"the body came too slowly: {size} bytes in {waited:.0f} s.", code="BODY_TIMEOUT"
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large(limit)
        if not message.get("more_body"):
            return b"".join([*parts, part]) if parts else part
        parts.append(part)
        if len(parts) > MAX_CHUNKS:
            raise TooLarge(f"the body came in over {MAX_CHUNKS} pieces; send larger ones.")


async def _send(response: Response, send: Send) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": response.body})


def _closing(response: Response) -> Response:
    return response._replace(headers=[*response.headers, (b"connection", b"close")])
