"""The bound on bodies before a site that is not behind our own pool: an ASGI application, or one under a WSGI server.

Django's ASGI handler keeps a body of any length in a file before it reads a setting, and its WSGI handler answers too large
a form with 400. So what is over `TRIVET_MAX_BODY_MB` is answered 413 here, and the site never sees it whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from trivet.core.errors import TrivetError
from trivet.dataplane.frontends.asgi import Message, Receive, Scope, Send
from trivet.dataplane.frontends.headers import check_length, read_headers, too_large
from trivet.dataplane.frontends.rest import Response
from trivet.dataplane.protocol.catalogue import RETRY_AFTER_SECONDS, http_status
from trivet.dataplane.protocol.encode import encode_error

AsgiApplication = Callable[[Scope, Receive, Send], Awaitable[None]]


class BoundedSite:
    """An ASGI application before another one, for whom a body over the bound is a client that has left."""

    def __init__(self, application: AsgiApplication, max_body_bytes: int) -> None:
        self._application = application
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of the site."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        try:
            check_length(read_headers(list(scope["headers"])), self._max_body_bytes)
        except TrivetError as error:
            await refuse(send, error)
            return
        counted = _Counted(receive, send, self._max_body_bytes)
        try:
            await self._application(scope, counted.receive, counted.send)
        except Exception:
            if not counted.is_over:
                raise  # else it is how the application takes a client that has left
        if counted.is_over and not counted.has_begun:
            await refuse(send, too_large(self._max_body_bytes))


class _Counted:
    """The messages of one request, counted."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive = receive
        self._send = send
        self._left = most
        self.has_begun = False  # an answer has

    @property
    def is_over(self) -> bool:
        return self._left < 0

    async def receive(self) -> Message:
        if not self.is_over:
            message = await self._receive()
            self._left -= len(message.get("body", b""))
            if not self.is_over:
                return message
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if not self.is_over:
            self.has_begun = True
            await self._send(message)


def refusal(error: TrivetError) -> Response:
    """Return the answer in the words of the prediction paths: who sends what no page takes is a program."""
    status, body = http_status(error), encode_error(error, {})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"trivet-error", error.code.encode()),
    ]
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    return Response(status, headers, body)


async def refuse(send: Send, error: TrivetError) -> None:
    """Answer with the refusal, and close."""
    response = refusal(error)
    headers = [*response.headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
