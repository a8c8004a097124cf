"""Promise 1: no answer that a client read is missing from the log after `kill -9` of any process, and none is there twice."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Load, Server, drained, serving, trivet, wait_for

KILLS = 50
WORKERS = 4  # so that some answer while another starts: a kill then costs a start, and no pause
ANSWERS_BETWEEN = 40
VICTIMS = ["web"] * 5 + ["keeper"] * 5 + ["supervisor", "everything"]


@pytest.mark.slow
def test_every_answer_read_is_logged_once_though_workers_are_killed_fifty_times(churn: Churn):
    chance = seeded_chance()
    with serving(churn.project, workers=WORKERS) as server:
        with Load(server, churn.body, churn.key, path="/v2/models/churn/infer") as load:
            for _ in range(KILLS):
                wait_for_answers(load, chance)
                victim = chance.choice(wait_for(server.web_workers))
                os.kill(victim, signal.SIGKILL)
        assert server.stop() == 0
    assert not load.failures.qsize()
    read = ids_read(load)
    assert len(read) >= KILLS * ANSWERS_BETWEEN
    assert_every_answer_is_logged_once(churn, read)


@pytest.mark.slow
def test_every_answer_read_is_logged_once_whichever_process_is_killed(churn: Churn):
    chance = seeded_chance()
    victims = chance.sample(VICTIMS, len(VICTIMS))
    print(f"victims: {victims}")
    read: list[str] = []
    while victims:
        server = Server(churn.project)
        try:
            server.wait_ready()
            with Load(server, churn.body, churn.key, path="/v2/models/churn/infer") as load:
                while victims and server.process.poll() is None:
                    wait_for_answers(load, chance)
                    kill(server, victims.pop(), chance)
                if server.process.poll() is None:
                    wait_for_answers(load, chance)
                    wait_for(lambda server=server: processes(server, "keeper"))
        finally:
            code = server.stop()
        assert code in (0, -signal.SIGKILL)
        read += ids_read(load)
    assert len(read) >= len(VICTIMS) * ANSWERS_BETWEEN
    assert_every_answer_is_logged_once(churn, read)


def kill(server: Server, victim: str, chance: random.Random) -> None:
    """SIGKILL a web worker, the keeper, the process that watches over both, or all of them at one moment."""
    if victim in ("web", "keeper"):
        os.kill(chance.choice(wait_for(lambda: processes(server, victim))), signal.SIGKILL)
        return
    children = server.children()
    if victim == "everything":
        os.kill(server.process.pid, signal.SIGSTOP)  # or it would replace them meanwhile
        children = server.children()
        for child in children:
            os.kill(child, signal.SIGKILL)
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
    wait_for(lambda: not any(is_running(child) for child in children))


def processes(server: Server, verb: str) -> list[int]:
    """Return the process ids of the server's children that run `verb`."""
    return [pid for pid in server.children() if verb.encode() in command_of(pid)]


def command_of(pid: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def is_running(pid: int) -> bool:
    """True for a process that is there and no zombie."""
    return command_of(pid)[:1] not in ([], [b""])


def seeded_chance() -> random.Random:
    """Return a source of chance whose seed is printed, and may be given again in FAULT_SEED."""
    seed = int(os.environ.get("FAULT_SEED", random.randrange(2**32)))
    print(f"FAULT_SEED={seed}")
    return random.Random(seed)


def wait_for_answers(load: Load, chance: random.Random) -> None:
    """Return once some dozens of answers more have been read."""
    goal = load.answers.qsize() + ANSWERS_BETWEEN + chance.randrange(ANSWERS_BETWEEN)
    wait_for(lambda: load.answers.qsize() >= goal)


def ids_read(load: Load) -> list[str]:
    """Return the prediction ids that the clients read, after making sure that nothing failed that may not.

    Connections to what is killed may. So may requests to a worker that ends because its supervisor was killed.
    """
    assert not [failure for failure in drained(load.failures) if "this worker is shutting down" not in failure]
    return [answer["parameters"]["prediction_id"] for _, _, answer in drained(load.answers)]


def assert_every_answer_is_logged_once(churn: Churn, read: list[str]) -> None:
    trivet("keeper", "--once", project=churn.project)
    logged = log_ids(churn)
    assert not set(read) - set(logged), "answers that a client read and the log lacks"
    assert len(logged) == len(set(logged)), "answers that are logged twice"
    assert len(read) == len(set(read))


def log_ids(churn: Churn) -> list[str]:
    """Return the prediction ids in the log, read without our own code."""
    with closing(sqlite3.connect(churn.project / "db.sqlite3")) as database:
        rows = database.execute("select prediction_id from trivet_prediction").fetchall()
    return [f"{i[:8]}-{i[8:12]}-{i[12:16]}-{i[16:20]}-{i[20:]}" for (i,) in rows]


@pytest.mark.parametrize("verb", ["web", "keeper"])
def test_a_process_whose_supervisor_died_while_it_started_ends(churn: Churn, verb: str):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    done = trivet(verb, "--supervisor", str(gone.pid), project=churn.project, check=False)
    assert done.returncode == -signal.SIGTERM
