"""Clients of a real gRPC worker that hold calls and send nothing, or take nothing: whoever has a key is answered meanwhile."""

from __future__ import annotations

import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.http2 import DATA, Frames, prefixed
from tests.acceptance.servers import Output, clean_environment, copy_project, wait_for
from tests.scale import SCALE, scaled
from trivet.dataplane.frontends.grpc.descriptor import health, inference
from trivet.dataplane.frontends.grpc.server import HANDSHAKE_MS, MAX_CALLS, MAX_STREAMS
from trivet.dataplane.frontends.grpc.servicer import HEALTH_SERVICE, INFERENCE_SERVICE, MESSAGE_SECONDS, NAME_SECONDS
from trivet.dataplane.frontends.grpc.strangers import MAX_STRANGERS

pytestmark = pytest.mark.slow

CONNECTIONS = MAX_CALLS // MAX_STREAMS + 1  # as many as could hold every call there may be
ASKED = scaled(test=50, ci=100, full=200)  # of a good client, in each round
ROUNDS = 3
BUSY_SECONDS = 0.02
SLACK_SECONDS = 3.0
CHECK, WATCH = f"/{HEALTH_SERVICE}/Check", f"/{HEALTH_SERVICE}/Watch"
LIVE, READY = f"/{INFERENCE_SERVICE}/ServerLive", f"/{INFERENCE_SERVICE}/ServerReady"
INFER = f"/{INFERENCE_SERVICE}/ModelInfer"


class Door:
    """A gRPC worker that runs, and a client with a key."""

    def __init__(self, address: str, churn: Churn, process: subprocess.Popen[str]) -> None:
        self.address = address
        self.process = process
        self.metadata = [("authorization", f"Bearer {churn.key}")]
        self._body = inference.ModelInferRequest(model_name="churn")
        row = churn.rows[0]
        for name, datatype, field in (
            ("tenure", "FP64", "fp64_contents"),
            ("plan", "BYTES", "bytes_contents"),
            ("seats", "INT64", "int64_contents"),
        ):
            tensor = self._body.inputs.add(name=name, datatype=datatype, shape=[1, 1])
            value = row[name].encode() if isinstance(row[name], str) else row[name]
            getattr(tensor.contents, field).append(value)
        channel = self._new_channel()
        self._infer = channel.unary_unary(INFER)
        self._check = channel.unary_unary(CHECK)

    def _new_channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])

    @property
    def message(self) -> bytes:
        """A ModelInferRequest that works."""
        data: bytes = self._body.SerializeToString()
        return data

    def p99(self) -> float:
        """Return the p99 of a good client's requests, in seconds; each is answered."""
        took = []
        for _ in range(ASKED):
            began = time.perf_counter()
            answer = inference.ModelInferResponse.FromString(self._infer(self.message, 20, self.metadata))
            assert answer.model_version == "1"
            took.append(time.perf_counter() - began)
        return sorted(took)[int(len(took) * 0.99) - 1]

    def newcomer(self) -> Any:
        """Begin the request of a good client that has just come, and return it."""
        return self._new_channel().unary_unary(INFER).future(self.message, 20, self.metadata)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have the worker stand still, so that all that is sent meanwhile comes to it at once."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def is_serving(self) -> bool:
        """Ask for the worker's state without a key."""
        return health.HealthCheckResponse.FromString(self._check(b"", 20)).status == 1


