"""F28: descriptors and threads run out: what cannot be taken is refused or waits, and it recovers without a death."""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.faults.disks import PATH, ask, fetch, large_body
from tests.acceptance.faults.strace import can_trace, traced
from tests.acceptance.servers import serving, wait_for

SPARE = 4  # descriptors that a worker has left
MANY = 60  # connections
BUSY_SHARE = 0.5  # of a core: a loop that spins takes all of one


def test_F28_without_descriptors_known_clients_are_answered_and_others_wait(churn: Churn):
    with serving(churn.project, workers=1) as server, ExitStack() as held:
        (worker,) = server.web_workers()
        known = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        held.callback(known.close)
        assert status_of(known, churn) == 200
        soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        in_use = len(list(Path(f"/proc/{worker}/fd").iterdir()))
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (in_use + SPARE, hard))
        for _ in range(MANY):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
        wait_for(lambda: any("event=not_accepted" in line for line in server.lines))
        before, began = seconds_of(worker), time.monotonic()
        answered = [status_of(known, churn) for _ in range(20)]
        wait_for(lambda: time.monotonic() - began > 1.0)
        busy = (seconds_of(worker) - before) / (time.monotonic() - began)
        assert answered == [200] * 20
        assert busy < BUSY_SHARE
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
        held.close()
        wait_for(lambda: ask(server, churn).status == 200)
        assert server.web_workers() == [worker]
    assert not any("event=process_died" in line for line in server.lines)
    assert sum("event=not_accepted" in line for line in server.lines) < MANY


def test_F28_without_threads_what_needs_one_is_refused_and_recovers(churn: Churn):
    if not can_trace():
        pytest.skip("strace cannot trace here")
    with serving(churn.project, workers=1, TRIVET_INLINE_LIMIT_MS="0") as server:
        (worker,) = server.web_workers()
        slow = large_body(64)
        with traced(worker, "-e", "trace=clone,clone3", "-e", "inject=clone,clone3:error=EAGAIN"):
            refused = ask(server, churn, slow)
            page = fetch(server, "GET", "/login/", "", None)[0]
        assert (refused.status, refused.code, page) == (503, "QUEUE_FULL", 503)
        assert ask(server, churn, slow).status == 200
        assert fetch(server, "GET", "/login/", "", None)[0] in (200, 302, 404)
        assert server.web_workers() == [worker]


def status_of(connection: http.client.HTTPConnection, churn: Churn) -> int:
    headers = {"Authorization": f"Bearer {churn.key}", "Content-Type": "application/json"}
    connection.request("POST", PATH, churn.body, headers)
    response = connection.getresponse()
    json.loads(response.read())
    return response.status


def seconds_of(pid: int) -> float:
    """Return how long a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
