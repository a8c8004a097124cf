"""WSGI: the same exchange, driven in the server's thread. Put a buffering proxy in front: a WSGI body is read blocking."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from trivet.core.errors import InvalidRequest
from trivet.dataplane.frontends.headers import Headers
from trivet.dataplane.frontends.rest import Exchange, Response
from trivet.dataplane.plane import Plane

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


def answer(plane: Plane, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer one request on a prediction path."""
    return send(respond(plane, environ), start_response)


def send(response: Response, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with `response`."""
    status = f"{response.status} {HTTPStatus(response.status).phrase}"
    start_response(status, [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers])
    return [response.body]


def respond(plane: Plane, environ: Environ) -> Response:
    """Return the response for `environ`; its path is SCRIPT_NAME and PATH_INFO together."""
    path = decoded_path(environ)
    query = environ.get("QUERY_STRING", "").encode("latin-1", "replace")
    exchange = Exchange(plane, environ["REQUEST_METHOD"], path or "", request_headers(environ), query=query)
    if path is None:
        return exchange.refuse(InvalidRequest("the path is not UTF-8.", code="BAD_PATH"))
    response = exchange.begin()  # which has judged the length
    if response is None:
        response = exchange.receive(_body(environ, exchange.max_body_bytes))
    return exchange.run() if response is None else response


def decoded_path(environ: Environ) -> str | None:
    """Return the path as text, or None when its bytes are not UTF-8 (WSGI hands bytes over as Latin-1)."""
    try:
        return f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}".encode("latin-1").decode()
    except UnicodeError:
        return None


def request_headers(environ: Environ) -> Headers:
    """Return the headers of `environ` with lower-case names, as ASGI has them."""
    headers = {
        name[5:].replace("_", "-").lower().encode("latin-1"): value.encode("latin-1", "replace")
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower().encode()] = environ[name].encode("latin-1")
    return headers


def _body(environ: Environ, limit: int) -> bytes:
    """Return the body, one byte over `limit` at most: enough to see that it is too large."""
    length = environ.get("CONTENT_LENGTH")
    stream = environ["wsgi.input"]
    if length:
        return bytes(stream.read(min(int(length), limit + 1)))
    if environ.get("wsgi.input_terminated"):
        return bytes(stream.read(limit + 1))
    return b""
