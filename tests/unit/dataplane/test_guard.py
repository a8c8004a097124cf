"""The guard of inline runs: who ran when a process died, and what is given up for it."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.dataplane.world import World
from trivet.core.errors import Unavailable
from trivet.dataplane.engines import guard
from trivet.dataplane.engines.guard import Guard, forget_the_dead, given_up, note_death, running
from trivet.dataplane.engines.inline import InlineVersion
from trivet.dataplane.engines.stalls import STALL_NS

A, B = "a" * 64, "b" * 64
DYING = """
import os, signal, sys
from pathlib import Path
from trivet.dataplane.engines.guard import Guard
one = Guard(Path(sys.argv[1]))
for digest in sys.argv[2:]:
    one.slots[one.place(digest)] = 1
os.kill(os.getpid(), signal.SIGKILL)
"""


def died(folder: Path, *digests: str) -> int:
    """Return the process id of one that died while it ran these."""
    process = subprocess.Popen([sys.executable, "-c", DYING, str(folder), *digests])
    assert process.wait() == -9
    return process.pid


def test_what_a_process_ran_when_it_was_killed_is_known_afterwards(tmp_path: Path):
    pid = died(tmp_path, A, B)
    assert running(tmp_path, pid) == [A, B]
    note_death(tmp_path, pid)
    assert running(tmp_path, pid) == []
    assert not list(given_up(tmp_path))


def test_the_second_death_gives_a_version_up_and_only_that_one(tmp_path: Path):
    for digests in ((A, B), (A,)):
        note_death(tmp_path, died(tmp_path, *digests))
    (given,) = given_up(tmp_path)
    assert (given.digest, given.reason) == (A, "2 processes died while they ran it")
    assert Guard(tmp_path).has_given_up(A)
    assert not Guard(tmp_path).has_given_up(B)


def test_deaths_that_lie_far_apart_give_nothing_up(tmp_path: Path):
    (tmp_path / f"{A}.deaths").write_text(f"{time.time() - guard.DEATHS_SECONDS - 1}\n")
    note_death(tmp_path, died(tmp_path, A))
    assert not list(given_up(tmp_path))


def test_a_death_between_runs_counts_against_nobody(tmp_path: Path):
    one = Guard(tmp_path)
    place = one.place(A)
    one.slots[place] = 1
    one.slots[place] = 0
    note_death(tmp_path, os.getpid())
    assert not list(tmp_path.iterdir())


def test_a_process_that_ends_by_itself_leaves_nothing_and_so_does_one_that_ended_unseen(tmp_path: Path):
    one = Guard(tmp_path)
    died(tmp_path, A)
    forget_the_dead(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{os.getpid()}.slots"]
    one.close()
    assert not list(tmp_path.iterdir())


def test_beyond_the_places_of_a_process_nobody_is_named_for_another(tmp_path: Path):
    one = Guard(tmp_path)
    places = [one.place(f"{number:064d}") for number in range(guard.PLACES + 3)]
    assert places[-4:] == [guard.PLACES - 1] * 4
    one.slots[places[-1]] = 1
    assert running(tmp_path, os.getpid()) == []
    assert one.place(f"{0:064d}") == 0


class Runtime:
    """Does what it is told, and nothing else."""

    def __init__(self, does: Any) -> None:
        self.run = does

    def close(self) -> None:
        """Close."""


def version(does: Any, guard: Guard) -> InlineVersion:
    return InlineVersion(Runtime(does), A, guard)  # type: ignore[arg-type]


def test_a_run_is_marked_while_it_lasts_and_not_after_it_even_where_it_fails(tmp_path: Path):
    one = Guard(tmp_path)
    seen: list[list[str]] = []

    def fails(*_: object) -> None:
        seen.append(running(tmp_path, os.getpid()))
        raise ValueError

    with pytest.raises(Unavailable):
        version(fails, one).run({}, [])
    assert seen == [[A]]
    assert running(tmp_path, os.getpid()) == []


def test_three_runs_that_hold_a_loop_within_a_minute_give_a_version_up(tmp_path: Path):
    world = World(tmp_path / "world")
    world.plane.guard = Guard(tmp_path)
    live = world.plane.table.models["churn"].live[1]

    def tell_long_run() -> None:
        world.plane.tell_long_run("churn", live, 60_000_000)

    async def on_a_loop() -> None:
        tell_long_run()

    for _ in range(5):
        tell_long_run()  # beside a loop: it holds nobody up
    asyncio.run(on_a_loop())
    asyncio.run(on_a_loop())
    assert not list(given_up(tmp_path))
    asyncio.run(on_a_loop())
    assert "3 times in 60 s" in next(given_up(tmp_path)).reason
    counted = [key for key in world.plane.meter.read() if "trivet_inline_stall_seconds" in key]
    assert counted == [("histogram", "trivet_inline_stall_seconds", "churn", "1")]


def waits(*_: object) -> list[Any]:
    """Run for long, as on a machine that gives the thread no processor."""
    return select.select([], [], [], 1.2 * STALL_NS / 1e9)[0]


def works(*_: object) -> list[Any]:
    """Take the processor for long."""
    until = time.thread_time_ns() + 1.2 * STALL_NS
    while time.thread_time_ns() < until:
        pass
    return []


@pytest.mark.parametrize(("does", "is_given_up"), [(waits, False), (works, True)])
def test_a_run_that_only_waited_for_a_processor_counts_once_and_one_that_had_it_each_time(
    tmp_path: Path, does: Any, is_given_up: bool
):
    one = Guard(tmp_path)
    live = version(does, one)
    for _ in range(3):
        assert not one.has_given_up(A)
        live.run({}, [])
        one.stalled(A)
    assert one.has_given_up(A) == is_given_up


def test_what_a_run_takes_of_the_processor_is_read_for_a_minute_after_a_stall_and_counts_unread_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one = Guard(tmp_path)
    live, stalls = version(waits, one), one.stalls(A)
    assert not stalls.is_watched
    one.stalled(A)
    assert stalls.is_watched
    monkeypatch.setattr("trivet.dataplane.engines.stalls.STALLS_SECONDS", 0.0)
    one.stalled(A)  # unread: no run since
    live.run({}, [])
    assert not stalls.is_watched
    monkeypatch.setattr("trivet.dataplane.engines.stalls.STALLS_SECONDS", 60.0)
    one.stalled(A)
    assert one.has_given_up(A)
