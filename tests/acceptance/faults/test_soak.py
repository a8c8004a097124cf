"""F32: everything at once: two models asked, traffic moved, and a seeded fault every few seconds; in the end all of it holds.

The faults are those of the other rows, and so are their sentences; here they meet one another. The seed of a run is printed.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

import numpy as np
import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.faults.bounds import slowness
from tests.acceptance.faults.chance import seeded_chance
from tests.acceptance.faults.invariants import Fault, Leftovers, assert_allowed, recovery_seconds, settle
from tests.acceptance.faults.ledger import Clients, Line, clients
from tests.acceptance.faults.victims import command_of, kill_one, processes, stop
from tests.acceptance.servers import Server, clean_environment, serving, trivet, wait_for
from tests.acceptance.workshop import register
from tests.robustness.score import Score
from tests.scale import SCALE, scaled

SECONDS = scaled(test=8, ci=40, full=60, long=1800)
EVERY_SECONDS = scaled(test=1, ci=3, full=4, long=20)  # a fault begins, if the one before is over
FAULT_SECONDS = scaled(test=1, ci=1, full=2, long=5)  # of one that has a length
WORKERS = 3
ANSWERS = 10
BACK_SECONDS = 1.0  # as in F01
ROLL_SECONDS = 300.0  # four starts, one after the other, on a machine that may have other work
LOOK_SECONDS = 1.0  # between two looks at the memory of web workers
WARM_SECONDS = scaled(test=2, ci=5, full=10, long=120)  # of a process: what it needs, it takes in its first minutes
SLOPE_MB = 1.0  # in ten minutes
READY = re.compile(r"event=model_worker_ready .* pid=(\d+)")
ENVIRONMENT = {"TRIVET_DEADLINE_SECONDS": "4", "TRIVET_LEASE_SECONDS": "3"}


@dataclass
class World:
    """A server under faults, who asks it, and what was done to it."""

    churn: Churn
    server: Server
    asking: Sequence[Clients]
    chance: random.Random
    faults: list[Fault] = field(default_factory=list)
    kept: int = 0  # a web worker that is not killed, so that its memory can be judged; 0: none yet

    def wait_for_answers(self) -> None:
        """Return once each model has answered some more."""
        for clients_of_one in self.asking:
            clients_of_one.wait_for_answers(ANSWERS)

    def wait_whole(self) -> None:
        """Return once each process is there again."""
        wait_for(lambda: len(self.server.web_workers()) == WORKERS)
        wait_for(lambda: processes(self.server, "keeper"))
        self.wait_for_answers()

    def pause(self) -> None:
        """Let a fault last."""
        over = threading.Event()
        over.wait(FAULT_SECONDS)


@dataclass(frozen=True)
class Move:
    """One promotion from outside; `is_good` when it said that every worker follows."""

    version: int
    started: float
    returned: float
    is_good: bool


def kill_a_web_worker(world: World) -> None:
    world.faults.append(kill_one(world.server, "web", world.chance, spare=[world.kept]))
    wait_for(lambda: len(world.server.web_workers()) == WORKERS)
    for path in (world.churn.project / ".trivet/run/inline").glob("*.deaths"):
        path.unlink()  # it was no version's doing, and two would move one to model workers: F33


def kill_the_keeper(world: World) -> None:
    kill_one(world.server, "keeper", world.chance)


def stop_the_keeper(world: World) -> None:
    with stopped(world.chance.choice(wait_for(lambda: processes(world.server, "keeper")))):
        world.pause()


def stop_a_web_worker(world: World) -> None:
    with stopped(world.chance.choice(world.server.web_workers())):
        world.pause()


def kill_a_model_worker(world: World) -> None:
    os.kill(world.chance.choice(wait_for(lambda: model_workers(world.server))), signal.SIGKILL)


def hang_a_model_worker(world: World) -> None:
    hung = world.chance.choice(wait_for(lambda: model_workers(world.server)))
    stop(hung)
    wait_for(lambda: hung not in model_workers(world.server))


def kill_the_owner_of_model_workers(world: World) -> None:
    os.kill(wait_for(lambda: owner_of(world.server)), signal.SIGKILL)


def lock_the_database(world: World) -> None:
    with closing(sqlite3.connect(world.churn.project / "db.sqlite3", timeout=60, isolation_level=None)) as database:
        database.execute("begin exclusive")
        world.pause()
        database.execute("rollback")


def move_the_database(world: World) -> None:
    place, elsewhere = world.churn.project / "db.sqlite3", world.churn.project / "elsewhere.sqlite3"
    place.rename(elsewhere)
    place.mkdir()  # whoever starts meanwhile would make an empty one, and SQLite then deletes the log of the one that is away
    world.pause()
    place.rmdir()
    elsewhere.rename(place)


def roll(world: World) -> None:
    before = rolls(world.server)
    world.server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: rolls(world.server) > before, ROLL_SECONDS)
    assert not any("event=roll_given_up" in line for line in world.server.lines), world.server.lines


FAULTS: list[Callable[[World], None]] = [
    kill_a_web_worker,
    kill_the_keeper,
    stop_the_keeper,
    stop_a_web_worker,
    kill_a_model_worker,
    hang_a_model_worker,
    kill_the_owner_of_model_workers,
    lock_the_database,
    move_the_database,
    roll,
]


@pytest.fixture
def two_models(churn: Churn) -> Churn:
    """The project with a second model, which has the first's bundle and runs in model workers, and a key for both."""
    register(churn.project, "register('elsewhere', elsewhere('churn', 1))")
    words = ("keys", "create", "all", "--model=*", "--verb=predict", "--json")
    key = json.loads(trivet(*words, project=churn.project).stdout)["key"]
    return Churn(churn.project, key, churn.body, churn.rows)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 900)
