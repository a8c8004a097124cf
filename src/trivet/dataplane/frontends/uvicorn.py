"""uvicorn, without ASGI on the way: a small request on a prediction path is answered where its last byte is parsed.

An ASGI call costs a task, an event, a scope and two sends, more than the prediction itself. So a complete request of
bounded size is driven through the same exchange at once, in the parser's callback, or in a thread where that is slow.
All else (other paths, large or chunked requests, what waits behind another on its connection) takes uvicorn's own road
to the same exchange.

It also bounds what uvicorn does not: the request line, each header, all of them, what frames a body, the time a small body
may take, and how long a client may leave its answer unread. And it refuses what another server would read another way: a
transfer coding beside `chunked`, a version there is not, an address that is another host's.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from trivet.core.errors import InvalidRequest, TrivetError, Unavailable
from trivet.dataplane.frontends.asgi import BODY_BYTES_PER_SECOND, BODY_GRACE_SECONDS, BODY_SECONDS, MAX_CHUNKS
from trivet.dataplane.frontends.headers import Headers, read_headers
from trivet.dataplane.frontends.paths import is_prediction_path
from trivet.dataplane.frontends.rest import Exchange, Response
from trivet.dataplane.frontends.slow_lane import LaneFull, SlowLane
from trivet.dataplane.plane import Plane

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MAX_LINE = 8 * 1024
MAX_HEADER = 8 * 1024
MAX_HEADERS = 64 * 1024
MAX_FIELDS = 100
READ_BYTES = 256 * 1024  # what comes at once at most
MAX_HEAD = MAX_LINE + MAX_HEADERS + READ_BYTES  # as it comes: the parser keeps a header, however long, until it ends
MAX_FRAMING = 1024 * 1024  # of a body, beside itself: sizes and extensions of its chunks, trailers
LENGTH_DIGITS = 6  # a body whose length has fewer digits is taken directly: under 100 kB
MAX_CONNECTIONS = 1024
HEAD_SECONDS = 5.0  # a head may take this long from its first byte
LINGER_SECONDS = 3.0  # an idle connection of a server that ends is left open for so long: a client may be slow to go on
WATCH_SECONDS = 2.5  # so a bound of 5 s is kept to within 7.5
READER_SECONDS = 20.0  # a client may take nothing of its answer for so long
READER_BYTES = int(BODY_BYTES_PER_SECOND * WATCH_SECONDS)  # to take less from one look to the next is to take nothing
VERSIONS = ("1.1", "1.0")
INVALID = "Invalid HTTP request received."


class DirectProtocol(HttpToolsProtocol):
    """One connection. Not thread-safe: the loop owns it."""

    def __init__(self, plane: Plane, slow_lane: SlowLane, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plane = plane
        self._slow_lane = slow_lane
        self._exchange: Exchange | None = None
        self._refusal: Response | None = None
        self._body: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._has_begun = False  # a head has, and is not complete
        self._is_head_done = False
        self._head_bytes = 0
        self._chunks = 0
        self._head_error: TrivetError | None = None
        self._since = 0.0  # when what is waited for began: a head, a body, or nothing
        self._running: RequestResponseCycle | None = None  # on uvicorn's road, which may not be the one that came last
        self._is_open = False  # a message has begun, and is not complete
        self._is_long = False  # it is, or was, on uvicorn's road
        self._framing = 0  # bytes of it that are no body
        self._without_upgrade = b""  # its head, where it asked for another protocol, without that wish
        self._due: Response | None = None  # to what cannot be read, once all before it is answered
        self._unsent = 0  # bytes, at the last look
        self._unread_since: float | None = None  # since when the client takes nothing
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)

    # --- the connection -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin to watch the connection; one too many is told so and closed."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._watch = self.loop.call_later(WATCH_SECONDS, self._look)
        if len(self.connections) > MAX_CONNECTIONS:
            error = Unavailable(f"over {MAX_CONNECTIONS} connections; ask again.", code="QUEUE_FULL")
            self._write(Exchange(self._plane, "GET", "", {}).refuse(error), keep_alive=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a request that will not be completed; tell whoever answers one that nobody waits for it."""
        self._drop_exchange()
        self.pipeline.clear()
        if self._running is not None:
            self._running.disconnected = True
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection after its last answer: of the request under way, or of one that a client is sending now.

        A client that keeps connections open learns of the end by an answer that says so; closing an idle one at once
        would meet requests on their way. So an idle one is left open for a moment.
        """
        if self._is_idle:
            self.loop.call_later(LINGER_SECONDS, self._close_if_idle)
        elif self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()

    @property
    def _is_idle(self) -> bool:
        """True when no request has begun."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return self._exchange is None and not self._has_begun and is_answered

    def _close_if_idle(self) -> None:
        if self._is_idle:
            self.transport.close()

    def resume_writing(self) -> None:
        """Read on, once the client has read what it was sent."""
        super().resume_writing()
        self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """Leave idle time to `_look`: uvicorn sets a timer for each response, which costs more and knows one road only."""
        if self._due is not None and not self.pipeline:
            if not self.transport.is_closing():
                self._write(self._due, keep_alive=False)
            return
        super().on_response_complete()
        super()._unset_keepalive_if_required()
        self._since = self.loop.time()

    def _look(self) -> None:
        """Look after the connection every few seconds: no head, no body and no idle time lasts beyond its bound."""
        self._watch = self.loop.call_later(WATCH_SECONDS, self._look)
        now = self.loop.time()
        waited = now - self._since
        if self._is_left_unread(now):
            self.transport.abort()  # to close it would wait for the client
        elif self._exchange is not None:
            size = sum(map(len, self._body))
            if waited > min(BODY_GRACE_SECONDS + size / BODY_BYTES_PER_SECOND, BODY_SECONDS):
                error = InvalidRequest(
                    f"the body came too slowly: {size} bytes in {waited:.0f} s.", code="BODY_TIMEOUT"
                )
                response = self._exchange.refuse(error)
                self._drop_exchange()
                self._write(response, keep_alive=False)
        elif self.cycle is not None and not self.cycle.response_complete:
            return  # uvicorn's road: whoever answers there has timers of their own
        elif waited > (HEAD_SECONDS if self._has_begun else self.timeout_keep_alive):
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _is_left_unread(self, now: float) -> bool:
        """True when an answer has been there for long, and the client takes nothing of it."""
        unsent, before = self.transport.get_write_buffer_size(), self._unsent
        self._unsent = unsent
        if not unsent or unsent <= before - READER_BYTES:
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        return self._unread_since is not None and now - self._unread_since > READER_SECONDS

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio's: true keeps the other half open
        """Answer a client that sends no more but has asked, then close: it may have said so by closing its half only."""
        if self._due is not None:
            return True
        cycle = self.cycle
        if self._is_open or cycle is None or cycle.response_complete:
            return None
        cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        """Parse what has come, unless a message has too much that is neither line, headers nor body."""
        if self._is_open:
            self._framing += len(data)
            if self._framing > (MAX_FRAMING if self._is_head_done else MAX_HEAD):
                self._refuse_framing()
                return
        while data:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:  # which is not offered: its body is taken for that other protocol
                data = self._without_upgrade + data[upgrade.args[0] :]
                self.parser, self._without_upgrade = HttpRequestParser(self), b""
                continue
            except HttpParserError:
                self.send_400_response(INVALID)
            return

    def send_400_response(self, msg: str) -> None:
        """Answer bad HTTP, or a head beyond its bounds, as everything is answered: in JSON, in turn, then close."""
        if self._due is not None or self.transport.is_closing():
            return
        error = self._head_error or InvalidRequest(f"{msg[:80].rstrip('.')}.", code="BAD_HEADER")
        self._drop_exchange()
        cycle = self.cycle
        if self._is_open and self._is_long and self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()  # it waits for its turn, and will not be complete
        elif self._is_open and self._is_long and cycle.response_started:
            self.transport.close()  # it was answered before its body came
            return
        elif (self._is_open and self._is_long) or cycle is None or cycle.response_complete:
            self._write(Exchange(self._plane, "GET", "", {}).refuse(error), keep_alive=False)
            return
        self._due = Exchange(self._plane, "GET", "", {}).refuse(error)

    def _refuse_framing(self) -> None:
        if self._is_head_done:
            text, code = f"what frames the body is over {MAX_FRAMING} bytes.", "BODY_TOO_LARGE"
        else:
            text, code = f"the headers are over {MAX_HEADERS} bytes together.", "HEADERS_TOO_LARGE"
        self._head_error = TrivetError(text, code=code)
        self.send_400_response(text)

    # --- the parser's callbacks ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._has_begun = self._is_open = True
        self._is_long = False
        self._framing = 0
        self._is_head_done = False
        self._since = self.loop.time()
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._head_bytes = 0
        self._chunks = 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > MAX_LINE:
            self._stop(f"the request line is over {MAX_LINE} bytes.", "LINE_TOO_LONG")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_head_done:
            return  # a trailer: it must not become a header that a proxy in front has not seen
        size = len(value)
        self._head_bytes += size + len(name)
        if size > MAX_HEADER or self._head_bytes > MAX_HEADERS or len(self.headers) >= MAX_FIELDS:
            limits = f"{MAX_FIELDS} fields, {MAX_HEADER} bytes each or {MAX_HEADERS} together"
            self._stop(f"the headers are over {limits}.", "HEADERS_TOO_LARGE")
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._is_head_done = True
        self._has_begun = False
        headers = read_headers(self.headers)
        if b"upgrade" in headers and self.parser.should_upgrade():
            self._without_upgrade = self._head_without_upgrade()
            return
        # To ask for the version each time costs half a microsecond; all but 1.1 end the connection, unless they are asked not to.
        if not self.parser.should_keep_alive() or b"connection" in headers or b"proxy-connection" in headers:
            self._check_version()
        raw_path, _, query = self.url.partition(b"?")
        path = raw_path.decode("ascii", "replace")
        if (
            not (self._may_go_directly(headers) and is_prediction_path(path, self._plane.prefix))
            or self._plane.lease.is_over
        ):
            self._take_the_long_road(headers)
            return
        self._exchange = exchange = Exchange(self._plane, "POST", path, headers, query=query, holds=True)
        self._refusal = exchange.begin()
        self._body = []
        self._since = self.loop.time()

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._chunks > MAX_CHUNKS + 1:  # the last one is empty
            self._stop(f"the body came in over {MAX_CHUNKS} chunks; send larger ones.", "BODY_TOO_LARGE")

    def on_body(self, body: bytes) -> None:
        self._framing -= len(body)
        if self._exchange is not None:
            self._body.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_open = False
        exchange = self._exchange
        if exchange is None:
            if not self._without_upgrade:
                super().on_message_complete()
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        response = self._refusal or exchange.receive(body)
        if response is None and exchange.is_slow:
            self._run_beside_the_loop(exchange)
            return
        if response is None:
            response = exchange.run()
            if self._plane.spool.commits is not None:
                cycle = self._held_cycle()
                self._drop_exchange()
                self.cycle = cycle  # type: ignore[assignment]  # as above
                self._hold(cycle, exchange, response)
                return
        self._drop_exchange()
        self._write(response, keep_alive=self.parser.should_keep_alive() and not self._plane.is_draining)

    def _run_beside_the_loop(self, exchange: Exchange) -> None:
        """Answer from a thread of the slow lane. What the client sends meanwhile queues as behind any other."""
        cycle = self._held_cycle()

        def come_back(response: Response) -> None:
            if self._plane.spool.commits is not None:
                self._hold(cycle, exchange, response)
            else:
                self._release(cycle, response)

        refusal = exchange.start_clock()
        self._drop_exchange()
        if refusal is not None:
            self._write(refusal, keep_alive=cycle.keep_alive)
            return
        self.cycle = cycle  # type: ignore[assignment]  # of a cycle, what uvicorn asks while one is under way
        try:
            self._slow_lane.submit(exchange.run, exchange.lane, come_back, exchange.put, exchange.ends_quickly)
        except LaneFull as error:
            come_back(exchange.stand_in(error))

    def _held_cycle(self) -> _Held:
        cycle = _Held()
        cycle.keep_alive = self.parser.should_keep_alive() and not self._plane.is_draining
        return cycle

    def _hold(self, cycle: _Held, exchange: Exchange, response: Response) -> None:
        """Send the response once its record is on disk."""

        def release(error: Unavailable | None) -> None:
            self._release(cycle, response if error is None else exchange.refuse(error))

        self._plane.spool.commits.hold(self.loop, release)  # type: ignore[union-attr]  # asked before

    def _release(self, cycle: _Held, response: Response) -> None:
        """Send what was held, then go on with what has queued behind it."""
        cycle.response_complete = True
        if cycle.disconnected or self.transport.is_closing():
            return
        self._write(response, keep_alive=cycle.keep_alive and not self._plane.is_draining)
        if cycle.keep_alive:
            self.on_response_complete()

    # --- both roads ---------------------------------------------------------------------------------------------------

    def _may_go_directly(self, headers: Headers) -> bool:
        """True for a POST that is small, says so, needs no decoding of its path, and waits behind no other."""
        length = headers.get(b"content-length")
        return (
            length is not None
            and len(length) < LENGTH_DIGITS
            and length.isdigit()
            and self.parser.get_method() == b"POST"
            and not self.expect_100_continue
            and b"content-encoding" not in headers  # it may inflate to a hundred times its length
            and b"%" not in self.url
            and (self.cycle is None or self.cycle.response_complete)
        )

    def _take_the_long_road(self, by_name: Headers) -> None:
        """Give the head that was parsed to uvicorn, as if it had collected it; refuse one that may mean two things."""
        url, headers, is_old = self.url, self.headers, self._check_version() == "1.0"
        self._check_target(by_name)
        codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
        if codings and (codings != [b"chunked"] or is_old):
            self._stop("Transfer-Encoding is not 'chunked', once, in HTTP/1.1.", "BAD_HEADER")
        expects = self.expect_100_continue and not is_old
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()
        self._is_long = True
        if self._plane.is_draining:
            self.cycle.keep_alive = False

    def _check_version(self) -> str:
        version: str = self.parser.get_http_version()
        if version not in VERSIONS:
            self._stop("the request line names neither HTTP/1.1 nor HTTP/1.0.", "BAD_HEADER")
        return version

    def _check_target(self, headers: Headers) -> None:
        """Refuse what is neither a path nor the whole address of one on the host that the headers name."""
        if self.parser.get_method() == b"CONNECT":
            self._stop("CONNECT is not offered.", "METHOD")
        if self.url[:1] == b"/":
            return
        scheme, separator, rest = self.url.partition(b"://")
        is_address = separator and scheme.lower() in (b"http", b"https")
        if not is_address or rest.partition(b"/")[0].lower() != headers.get(b"host", b"").lower():
            self._stop("the request line names no path of the host in its headers.", "BAD_PATH")

    def _head_without_upgrade(self) -> bytes:
        """Return the head that was parsed, as it would be without the wish for another protocol."""
        left_out = (b"connection", b"upgrade", b"http2-settings")
        lines = [b"%b: %b" % field for field in self.headers if field[0] not in left_out]
        if any(b"close" in value.lower() for name, value in self.headers if name == b"connection"):
            lines.append(b"connection: close")
        first = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        return b"\r\n".join((first, *lines, b"\r\n"))

    def _write(self, response: Response, *, keep_alive: bool) -> None:
        parts = [_status_line(response.status)]
        for name, value in self.server_state.default_headers:
            parts.append(b"%b: %b\r\n" % (name, value))
        for name, value in response.headers:
            parts.append(b"%b: %b\r\n" % (name, value))
        parts += (b"\r\n" if keep_alive else b"connection: close\r\n\r\n", response.body)
        self.transport.write(b"".join(parts))
        self.server_state.total_requests += 1
        self._since = self.loop.time()
        if not keep_alive:
            self.transport.close()
        if self.flow.write_paused:
            self.flow.pause_reading()

    def _drop_exchange(self) -> None:
        self._exchange = self._refusal = None
        self._body = []

    def _stop(self, text: str, code: str) -> None:
        self._head_error = TrivetError(text, code=code)
        raise self._head_error  # the parser turns it into its own error, and `send_400_response` answers


class _Held:
    """A response that waits to be sent, as uvicorn sees it: a cycle that is not complete."""

    def __init__(self) -> None:
        self.response_complete = False
        self.keep_alive = True
        self.disconnected = False
        self.message_event = asyncio.Event()


@lru_cache(maxsize=64)
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
