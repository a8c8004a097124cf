"""Sends one message: to an address that was looked at, within five seconds, and reads little of what comes back."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from trivet.control.webhooks.signing import SIGNATURE_HEADER, TIME_HEADER, signature
from trivet.control.webhooks.targets import IPAddress, Resolve, Target, addresses, site_of, target
from trivet.core.errors import Refused, Unavailable, quoted

SECONDS = 5.0
MOST_ANSWERED = 64 * 1024  # bytes that are read of an answer; nothing in it is believed or kept


@dataclass(frozen=True)
class Delivered:
    """What a receiver answered."""

    status: int
    seconds: float


def send(
    url: str,
    message: Mapping[str, Any],  # Any: what JSON has
    *,
    allowed: Sequence[str],
    secret: str,
    resolve: Resolve | None = None,
    trust: ssl.SSLContext | None = None,
) -> Delivered:
    """Post `message` as JSON to `url`, signed; blocks for at most five seconds.

    Raises `Refused` for a URL that is not allowed, and `Unavailable` where nobody took the message: no connection, no
    answer in time, or one that is not 2xx. A redirect is such an answer, and is not followed.
    """
    if not secret:
        raise Refused("webhooks are signed: set TRIVET_WEBHOOK_SECRET.")
    started = time.monotonic()
    deadline = started + SECONDS
    found = target(url, allowed)
    places = _within(deadline, found, resolve)
    at, body = int(time.time()), msgspec.json.encode(message)
    headers = {
        "Host": _host(found),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": "trivet",
        "Accept-Encoding": "identity",
        "Connection": "close",
        TIME_HEADER: str(at),
        SIGNATURE_HEADER: signature(secret, at, body),
    }
    try:
        connection = _connected(found, places, deadline, trust)
    except OSError as error:
        raise Unavailable(f"the webhook at {site_of(url)} cannot be reached: {_reason(error)}.") from None
    cut = threading.Timer(max(deadline - time.monotonic(), 0), _cut, (connection,))  # whatever drips, ends
    cut.daemon = True
    cut.start()
    try:
        if isinstance(connection, ssl.SSLSocket):
            connection.do_handshake()
        status = _posted(found, connection, body, headers)
    except (OSError, http.client.HTTPException) as error:
        reason = "it took too long" if time.monotonic() >= deadline else _reason(error)
        raise Unavailable(f"the webhook at {site_of(url)} did not answer: {reason}.") from None
    finally:
        cut.cancel()
        connection.close()
    if not 200 <= status < 300:
        raise Unavailable(f"the webhook at {site_of(url)} answered {status}; only 2xx means that it was taken.")
    return Delivered(status, time.monotonic() - started)


def _within(deadline: float, found: Target, resolve: Resolve | None) -> tuple[IPAddress, ...]:
    """Return the addresses, or raise when the resolver takes too long: it cannot be told to hurry, so it is left alone."""
    answers: list[tuple[IPAddress, ...] | Refused] = []

    def ask() -> None:
        try:
            answers.append(addresses(found, resolve))
        except Refused as refusal:
            answers.append(refusal)

    asking = threading.Thread(target=ask, name="trivet-resolve", daemon=True)
    asking.start()
    asking.join(deadline - time.monotonic())
    if not answers:
        raise Unavailable(f"the webhook's host {quoted(found.host)} was not found within {SECONDS:g} s.")
    if isinstance(answers[0], Refused):
        raise answers[0]
    return answers[0]


def _connected(
    found: Target, places: Sequence[IPAddress], deadline: float, trust: ssl.SSLContext | None
) -> socket.socket:
    """Return a connection to the first of `places` that takes one; its name is not asked for again."""
    problem: OSError = TimeoutError("timed out")
    for place in places:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            plain = socket.create_connection((str(place), found.port), timeout=left)
        except OSError as error:
            problem = error
            continue
        if found.scheme == "http":
            return plain
        context = trust or ssl.create_default_context()
        return context.wrap_socket(plain, server_hostname=found.host, do_handshake_on_connect=False)
    raise problem


def _posted(found: Target, connection: socket.socket, body: bytes, headers: Mapping[str, str]) -> int:
    client = http.client.HTTPConnection(found.host)
    client.sock = connection
    client.auto_open = 0
    client.putrequest("POST", found.path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        client.putheader(name, value)
    client.endheaders(body)
    answer = client.getresponse()
    with suppress(OSError, http.client.HTTPException):  # its status is known; the rest may be anything
        answer.read(MOST_ANSWERED)
    return answer.status


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # of the TCP below, whatever TLS is in the middle of


def _host(found: Target) -> str:
    host = f"[{found.host}]" if ":" in found.host else found.host
    return host if found.port in (80, 443) else f"{host}:{found.port}"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not for that name, or by nobody who is trusted"
    return "it took too long" if isinstance(error, TimeoutError) else type(error).__name__
