"""Clients that are slow, leave, or do not listen, against a real web worker: afterwards it has all it had before."""

from __future__ import annotations

import json
import socket
import statistics
import struct
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, copy_project, serving, trivet, wait_for
from tests.acceptance.wire import Wire, marked, request
from tests.robustness.score import Score
from tests.scale import SCALE, scaled
from trivet.dataplane.frontends.asgi import BODY_GRACE_SECONDS
from trivet.dataplane.frontends.slow_lane import SLOW_THREADS
from trivet.dataplane.frontends.uvicorn import HEAD_SECONDS, READER_SECONDS, WATCH_SECONDS

SLOW = scaled(test=40, ci=200, full=200)  # connections at once
LEAVING = scaled(test=90, ci=300, full=1_000)
ASKED = scaled(test=100, ci=200, full=400)  # of a good client, in each round
ROUNDS = 5
BUSY_SECONDS = 0.02  # what a machine that others use too may add to one answer in a hundred
SLACK_SECONDS = 2.0
WEB_THREADS = 8  # of TRIVET_WEB_THREADS, as it is by default
OWN = 1  # the connection that asks, which may be there still or not
DEAF = scaled(test=2, ci=5, full=20)  # clients that read nothing
NOW = struct.pack("ii", 1, 0)  # to close with a reset


