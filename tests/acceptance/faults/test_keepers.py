"""F34: the keeper killed, doubled, stopped: the log lacks nothing and has nothing twice, and one keeper acts at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.databases import OF_A_ROW, rows_of
from tests.acceptance.faults.chance import seeded_chance
from tests.acceptance.faults.invariants import Fault, Leftovers, assert_allowed, settle
from tests.acceptance.faults.ledger import clients
from tests.acceptance.faults.victims import kill_one
from tests.acceptance.servers import clean_environment, serving, wait_for
from tests.robustness.score import Score
from tests.scale import scaled

ROUNDS = {False: scaled(test=2, ci=6, full=50), True: scaled(test=2, ci=4, full=50)}  # by whether on PostgreSQL
ANSWERS_BETWEEN = 30


@pytest.mark.slow
@pytest.mark.parametrize("churn", OF_A_ROW, indirect=True)
def test_F34_keepers_killed_doubled_and_stopped_lose_nothing_and_double_nothing(
    churn: Churn, tmp_path: Path, score: Score
):
    chance, leftovers, rounds = seeded_chance(), Leftovers(churn.project), ROUNDS[churn.is_on_postgres]
    faults: list[Fault] = []
    with serving(churn.project, workers=2) as server, SecondKeeper(churn.project) as second:
        with clients(churn, server.port, tmp_path / "ledger") as asking:
            for number in range(rounds):
                asking.wait_for_answers(chance.randrange(ANSWERS_BETWEEN))
                acting = wait_for(lambda: holder(churn.project))
                assert acting in (second.pid, *server.children())
                if number % 2 == 0:
                    before = logged(churn.project)
                    os.kill(acting, signal.SIGKILL)
                    wait_for(lambda acting=acting: holder(churn.project) not in (None, acting))
                    wait_for(lambda before=before: logged(churn.project) > before)
                else:
                    os.kill(acting, signal.SIGSTOP)  # with the lock, and perhaps in a transaction
                    faults.append(kill_one(server, "web", chance))  # whose segment nobody ships now
                    asking.wait_for_answers(ANSWERS_BETWEEN)
                    assert holder(churn.project) == acting
                    before = logged(churn.project)
                    os.kill(acting, signal.SIGCONT)
                    wait_for(lambda before=before: logged(churn.project) > before)
                second.start_again_where_it_ended()
        second.stop()
        assert server.stop() == 0
    settle(churn, asking.lines, score, kills=rounds)
    assert_allowed(asking.lines, faults)
    leftovers.assert_none()


class SecondKeeper:
    """A keeper that somebody started beside the one of `trivet serve`."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start_again_where_it_ended(self) -> None:
        """Have a second one again."""
        if self._process.poll() is not None:
            self._process = self._start()

    def stop(self) -> None:
        """End it, also where it was stopped."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)
        self._process.wait(timeout=60)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "trivet", "keeper"],
            cwd=self._project,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def holder(project: Path) -> int | None:
    """Return the process that holds the keeper's lock, as the kernel tells it; None for nobody."""
    lock = project / ".trivet" / "keeper.lock"
    if not lock.exists():
        return None
    inode = str(lock.stat().st_ino)
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
            return int(words[4])
    return None


def logged(project: Path) -> int:
    """Return how many rows the log has; what is being written now may have to be waited for."""
    return int(rows_of(project, "select count(*) from trivet_prediction")[0][0])
