"""F15: a worker that was stopped while traffic moved is named, and its first answer after that is of the new version."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, serving, trivet

LEASE_SECONDS = 3


@pytest.fixture
def served(churn: Churn) -> Iterator[Server]:
    with serving(churn.project, workers=2, TRIVET_LEASE_SECONDS=str(LEASE_SECONDS)) as server:
        yield server


def test_f15_a_stopped_worker_is_named_and_answers_with_the_new_version_once_it_goes_on(churn: Churn, served: Server):
    stopped, other = served.web_workers()
    os.kill(other, signal.SIGSTOP)  # so that the connection is the first's
    mine = Client(served, churn)
    assert mine.version() == "1"
    os.kill(other, signal.SIGCONT)
    os.kill(stopped, signal.SIGSTOP)
    try:
        started = time.monotonic()
        done = trivet("promote", "churn@2", project=churn.project, check=False, TRIVET_LEASE_SECONDS=str(LEASE_SECONDS))
        assert done.returncode == 1
        assert f"behind: web {stopped}" in done.stdout
        assert time.monotonic() - started >= LEASE_SECONDS
        again = trivet("rollback", "churn", project=churn.project, TRIVET_LEASE_SECONDS=str(LEASE_SECONDS))
        assert "behind" not in again.stdout  # its lease is over: it is not waited for
        trivet("promote", "churn@2", project=churn.project, TRIVET_LEASE_SECONDS=str(LEASE_SECONDS))
        mine.send()  # it waits in the socket of the stopped worker
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert mine.read() == "2"
    mine.close()


class Client:
    """One kept-alive connection."""

    def __init__(self, server: Server, churn: Churn) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        self._body, self._headers = churn.body, {"Authorization": f"Bearer {churn.key}"}

    def send(self) -> None:
        self._connection.request("POST", "/v2/models/churn/infer", self._body, self._headers)

    def read(self) -> str:
        response = self._connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        return str(json.loads(content)["model_version"])

    def version(self) -> str:
        self.send()
        return self.read()

    def close(self) -> None:
        self._connection.close()
