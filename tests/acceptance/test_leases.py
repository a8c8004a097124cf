"""F15: a worker that was stopped while traffic moved is named, and its first answer after that is of the new version."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.connections import connection_to
from tests.acceptance.databases import OF_A_ROW
from tests.acceptance.mover import Move, mover
from tests.acceptance.servers import Server, serving

LEASE_SECONDS = 3
WORKERS = 4


@pytest.fixture
def served(churn: Churn) -> Iterator[Server]:
    with serving(churn.project, workers=WORKERS, TRIVET_LEASE_SECONDS=str(LEASE_SECONDS)) as server:
        yield server


@pytest.mark.parametrize("churn", OF_A_ROW, indirect=True)
def test_F15_a_stopped_worker_is_named_and_answers_with_the_new_version_once_it_goes_on(churn: Churn, served: Server):
    stopped, *others = served.web_workers()
    mine = Client(served, churn, stopped)
    assert mine.version() == "1"
    with mover(served, churn.body, churn.key, others, TRIVET_LEASE_SECONDS=str(LEASE_SECONDS)) as move:
        assert told(move("promote"), others) == (2, [])
        assert told(move("rollback"), others) == (1, [])
        os.kill(stopped, signal.SIGSTOP)
        try:
            made = move("promote")
            version, behind = told(made, others)
            assert (version, [worker.split(" on ")[0] for worker in behind]) == (2, [f"web {stopped}"])
            assert made.returned - made.started >= LEASE_SECONDS
            assert told(move("rollback"), others) == (1, [])  # its lease is over: it is not waited for
            assert told(move("promote"), others) == (2, [])
            mine.send()  # it waits in the socket of the stopped worker
        finally:
            os.kill(stopped, signal.SIGCONT)
    assert mine.read() == "2"
    mine.close()


def told(move: Move, asked: list[int]) -> tuple[int, list[str]]:
    """Return which version is champion and who is behind, after making sure that whoever is not answers with it."""
    assert move.met == {str(worker): str(move.version) for worker in asked}
    return move.version, move.behind


class Client:
    """One kept-alive connection, which the web worker `held_by` has taken."""

    def __init__(self, server: Server, churn: Churn, held_by: int) -> None:
        self._connection = connection_to(server.port, held_by)
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
