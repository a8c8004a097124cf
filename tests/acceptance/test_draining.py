"""F13: a server that is asked to end, or to replace its workers, fails no request and loses no record."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.connections import connection_to
from tests.acceptance.logged import assert_every_answer_is_logged_once, ids_read
from tests.acceptance.servers import (
    DEADLINE_SECONDS,
    ROLL_SECONDS,
    Load,
    clean_environment,
    drained,
    free_port,
    serving,
    wait_for,
)
from tests.scale import scaled

PATH = "/v2/models/churn/infer"
WORKERS = 4
ROLLS = scaled(test=1, ci=2, full=20)  # each replaces every worker and the keeper
BLANKS = b" " * 25 * 1024  # a kibibyte buys a second more: a busy machine may not go on within a short body's five


@contextmanager
def one_web_worker(churn: Churn) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "trivet", "web", "--bind", f"127.0.0.1:{port}"],
        cwd=churn.project,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: answers(port))
        yield process, port
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        return bool(urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5).status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM, signal.SIGINT, signal.SIGINT]])
def test_F13_a_worker_that_is_asked_to_end_finishes_what_it_was_asked_before(
    churn: Churn, signals: list[signal.Signals]
):
    with one_web_worker(churn) as (process, port):
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
        half = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS)
        for connection in (idle, other):
            connection.request("GET", "/v2/health/ready")
            assert connection.getresponse().read()
        half.sendall(first_half(churn))
        for number in signals:
            process.send_signal(number)
        idle.request("GET", "/v2/health/ready")
        readiness = idle.getresponse()
        assert (readiness.status, json.loads(readiness.read())["ready"]) == (503, False)
        other.request("POST", PATH, churn.body, {"Authorization": f"Bearer {churn.key}"})
        late = other.getresponse()
        assert (late.status, late.getheader("connection")) == (200, "close")
        late_id = json.loads(late.read())["parameters"]["prediction_id"]
        wait_for(lambda: refuses(port))
        assert process.poll() is None
        half.sendall(churn.body[20:])
        reply = half.makefile("rb").read()  # to the end: it closes
        assert reply.startswith(b"HTTP/1.1 200")
        half.close()
        half_id = json.loads(reply.partition(b"\r\n\r\n")[2])["parameters"]["prediction_id"]
        assert process.wait(timeout=DEADLINE_SECONDS) == 0
    assert_every_answer_is_logged_once(churn, [late_id, half_id])


def first_half(churn: Churn) -> bytes:
    """Return a request up to the first 20 bytes of its body, which has blanks before them."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: x.localhost\r\nAuthorization: Bearer {churn.key}\r\n"
    return f"{head}Content-Length: {len(BLANKS + churn.body)}\r\n\r\n".encode() + BLANKS + churn.body[:20]


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]], ids=["int", "twice"])
def test_F13_a_server_that_is_asked_to_end_under_load_finishes_what_it_took(
    churn: Churn, signals: list[signal.Signals]
):
    with serving(churn.project, workers=WORKERS) as server, Load(server, churn.body, churn.key, path=PATH) as load:
        wait_for(lambda: load.answers.qsize() >= 50)
        halves = [Half(server.port, worker, churn) for worker in server.web_workers()]
        for number in signals:
            server.process.send_signal(number)
        wait_for(lambda: refuses(server.port))
        assert server.process.poll() is None  # it waits for the halves
        ids = [half.finished() for half in halves]
        assert server.process.wait(timeout=DEADLINE_SECONDS) == 0
        load.stop()
    assert not drained(load.failures)
    assert len(ids) == WORKERS
    assert spool_is_empty(churn)  # the keeper was the last to end
    assert_every_answer_is_logged_once(churn, [*ids, *ids_read(load)])


class Half:
    """A request to one worker of which the rest is still to come."""

    def __init__(self, port: int, worker: int, churn: Churn) -> None:
        connection = connection_to(port, worker)
        self._socket = connection.sock
        self._rest = churn.body[20:]
        self._socket.sendall(first_half(churn))

    def finished(self) -> str:
        """Send the rest; return the id of the prediction."""
        self._socket.sendall(self._rest)
        with self._socket:
            reply = self._socket.makefile("rb").read()  # to the end: it closes
        assert reply.startswith(b"HTTP/1.1 200"), reply
        return str(json.loads(reply.partition(b"\r\n\r\n")[2])["parameters"]["prediction_id"])


def spool_is_empty(churn: Churn) -> bool:
    return not list((churn.project / ".trivet" / "spool").rglob("*.seg"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_F13_workers_replaced_under_load_fail_no_request_and_lose_no_record(churn: Churn):
    with serving(churn.project, workers=WORKERS) as server:
        with Load(server, churn.body, churn.key, path=PATH, clients=4) as load:
            for _ in range(ROLLS):
                before = set(wait_for(lambda: len(server.rolled()) == WORKERS + 1 and server.rolled()))
                server.process.send_signal(signal.SIGHUP)
                wait_for(lambda before=before: not before & set(server.rolled()), ROLL_SECONDS)
            goal = load.answers.qsize() + 50
            wait_for(lambda: load.answers.qsize() >= goal)
        assert server.stop() == 0
    assert sum("event=rolled" in line for line in server.lines) == ROLLS, server.lines
    assert not drained(load.failures)
    assert not drained(load.resets)
    assert_every_answer_is_logged_once(churn, ids_read(load))
