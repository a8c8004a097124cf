"""F15: a worker that was stopped while traffic moved is named, and its first answer after that is of the new version."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Load, Server, clean_environment, drained, serving, wait_for
from tests.acceptance.test_kill import assert_every_answer_is_logged_once
from tests.acceptance.test_traffic import MOVER

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
    with mover(served, churn) as move:
        assert move("promote") == (2, [])
        assert move("rollback") == (1, [])
        os.kill(stopped, signal.SIGSTOP)
        try:
            started = time.monotonic()
            version, behind = move("promote")
            assert (version, [worker.split(" on ")[0] for worker in behind]) == (2, [f"web {stopped}"])
            assert time.monotonic() - started >= LEASE_SECONDS
            assert move("rollback") == (1, [])  # its lease is over: it is not waited for
            assert move("promote") == (2, [])
            mine.send()  # it waits in the socket of the stopped worker
        finally:
            os.kill(stopped, signal.SIGCONT)
    assert mine.read() == "2"
    mine.close()


@contextmanager
def mover(server: Server, churn: Churn) -> Iterator[Callable[[str], tuple[int, list[str]]]]:
    """A process that moves traffic when told to, and says which version is live and who is behind."""
    environment = clean_environment(
        TRIVET_PROJECT=str(churn.project),
        DJANGO_SETTINGS_MODULE="trivet.server.settings",
        TRIVET_LEASE_SECONDS=str(LEASE_SECONDS),
        PORT=str(server.port),
        BODY=churn.body.decode(),
        KEY=churn.key,
    )
    process = subprocess.Popen(
        [sys.executable, "-c", MOVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )

    def move(verb: str) -> tuple[int, list[str]]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{verb}\n")
        process.stdin.flush()
        version, _, _, _, behind, met = json.loads(process.stdout.readline())
        assert met == [str(version)]
        return version, behind

    try:
        yield move
    finally:
        process.communicate(timeout=60)


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


@pytest.mark.slow
def test_f05_a_database_locked_for_longer_than_a_lease_slows_no_answer_and_loses_no_record(
    churn: Churn, served: Server
):
    with Load(served, churn.body, churn.key, path="/v2/models/churn/infer", clients=4) as load:
        with closing(sqlite3.connect(churn.project / "db.sqlite3", isolation_level=None)) as database:
            database.execute("begin immediate")
            locked_at = time.monotonic()
            wait_for(lambda: time.monotonic() - locked_at > 2 * LEASE_SECONDS + 1)  # the workers' own wait included
            database.execute("rollback")
        goal = load.answers.qsize() + 20
        wait_for(lambda: load.answers.qsize() >= goal)
    assert served.stop() == 0
    assert not drained(load.failures)
    assert not drained(load.resets)
    answers = drained(load.answers)
    took = sorted(ended - started for started, ended, _ in answers)
    assert took[int(len(took) * 0.99)] < 0.5  # seconds, on a machine that does other things
    ids = [answer["parameters"]["prediction_id"] for _, _, answer in answers]
    assert_every_answer_is_logged_once(churn, ids)
