"""F01, F02 (promise 1): no answer that a client read is missing from the log after `kill -9`, and none is there twice."""

from __future__ import annotations

import random
import signal
import struct
import time
from pathlib import Path
from statistics import median

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.connections import open_files
from tests.acceptance.databases import OF_A_ROW
from tests.acceptance.faults.bounds import slowness
from tests.acceptance.faults.chance import seeded_chance
from tests.acceptance.faults.invariants import Fault, Leftovers, assert_allowed, recovery_seconds, settle
from tests.acceptance.faults.ledger import clients
from tests.acceptance.faults.victims import kill_everything, kill_one, kill_supervisor
from tests.acceptance.servers import Server, free_port, serving, wait_for
from tests.robustness.score import Score
from tests.scale import scaled

KILLS = {False: scaled(test=10, ci=50, full=200), True: scaled(test=2, ci=10, full=200)}  # by whether on PostgreSQL
GROUP_KILLS = {False: scaled(test=3, ci=8, full=50), True: scaled(test=1, ci=2, full=50)}
WORKERS = 3  # so that some answer while another starts: a kill then costs a start, and no pause
ANSWERS_BETWEEN = 30
BACK_SECONDS = 1.0
ENOUGH = 10  # kills, to speak of their median
START_SECONDS = 5.0
HEADER = struct.Struct("<2sII")  # of a frame of the log: magic, length, checksum


@pytest.mark.slow
@pytest.mark.parametrize("churn", OF_A_ROW, indirect=True)
def test_F01_kill_9_of_web_workers_loses_no_answer_and_meets_nobody_else(churn: Churn, tmp_path: Path, score: Score):
    chance, leftovers, kills = seeded_chance(), Leftovers(churn.project), KILLS[churn.is_on_postgres]
    faults: list[Fault] = []
    with serving(churn.project, workers=WORKERS) as server:
        with clients(churn, server.port, tmp_path / "ledger") as asking:
            asking.wait_for_answers(ANSWERS_BETWEEN)
            held = len(open_files(server.process.pid))
            for _ in range(kills):
                asking.wait_for_answers(chance.randrange(ANSWERS_BETWEEN))
                faults.append(kill_one(server, "web", chance))
            asking.wait_for_answers(ANSWERS_BETWEEN)
            wait_for(lambda: len(server.web_workers()) == WORKERS)
            wait_for(lambda: len(open_files(server.process.pid)) <= held)
        assert server.stop() == 0
    settle(churn, asking.lines, score, kills=kills)
    assert_allowed(asking.lines, faults)
    leftovers.assert_none()
    seconds = recovery_seconds(asking.lines, faults)
    print(f"cut-off clients were answered again after {median(seconds):.3f} s, at most {max(seconds):.3f} s")
    if kills >= ENOUGH:
        assert median(seconds) < BACK_SECONDS * slowness()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("churn", OF_A_ROW, indirect=True)
def test_F02_kill_9_of_the_whole_process_group_loses_no_answer(churn: Churn, tmp_path: Path, score: Score):
    chance, leftovers, kills = seeded_chance(), Leftovers(churn.project), GROUP_KILLS[churn.is_on_postgres]
    port = free_port()
    faults: list[Fault] = []
    starts: list[float] = []
    with clients(churn, port, tmp_path / "ledger") as asking:
        down = Fault(asking.began)
        for number in range(kills):
            server, seconds = started(churn, port)
            starts.append(seconds)
            down.ended = time.monotonic()
            faults.append(down)
            asking.wait_for_answers(1 + chance.randrange(2 * ANSWERS_BETWEEN))
            down = kill_supervisor(server) if number % 3 == 2 else kill_everything(server)
            assert server.stop() == -signal.SIGKILL
            tear(churn.project / ".trivet" / "spool", chance)
        server, _ = started(churn, port)
        down.ended = time.monotonic()
        faults.append(down)
        asking.wait_for_answers(ANSWERS_BETWEEN)
        asking.stop()
        assert server.stop() == 0
    settle(churn, asking.lines, score, kills=kills)
    assert_allowed(asking.lines, faults)
    assert not list((churn.project / ".trivet" / "spool").rglob("*.seg"))
    leftovers.assert_none()
    print(f"it started within {median(starts):.2f} s, at most {max(starts):.2f} s")
    assert median(starts) < START_SECONDS * slowness()


def started(churn: Churn, port: int) -> tuple[Server, float]:
    """Return a server that is ready, and how long that took, in seconds."""
    began = time.monotonic()
    server = Server(churn.project, port=port)
    try:
        server.wait_ready()
    except AssertionError:
        server.stop()
        raise
    return server, time.monotonic() - began


def tear(spool: Path, chance: random.Random) -> None:
    """Leave a torn frame behind the last whole one of each segment: half of it, or all with a checksum that is wrong."""
    for path in spool.rglob("*.seg"):
        data = path.read_bytes()
        frame, end = b"", 0
        while data[end : end + 2] == b"TV":
            length = HEADER.size + HEADER.unpack_from(data, end)[1]
            frame, end = data[end : end + length], end + length
        torn = frame[: len(frame) // 2] if chance.random() < 0.5 else frame[:6] + b"\0\0\0\0" + frame[10:]
        with path.open("r+b") as file:
            file.seek(end)
            file.write(torn)