@pytest.fixture(scope="module")
def served(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Churn, str]]:
    project = copy_project(churn_template.project, tmp_path_factory.mktemp("slow") / "project")
    watch = trivet("keys", "create", "watch", "--model", "*", "--verb", "view", "--quiet", project=project).stdout
    with serving(project, workers=1) as server:
        churn = Churn(project, churn_template.key, churn_template.body, churn_template.rows)
        with Wire(server) as wire:
            for _ in range(8):  # threads of pools come with what they are for
                wire.send(slow_request(churn) + b"GET /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert (wire.told().status, wire.told().status) == (200, 200)
        yield server, churn, watch.strip()
        assert not [line for line in server.lines if "Traceback" in line], server.lines


@pytest.fixture
def held(served: tuple[Server, Churn, str]) -> Iterator[None]:
    """Look at what the worker has before and after the test."""
    server, churn, watch = served
    before = capacity(server, watch)
    yield
    wait_for(lambda: capacity(server, watch)[0] <= before[0] + OWN, 20)
    _, threads, waiting = capacity(server, watch)
    assert threads <= before[1] + SLOW_THREADS + WEB_THREADS  # a pool grows to its size once, when the machine is busy
    assert waiting == 0
    with Wire(server) as wire:
        wire.send(marked(churn, "after"))
        assert wire.told().json["id"] == "after"


def capacity(server: Server, watch: str) -> tuple[int, int, float]:
    """Return the worker's descriptors, its threads, and the requests that it believes to be under way."""
    (worker,) = server.web_workers()
    asked = urllib.request.Request(f"{server.url}/metrics", headers={"Authorization": f"Bearer {watch}"})
    with urllib.request.urlopen(asked, timeout=20) as answer:
        text = answer.read().decode()
    samples = {
        (s.name, *s.labels.values()): s.value for family in text_string_to_metric_families(text) for s in family.samples
    }
    under_way = samples.get(("trivet_in_flight",), 0.0)
    return len(list(Path(f"/proc/{worker}/fd").iterdir())), len(list(Path(f"/proc/{worker}/task").iterdir())), under_way


def slow_request(churn: Churn) -> bytes:
    """Return a request that takes milliseconds, in a thread, and whose answer is large."""
    return request(churn, json.dumps({"rows": (churn.rows * 60)[:1000]}).encode(), path="/v2/models/churn/predict")


def p99_of(server: Server, churn: Churn) -> float:
    """Return the p99 of a good client's requests, in seconds; each is answered."""
    took = []
    with Wire(server) as wire:
        for number in range(ASKED):
            began = time.perf_counter()
            wire.send(marked(churn, f"n{number}"))
            assert wire.told().json["id"] == f"n{number}"
            took.append(time.perf_counter() - began)
    return sorted(took)[int(len(took) * 0.99) - 1]


def hardly_notice(
    attacked: list[float], quiet: list[float], served: tuple[Server, Churn, str], *, slack: float = BUSY_SECONDS
) -> bool:
    """True where good clients waited less than twice as long beside the bad ones as without, before or after them."""
    after = [p99_of(*served[:2]) for _ in quiet]  # the machine may have become busier meanwhile, with other things
    return statistics.median(attacked) < 2 * max(map(statistics.median, (quiet, after))) + slack


@contextmanager
def trickling(server: Server, sent: bytes, count: int, *, every: float) -> Iterator[list[Wire]]:
    """Hold `count` connections on which `sent` has come, and then a byte from time to time."""
    stop = threading.Event()
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server)) for _ in range(count)]
        for wire in wires:
            wire.send(sent)

        def trickle() -> None:
            while not stop.wait(every):
                for wire in wires:
                    with suppress(OSError):
                        wire.send(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            yield wires
        finally:
            stop.set()
            thread.join()


@pytest.mark.usefixtures("held")
def test_H56_slow_heads_are_dropped_and_good_clients_hardly_notice(served: tuple[Server, Churn, str]):
    server, churn, _ = served
    quiet = [p99_of(server, churn) for _ in range(ROUNDS)]
    began = time.monotonic()
    with trickling(server, b"POST /v2/models/churn/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", SLOW, every=0.5) as slow:
        attacked = [p99_of(server, churn) for _ in range(ROUNDS)]
        assert all(wire.is_closed() for wire in slow)
    assert time.monotonic() - began < HEAD_SECONDS + WATCH_SECONDS + SLACK_SECONDS + sum(attacked) * ASKED
    assert hardly_notice(attacked, quiet, served)


@pytest.mark.usefixtures("held")
def test_H57_slow_bodies_are_408_on_every_road_and_good_clients_hardly_notice(
    served: tuple[Server, Churn, str], score: Score
):
    server, churn, _ = served
    head, _, _ = request(churn).partition(b"\r\n\r\n")
    chunked = head.replace(b"Content-Length: %d" % len(churn.body), b"Transfer-Encoding: chunked")
    quick = head + b"\r\n\r\n{"
    page = b"POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n\r\nx"
    quiet = [p99_of(server, churn) for _ in range(ROUNDS)]
    began = time.monotonic()
    with ExitStack() as stack:
        slow = [
            wire
            for sent in (quick, chunked + b"\r\n\r\n1000\r\n{", page)
            for wire in stack.enter_context(trickling(server, sent, SLOW // 3, every=0.5))
        ]
        attacked = [p99_of(server, churn) for _ in range(ROUNDS)]
        told = [wire.told() for wire in slow]
    assert time.monotonic() - began < BODY_GRACE_SECONDS + WATCH_SECONDS + SLACK_SECONDS + sum(attacked) * ASKED
    score.count("client_5xx", sum(one.status >= 500 for one in told), of=len(told))
    assert {(one.status, one.headers["trivet-error"], *one.json) for one in told} == {(408, "BODY_TIMEOUT", "error")}
    assert hardly_notice(attacked, quiet, served)


@pytest.mark.usefixtures("held")
@pytest.mark.skipif(SCALE == "test", reason=f"it waits for {READER_SECONDS:.0f} s: make robustness does")
def test_H58_clients_that_read_nothing_lose_their_connections(served: tuple[Server, Churn, str]):
    server, churn, _ = served
    (worker,) = server.web_workers()
    quiet = [p99_of(server, churn) for _ in range(ROUNDS)]
    before = descriptors_of(worker)
    with ExitStack() as stack:
        for _ in range(DEAF):
            wire = stack.enter_context(Wire(server, receive_buffer=4096))
            wire.socket.settimeout(0.2)
            with suppress(TimeoutError):
                for _ in range(400):
                    wire.send(slow_request(churn))
        assert descriptors_of(worker) >= before + DEAF - OWN
        attacked = [p99_of(server, churn) for _ in range(ROUNDS)]
        wait_for(lambda: descriptors_of(worker) <= before + OWN, READER_SECONDS + 2 * WATCH_SECONDS + 10)
    assert hardly_notice(attacked, quiet, served)


def descriptors_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.usefixtures("held")
def test_H59_a_client_that_has_closed_its_half_is_answered(served: tuple[Server, Churn, str]):
    server, churn, _ = served
    for sent in (request(churn), slow_request(churn), b"GET /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"):
        with Wire(server) as wire:
            wire.send(sent)
            wire.socket.shutdown(socket.SHUT_WR)
            assert wire.told().status == 200
            assert wire.is_closed()
    with Wire(server) as wire:
        wire.send(slow_request(churn)[:-5])
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.is_closed()


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_H60_clients_that_leave_at_any_moment_take_nothing_with_them(
    served: tuple[Server, Churn, str], *, is_reset: bool
):
    server, churn, _ = served
    page = b"GET /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    whole = slow_request(churn)
    kinds = (whole, whole[: len(whole) // 2], whole * 3, page, page + whole, request(churn), request(churn)[:-3], b"P")
    quiet = [p99_of(server, churn) for _ in range(ROUNDS)]
    attacked: list[float] = []

    def ask() -> None:
        attacked.extend(p99_of(server, churn) for _ in range(ROUNDS))

    good = threading.Thread(target=ask)
    good.start()
    for number in range(LEAVING):
        with Wire(server) as wire:
            if is_reset:
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
            wire.send(kinds[number % len(kinds)])
            if number % 16 == 0:
                wire.socket.recv(100)  # it leaves in the middle of the answer
    good.join()
    assert len(attacked) == ROUNDS
    assert hardly_notice(attacked, quiet, served, slack=5 * BUSY_SECONDS)
