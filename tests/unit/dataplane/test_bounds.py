"""The bounds of heads, connections, calls and streams: what is within one is answered, what is beyond refused, or waits."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import pytest
import uvicorn
from uvicorn.server import ServerState

from tests.unit.dataplane.grpc_world import SECONDS, Door, request
from tests.unit.dataplane.mounts import by_uvicorn
from tests.unit.dataplane.world import World
from trivet.dataplane.frontends import asgi, uvicorn as http
from trivet.dataplane.frontends.grpc import server as grpc_server
from trivet.dataplane.frontends.slow_lane import SlowLane

REQUEST = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def streams() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(door: Door, streams: ExitStack) -> grpc.Channel:
    """Return a connection of its own to the door."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    channel = grpc.insecure_channel(door.address, options=options)
    streams.callback(channel.close)
    return channel


def is_live(channel: grpc.Channel, seconds: float = SECONDS) -> bool:
    """True when a call on the connection is answered."""
    stub = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
    try:
        stub(b"", timeout=seconds)
    except grpc.RpcError:
        return False
    return True


def held_stream(door: Door, streams: ExitStack) -> None:
    """Open a stream on the door's own connection, which stays open: its first message is answered."""
    messages: queue.Queue = queue.Queue()
    messages.put(request())
    stream = door.stream(iter(messages.get, None))
    streams.callback(stream.cancel)
    streams.callback(messages.put, None)
    assert not next(stream).error_message


def test_41_one_call_more_than_may_be_under_way_is_refused(
    world: World, streams: ExitStack, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(grpc_server, "MAX_CALLS", 3)
    with Door(world) as door:
        for _ in range(2):
            held_stream(door, streams)
        assert door.ask("ServerLive").live
        held_stream(door, streams)
        with pytest.raises(grpc.RpcError) as refusal:
            door.ask("ServerLive")
        assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        streams.close()


def test_41_one_call_more_than_a_connection_may_have_waits_and_others_have_their_own(
    world: World, streams: ExitStack, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(grpc_server, "MAX_STREAMS", 2)
    with Door(world) as door:
        held_stream(door, streams)
        assert door.ask("ServerLive").live
        held_stream(door, streams)
        assert not is_live(door.channel, 0.3)
        assert is_live(opened(door, streams))
        streams.close()


def test_41_one_grpc_connection_more_than_there_may_be_is_refused(
    world: World, streams: ExitStack, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(grpc_server, "MAX_CONNECTIONS", 2)
    with Door(world) as door:
        assert is_live(door.channel)
        assert is_live(opened(door, streams))
        assert not is_live(opened(door, streams))
        assert is_live(door.channel)
        streams.close()


def test_41_a_grpc_connection_without_a_call_is_closed(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grpc_server, "IDLE_MS", 100)
    is_closed, seen = threading.Event(), []

    def watch(state: grpc.ChannelConnectivity) -> None:
        seen.append(state)
        if state is grpc.ChannelConnectivity.IDLE and grpc.ChannelConnectivity.READY in seen:
            is_closed.set()

    with Door(world) as door:
        door.channel.subscribe(watch)
        assert is_live(door.channel)
        assert is_closed.wait(SECONDS), seen
        assert is_live(door.channel), "it connects anew"
        door.channel.unsubscribe(watch)


class Web:
    """The protocol of a web worker on socket pairs, all of one server."""

    def __init__(self, world: World, *, idle_seconds: int = 60) -> None:
        self.world = world
        self.state = ServerState()
        self.config = uvicorn.Config(
            asgi_of(world), ws="none", lifespan="off", log_config=None, timeout_keep_alive=idle_seconds
        )
        self.config.load()

    async def connect(self) -> socket.socket:
        protocol = http.DirectProtocol(
            self.world.plane, SlowLane(), config=self.config, server_state=self.state, app_state={}
        )
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, theirs)
        return ours

    async def send(self, connection: socket.socket, data: bytes) -> None:
        """Send `data`, and let the worker read it."""
        await asyncio.get_running_loop().sock_sendall(connection, data)
        await asyncio.sleep(0)

    async def status(self, connection: socket.socket) -> int:
        """Return what the connection is answered; 0 where it is closed."""
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            await loop.sock_sendall(connection, REQUEST)
        received = await loop.sock_recv(connection, 1 << 16)
        return int(received.split()[1]) if received else 0


def asgi_of(world: World) -> Callable:
    async def application(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        await asgi.answer(world.plane, scope, receive, send, SlowLane())

    return application


def test_41_one_http_connection_more_than_there_may_be_is_told_so_and_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 2)

    async def run() -> tuple[list[int], bytes, int]:
        web, loop = Web(world), asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS):
            connections = [await web.connect() for _ in range(2)]
            within = [await web.status(connection) for connection in connections]
            beyond = await web.connect()
            told, end = await loop.sock_recv(beyond, 1 << 16), await loop.sock_recv(beyond, 1)
            assert end == b""
            connections[0].close()
            beyond.close()
            while len(web.state.connections) > 1:
                await asyncio.sleep(0)
            connections[0] = await web.connect()
            again = await web.status(connections[0])
            for connection in connections:
                connection.close()
            return within, told, again

    within, told, again = asyncio.run(run())
    assert (within, again) == ([200, 200], 200)
    assert told.startswith(b"HTTP/1.1 503")
    assert b"QUEUE_FULL" in told


def test_41_an_idle_http_connection_is_closed_after_its_time_and_not_before(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(http, "WATCH_SECONDS", 0.02)

    async def run() -> tuple[list[int], bytes, int]:
        soon, late, loop = Web(world, idle_seconds=0), Web(world), asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS):
            idle, other = await soon.connect(), await late.connect()
            answered = [await soon.status(idle), await late.status(other)]
            end = await loop.sock_recv(idle, 1)
            again = await late.status(other)
            idle.close()
            other.close()
            return answered, end, again

    assert asyncio.run(run()) == ([200, 200], b"", 200)


def head_of(**fields: bytes) -> dict[bytes, bytes]:
    """Return the fields of a head that names no host but these."""
    return {b"host": b"localhost"} | {name.encode(): value for name, value in fields.items()}


def status_of(world: World, headers: dict[bytes, bytes], query: str = "") -> int:
    return by_uvicorn(world.plane, "GET", f"/v2/health/live{query}", headers, b"").status


SENT_TOO = len(b"connection" + b"close")  # by the client of `by_uvicorn`, as one field more


def test_41_a_request_line_has_its_bound(world: World):
    room = http.MAX_LINE - len("/v2/health/live?")
    assert status_of(world, head_of(), "?" + "x" * room) == 200
    assert status_of(world, head_of(), "?" + "x" * (room + 1)) == 414


def test_41_a_field_of_the_head_has_its_bound(world: World):
    assert status_of(world, head_of(x=b"y" * http.MAX_HEADER)) == 200
    assert status_of(world, head_of(x=b"y" * (http.MAX_HEADER + 1))) == 431


def test_41_the_fields_of_the_head_have_a_bound_for_their_number(world: World):
    for more, status in ((http.MAX_FIELDS - 2, 200), (http.MAX_FIELDS - 1, 431)):
        assert status_of(world, head_of(**{f"x{number}": b"" for number in range(more)})) == status


def test_41_the_fields_of_the_head_have_a_bound_together(world: World):
    headers = head_of(**{f"x{number}": b"y" * (http.MAX_HEADER - 2) for number in range(7)})
    room = http.MAX_HEADERS - SENT_TOO - sum(map(len, [*headers, *headers.values()])) - len("last")
    assert status_of(world, headers | {b"last": b"y" * room}) == 200
    assert status_of(world, headers | {b"last": b"y" * (room + 1)}) == 431


def answered_slowly(world: World, *pieces: bytes) -> bytes:
    """Send these bytes and no more; return all that comes back until the connection is closed."""

    async def run() -> bytes:
        web, loop = Web(world), asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS):
            connection = await web.connect()
            for piece in pieces:
                await web.send(connection, piece)
            received = b""
            while part := await loop.sock_recv(connection, 1 << 16):
                received += part
            connection.close()
            return received

    return asyncio.run(run())