@pytest.fixture(scope="module")
def door(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    project = copy_project(churn_template.project, tmp_path_factory.mktemp("grpc") / "project")
    process = subprocess.Popen(
        [sys.executable, "-m", "trivet", "grpc", "--bind", "127.0.0.1:0"],
        cwd=project,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = Output(process)
    try:
        told = wait_for(lambda: [line for line in said.lines if line.startswith("ready on ")])
        yield Door(told[0].removeprefix("ready on ").strip(), churn_template, process)
    finally:
        process.terminate()
        process.wait(timeout=30)
        said.close()
    assert "event=internal_error" not in str(said), str(said)  # what grpc itself logs of clients that left is its own


def hardly_notice(door: Door, attacked: list[float], quiet: list[float]) -> bool:
    """True where a good client waited less than twice as long beside the bad ones as before or after them."""
    after = [door.p99() for _ in quiet]
    return statistics.median(attacked) < 2 * max(map(statistics.median, (quiet, after))) + BUSY_SECONDS


def test_H56_D23_heads_without_a_message_keep_no_caller_out_and_are_ended(door: Door):
    quiet = [door.p99() for _ in range(ROUNDS)]
    with ExitStack() as stack:
        connections = [stack.enter_context(Frames(door.address)) for _ in range(CONNECTIONS)]
        for connection in connections:
            for number in range(MAX_STREAMS):
                connection.call((CHECK, WATCH)[number % 2])
        attacked = [door.p99() for _ in range(ROUNDS)]
        assert door.is_serving()  # who sends a message with the head takes the place of one who does not
        began = time.monotonic()
        for connection in connections:
            connection.wait_ended(set(range(1, 2 * MAX_STREAMS, 2)), NAME_SECONDS + SLACK_SECONDS)
        assert time.monotonic() - began < NAME_SECONDS + SLACK_SECONDS
    assert hardly_notice(door, attacked, quiet)


def test_H57_a_message_without_a_key_that_comes_slowly_is_ended(door: Door):
    with Frames(door.address) as connection:
        stream = connection.call(CHECK)
        began = time.monotonic()
        for byte in prefixed(b"x" * 100)[:20]:
            connection.send(DATA, 0, stream, bytes([byte]))
            connection.look()
        connection.wait_ended({stream}, NAME_SECONDS + SLACK_SECONDS)
        assert time.monotonic() - began > NAME_SECONDS - SLACK_SECONDS
    assert door.is_serving()


@pytest.mark.skipif(SCALE == "test", reason=f"it waits for {MESSAGE_SECONDS:.0f} s: make robustness does")
def test_H57_a_message_with_a_key_that_comes_slowly_is_ended_too(door: Door):
    with Frames(door.address) as connection:
        stream = connection.call(INFER, **dict(door.metadata))
        connection.send(DATA, 0, stream, prefixed(door.message)[:-1])
        connection.wait_ended({stream}, MESSAGE_SECONDS + SLACK_SECONDS)


def test_H58_D23_who_takes_nothing_of_an_answer_keeps_no_caller_with_a_key_out(door: Door):
    quiet = [door.p99() for _ in range(ROUNDS)]
    with ExitStack() as stack:
        connections = [stack.enter_context(Frames(door.address, window=0)) for _ in range(CONNECTIONS)]
        for connection in connections:
            connection.look()  # the server has read the window
            for number in range(MAX_STREAMS):
                connection.call((LIVE, READY, CHECK, WATCH)[number % 4], b"")
        attacked = [door.p99() for _ in range(ROUNDS)]
        for connection in connections:
            connection.look()
        held = sum(MAX_STREAMS - len(connection.ended) for connection in connections)
        assert held <= 2 * MAX_STRANGERS + SLACK_SECONDS  # and as many watches
    assert hardly_notice(door, attacked, quiet)
    wait_for(lambda: answers(door))


def answers(door: Door) -> bool:
    """True where somebody without a key is answered: the places of those who are gone are free again."""
    try:
        return door.is_serving()
    except grpc.RpcError as error:
        told: Any = error
        assert told.code() == grpc.StatusCode.UNAVAILABLE
        return False


def test_H60_calls_of_a_connection_that_is_gone_hold_nothing(door: Door):
    for _ in range(2 * CONNECTIONS):
        with Frames(door.address) as connection:
            for method in (CHECK, WATCH, LIVE, INFER) * (MAX_STREAMS // 4):
                connection.call(method, **dict(door.metadata))
    assert door.p99() > 0
    assert door.is_serving()


def test_H60_calls_that_come_all_at_once_keep_no_newcomer_with_a_key_out(door: Door):
    for _ in range(ROUNDS):
        with ExitStack() as stack:
            with door.stopped():
                for _ in range(4 * CONNECTIONS):
                    connection = stack.enter_context(Frames(door.address))
                    for _ in range(MAX_STREAMS):
                        connection.call(CHECK)
                asked = door.newcomer()
            assert asked.exception() is None
            assert door.newcomer().exception() is None  # who comes after all of them, so that none waits any more


def test_H56_a_connection_that_says_nothing_is_closed(door: Door):
    host, _, port = door.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=HANDSHAKE_MS / 1000 + SLACK_SECONDS) as connection:
        while connection.recv(4096):
            pass