def test_F32_everything_at_once_for_a_while_loses_nothing_doubles_nothing_and_ends_well(
    two_models: Churn, tmp_path: Path, score: Score
):
    churn, chance, leftovers = two_models, seeded_chance(), Leftovers(two_models.project)
    moves: list[Move] = []
    met: Counter[str] = Counter()
    with serving(churn.project, workers=WORKERS, **ENVIRONMENT) as server:
        with (
            clients(churn, server.port, tmp_path / "inline", count=3) as inline,
            clients(
                churn, server.port, tmp_path / "else", count=2, path="/v2/models/elsewhere/infer", probes=False
            ) as elsewhere,
            Memory(server) as memory,
        ):
            world = World(churn, server, (inline, elsewhere), chance)
            world.wait_for_answers()
            began = time.monotonic()
            for fault in drawn(world, began):
                turn = time.monotonic()
                met[fault.__name__] += 1
                print(f"{turn - began:.1f} s: {fault.__name__}", flush=True)
                if fault is move_the_database:  # whoever comes meanwhile would find, and make, an empty one
                    fault(world)
                    moves.append(promote(churn, 2 - len(moves) % 2)())
                else:
                    moved = promote(churn, 2 - len(moves) % 2)
                    fault(world)
                    moves.append(moved())
                world.wait_whole()
                wait_for(lambda turn=turn: time.monotonic() > turn + EVERY_SECONDS)
            world.wait_whole()
            whole = time.monotonic()
            world.wait_for_answers()
        assert server.stop() == 0
    lines = [*inline.lines, *elsewhere.lines]
    tell(lines, met, moves, memory)
    settle(churn, lines, score, kills=sum(met.values()))
    assert_allowed(lines, world.faults)
    assert_routed(inline.lines, moves)
    assert {line.status for line in lines if line.started > whole} == {200}
    assert any(move.is_good for move in moves)
    leftovers.assert_none()
    seconds = recovery_seconds(inline.lines, world.faults)
    assert not seconds or median(seconds) < BACK_SECONDS * slowness()
    if SCALE == "long":
        assert memory.slope_mb_in_ten_minutes(world.kept) < SLOPE_MB