HEAD = b"POST /v2/models/churn/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\nAuthorization: Bearer "


@pytest.fixture
def quick_watch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let the worker look after its connections often."""
    monkeypatch.setattr(http, "WATCH_SECONDS", 0.02)
    return monkeypatch


def test_41_a_head_that_is_not_complete_in_its_time_is_closed(world: World, quick_watch: pytest.MonkeyPatch):
    quick_watch.setattr(http, "HEAD_SECONDS", 0.05)
    assert answered_slowly(world, HEAD[:40]) == b""


@pytest.mark.parametrize(
    ("grace", "bytes_a_second", "seconds"),
    [(0.05, 1e9, 30.0), (0.0, 1e6, 30.0), (30.0, 1024, 0.05)],
    ids=["that does not begin", "below the rate", "beyond its time"],
)
def test_41_a_body_that_does_not_come_in_its_time_is_408(
    world: World, quick_watch: pytest.MonkeyPatch, grace: float, bytes_a_second: float, seconds: float
):
    quick_watch.setattr(http, "BODY_GRACE_SECONDS", grace)
    quick_watch.setattr(http, "BODY_BYTES_PER_SECOND", bytes_a_second)
    quick_watch.setattr(http, "BODY_SECONDS", seconds)
    body = b"" if bytes_a_second > 1e6 else b"x" * 2000
    told = answered_slowly(world, HEAD + world.key.encode() + b"\r\n\r\n", body)
    assert told.startswith(b"HTTP/1.1 408")
    assert b"BODY_TIMEOUT" in told


def test_H58_an_answer_that_nobody_takes_costs_its_connection(world: World, quick_watch: pytest.MonkeyPatch):
    quick_watch.setattr(http, "READER_SECONDS", 0.2)
    quick_watch.setattr(http, "READER_BYTES", 1)

    async def run() -> tuple[int, int]:
        web = Web(world)
        async with asyncio.timeout(SECONDS):
            deaf, good = await web.connect(), await web.connect()
            loop = asyncio.get_running_loop()
            sending = asyncio.create_task(loop.sock_sendall(deaf, REQUEST * 20_000))
            while len(web.state.connections) > 1:
                assert await web.status(good) == 200
                await asyncio.sleep(0.01)
            with suppress(ConnectionError):
                await sending
            status = await web.status(good)
            deaf.close()
            good.close()
            return status, len(web.state.connections)

    assert asyncio.run(run()) == (200, 1)
