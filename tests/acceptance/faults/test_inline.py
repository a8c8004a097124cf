"""F33 (promise 7): an inline version that kills its web worker twice runs in model workers from then on."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.faults.invariants import Fault, Leftovers, assert_allowed, settle
from tests.acceptance.faults.ledger import DATATYPES, clients
from tests.acceptance.faults.victims import client_ports, stop
from tests.acceptance.servers import Load, Server, serving, trivet, wait_for
from tests.robustness.score import Score
from trivet.dataplane.engines.guard import running

ROWS = 60  # of the requests that are met while they run: the model takes its share of their time
ANSWERS_BETWEEN = 30


@pytest.mark.slow
def test_F33_a_version_that_was_running_at_two_deaths_of_web_workers_moves_to_a_model_worker(
    churn: Churn, tmp_path: Path, score: Score
):
    trivet("promote", "churn@2", project=churn.project)
    digest = json.loads(trivet("show", "churn@2", "--json", project=churn.project).stdout)["digest"]
    folder, leftovers = churn.project / ".trivet" / "run" / "inline", Leftovers(churn.project)
    faults: list[Fault] = []
    with serving(churn.project) as server:
        with (
            clients(churn, server.port, tmp_path / "ledger", count=3) as asking,
            Load(server, large_body(churn), churn.key, path="/v2/models/churn/infer", clients=2),
        ):
            asking.wait_for_answers(ANSWERS_BETWEEN)
            faults.append(kill_in_a_run(server, folder, digest))
            wait_for((folder / f"{digest}.deaths").exists)
            wait_for(lambda: len(list(folder.glob("*.slots"))) == 2)
            assert not moves(churn)
            faults.append(kill_in_a_run(server, folder, digest))
            ((version, reason, after),) = wait_for(lambda: moves(churn))
            assert (version, reason) == (2, "2 processes died while they ran it")
            assert json.loads(after)["runs_in"] == "model workers"
            wait_for(lambda: b"worker.owner" in b"".join(map(command, server.children())))
            wait_for(lambda: len(server.web_workers()) == 2)
            settled = time.monotonic()
            wait_for(is_quiet(server, folder))
            asking.wait_for_answers(ANSWERS_BETWEEN)
        assert server.stop() == 0
    settle(churn, asking.lines, score, kills=2)
    assert_allowed(asking.lines, faults)
    resets = [line.client for line in asking.lines if line.status == 0]
    assert all(resets.count(client) <= len(faults) for client in resets)
    assert {line.status for line in asking.lines if line.started > settled} == {200}
    (folder / f"{digest}.given-up").unlink()
    assert not list(folder.iterdir())
    leftovers.assert_none()


def kill_in_a_run(server: Server, folder: Path, digest: str) -> Fault:
    """SIGKILL a web worker while it runs the version, as one that the version kills: stopped, looked at, then killed."""

    def met() -> Fault | None:
        for pid in server.web_workers():
            began = time.monotonic()
            stop(pid)
            if running(folder, pid) == [digest]:
                spared = client_ports([other for other in server.web_workers() if other != pid], server.port)
                os.kill(pid, signal.SIGKILL)
                return Fault(began, time.monotonic(), spared)
            os.kill(pid, signal.SIGCONT)
        return None

    return wait_for(met, every=0.002)


def is_quiet(server: Server, folder: Path) -> Callable[[], bool]:
    """Return what tells whether no web worker has run anything inline for 200 looks in a row."""
    pause = threading.Event()

    def looked() -> bool:
        for _ in range(200):
            if any(running(folder, pid) for pid in server.web_workers()):
                return False
            pause.wait(0.001)
        return True

    return looked


def large_body(churn: Churn) -> bytes:
    """Return a request of many rows."""
    rows = (churn.rows * ROWS)[:ROWS]
    inputs = [
        {"name": name, "shape": [ROWS, 1], "datatype": kind, "data": [row[name] for row in rows]}
        for name, kind in DATATYPES
    ]
    return json.dumps({"inputs": inputs}).encode()


def moves(churn: Churn) -> list[tuple[int, str, str]]:
    """Return version, reason and what was written of each move to model workers in the history."""
    query = "select version, reason, after from trivet_event where action = 'give_up_inline'"
    with closing(sqlite3.connect(churn.project / "db.sqlite3", timeout=30)) as database:
        return database.execute(query).fetchall()


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