def drawn(world: World, began: float) -> Iterator[Callable[[World], None]]:
    """Yield faults until the time is over: each once before one comes again. In the last half one web worker stays."""
    hand: list[Callable[[World], None]] = []
    while (passed := time.monotonic() - began) < SECONDS:
        if passed > SECONDS / 2 and not world.kept:
            world.kept = world.server.web_workers()[0]
        if not hand:
            hand = world.chance.sample(FAULTS, len(FAULTS))
        fault = hand.pop()
        if fault is not roll or not world.kept:
            yield fault


def promote(churn: Churn, version: int) -> Callable[[], Move]:
    """Begin to promote, as a person at a shell would; return what waits for the end of it."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "trivet", "promote", f"churn@{version}"],
        cwd=churn.project,
        env=clean_environment(**ENVIRONMENT),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def ended() -> Move:
        said, _ = process.communicate(timeout=120)
        assert "Traceback" not in said, said
        return Move(version, started, time.monotonic(), process.returncode == 0 and "behind" not in said)

    return ended


def assert_routed(lines: Sequence[Line], moves: Sequence[Move]) -> None:
    """A request between two promotions has the version of the first, where that said that every worker follows."""
    for move, next_start in zip(moves, [*(move.started for move in moves[1:]), float("inf")], strict=True):
        if move.is_good:
            between = (line for line in lines if move.returned < line.started and line.ended < next_start)
            wrong = [line for line in between if line.status == 200 and line.version != move.version]
            assert not wrong, f"after {move}: {wrong[:3]}"


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Hold a process for as long as the block runs."""
    stop(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def rolls(server: Server) -> int:
    return sum(line.endswith("event=rolled") for line in server.lines)


def owner_of(server: Server) -> int | None:
    """Return the process that owns the model workers; None while there is none."""
    return next((pid for pid in server.children() if b"trivet.dataplane.engines.worker.owner" in command_of(pid)), None)


def model_workers(server: Server) -> list[int]:
    """Return the model workers that answer now, as the log names them: others of the owner's children only stand by."""
    owner, children = owner_of(server), []
    with suppress(OSError):
        children = Path(f"/proc/{owner}/task/{owner}/children").read_text().split()
    ready = {pid for line in server.lines for pid in READY.findall(line)}
    return [int(pid) for pid in children if pid in ready]


class Memory:
    """What memory of its own each web worker has, looked at every second for as long as the block runs."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._looks: dict[int, list[tuple[float, float]]] = {}  # process -> seconds, MB
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    @property
    def oldest(self) -> int:
        """The process that was looked at most often."""
        return max(self._looks, key=lambda pid: len(self._looks[pid]))

    def slope_mb_in_ten_minutes(self, pid: int) -> float:
        """Return how fast a process grew once it was warm: the slope of the line of least squares; nan where it was not."""
        looks = [look for look in self._looks[pid] if look[0] > self._looks[pid][0][0] + WARM_SECONDS]
        if len(looks) < 3:
            return float("nan")
        moments, sizes = np.array(looks).T
        return float(np.polyfit(moments - moments[0], sizes, 1)[0] * 600)

    def _run(self) -> None:
        while not self._ending.wait(LOOK_SECONDS):
            for pid in self._server.web_workers():
                with suppress(OSError, StopIteration):  # it has ended
                    status = Path(f"/proc/{pid}/status").read_text().splitlines()
                    size = next(line for line in status if line.startswith("RssAnon:"))
                    self._looks.setdefault(pid, []).append((time.monotonic(), int(size.split()[1]) / 1024))


def tell(lines: Sequence[Line], met: Counter[str], moves: Sequence[Move], memory: Memory) -> None:
    print(
        f"{sum(met.values())} faults ({', '.join(f'{count} {name}' for name, count in sorted(met.items()))}); "
        f"{sum(move.is_good for move in moves)} of {len(moves)} promotions acknowledged by all; "
        f"answers by status {dict(Counter(line.status for line in lines))}; "
        f"the oldest web worker grew by {memory.slope_mb_in_ten_minutes(memory.oldest):.2f} MB in 10 minutes"
    )
