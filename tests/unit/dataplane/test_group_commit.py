"""TRIVET_DURABILITY = "power": an answer waits for the sync that covers its record, and many share one."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.dataplane.world import World
from trivet.core.errors import Unavailable
from trivet.dataplane.group_commit import GroupCommit
from trivet.dataplane.spool import Spool, segments


class Disk:
    """Stands in for `os.fdatasync`: counts, waits until it is let go, fails when told to; remembers how much was there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.begun = threading.Semaphore(0)
        self.syncs = 0
        self.error: OSError | None = None
        monkeypatch.setattr(os, "fdatasync", self._sync)

    def _sync(self, descriptor: int) -> None:
        os.fstat(descriptor)  # it is open
        self.syncs += 1
        self.begun.release()
        assert self.may_go_on.wait(10)
        if self.error is not None:
            raise self.error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def spool(tmp_path: Path):
    spool = Spool(tmp_path, "w", segment_bytes=4096, survives_power_loss=True)
    yield spool
    spool.close()


def test_an_answer_waits_for_the_sync_that_covers_its_record(disk: Disk, tmp_path: Path):
    world = World(tmp_path)
    world.plane.spool = Spool(tmp_path / "power", "w", survives_power_loss=True)
    disk.may_go_on.clear()
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(world.ask()[0]))
    asking.start()
    assert disk.begun.acquire(timeout=10)
    assert answers == []
    disk.may_go_on.set()
    asking.join()
    assert answers == [200]
    world.plane.spool.close()


def test_what_is_appended_during_a_sync_waits_for_the_next_and_shares_it(disk: Disk, spool: Spool):
    assert spool.commits is not None
    disk.may_go_on.clear()
    spool.append(b"first")
    threads = [threading.Thread(target=spool.commits.wait)]
    threads[0].start()
    assert disk.begun.acquire(timeout=10)
    for number in range(8):
        spool.append(b"%d" % number)
        threads.append(threading.Thread(target=spool.commits.wait))
        threads[-1].start()
    disk.may_go_on.set()
    for thread in threads:
        thread.join()
    assert 2 <= disk.syncs <= 9  # two where all eight were waiting by then


def test_those_of_one_turn_of_a_loop_share_one_sync_and_are_released_in_order(disk: Disk, spool: Spool):
    released: list[int] = []

    async def turn() -> None:
        loop = asyncio.get_running_loop()
        assert spool.commits is not None
        for number in range(32):
            spool.append(b"%d" % number)
            spool.commits.hold(loop, lambda _error, number=number: released.append(number))
        await spool.commits.held()

    asyncio.run(turn())
    assert released == list(range(32))
    assert disk.syncs == 1


def test_a_full_segment_is_synced_and_closed_before_who_waits_is_told(disk: Disk, spool: Spool):
    assert spool.commits is not None
    for _ in range(3):
        spool.append(bytes(3000))  # a segment each
    spool.commits.wait()
    assert disk.syncs == 3
    assert [len(list(segment.payloads(0))) for segment in segments(spool.folder.parent)] == [1, 1, 1]


def test_a_segment_that_cannot_be_closed_holds_up_no_answer(
    disk: Disk, spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    commits, closed = spool.commits, []
    assert commits is not None
    spool.append(bytes(3000))
    full = spool._descriptor
    spool.append(bytes(3000))
    refuse_to_close(monkeypatch, full, closed)
    assert ends(commits.wait), "what was synced is on disk, whatever its file says at the end"
    assert closed == [full]
    spool.append(b"after")
    assert ends(commits.wait)
    assert caplog.text.count("event=segment_not_closed") == 1


def test_without_it_a_segment_that_cannot_be_closed_is_left_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spool, closed = Spool(tmp_path, "w", segment_bytes=4096), []
    spool.append(bytes(3000))
    full = spool._descriptor
    refuse_to_close(monkeypatch, full, closed)
    for _ in range(3):
        spool.append(bytes(3000))
    spool.close()
    assert closed == [full]
    assert [(len(list(s.payloads(0))), s.is_final) for s in segments(tmp_path)] == [(1, True)] * 4


def test_who_waits_is_told_where_a_sync_fails_unforeseen_and_the_next_is_tried(caplog: pytest.LogCaptureFixture):
    causes: list[Exception] = [ValueError("unforeseen")]

    def sync() -> None:
        if causes:
            raise causes.pop()

    commits = GroupCommit(sync)
    told: list[str] = []

    def wait() -> None:
        try:
            commits.wait()
        except Unavailable as error:
            told.append(error.code)

    assert ends(wait)
    assert told == ["LOG_UNAVAILABLE"]
    assert "event=sync_failed" in caplog.text
    assert "unforeseen" in caplog.text
    assert ends(wait)
    assert told == ["LOG_UNAVAILABLE"]
    commits.close()


def test_a_loop_that_ended_holds_up_nobody_else(disk: Disk, spool: Spool):
    commits = spool.commits
    assert commits is not None
    disk.may_go_on.clear()
    spool.append(b"held")

    async def turn() -> None:
        commits.hold(asyncio.get_running_loop(), lambda _error: None)
        await asyncio.sleep(0)

    asyncio.run(turn())  # it is over before the sync is
    assert disk.begun.acquire(timeout=10)
    disk.may_go_on.set()
    assert ends(commits.wait)


def ends(do: Callable[[], object]) -> bool:
    """Return whether `do` comes back."""
    doing = threading.Thread(target=do, daemon=True)
    doing.start()
    doing.join(10)
    return not doing.is_alive()


def refuse_to_close(monkeypatch: pytest.MonkeyPatch, descriptor: int, closed: list[int]) -> None:
    """Let the close of `descriptor` fail once, as that of a file elsewhere may that could not be written; it is closed then."""
    close = os.close

    def closing(number: int) -> None:
        close(number)
        if number == descriptor and not closed:
            closed.append(number)
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "close", closing)


def test_where_the_disk_fails_nobody_gets_an_answer_and_the_next_records_go_elsewhere(disk: Disk, tmp_path: Path):
    world = World(tmp_path)
    world.plane.spool = spool = Spool(tmp_path / "power", "w", survives_power_loss=True)
    disk.error = OSError(5, "Input/output error")
    status, _, headers = world.ask()
    assert (status, headers["trivet-error"]) == (503, "LOG_UNAVAILABLE")
    disk.error = None
    assert world.ask()[0] == 200
    assert len(segments(tmp_path / "power")) == 2
    spool.close()


def test_without_it_nothing_is_synced_and_nobody_waits(disk: Disk, tmp_path: Path):
    world = World(tmp_path)
    assert world.ask()[0] == 200
    assert world.plane.spool.commits is None
    assert disk.syncs == 0


def test_who_waits_when_the_spool_closes_is_told(disk: Disk, spool: Spool):
    assert spool.commits is not None
    disk.may_go_on.clear()
    spool.append(b"last")
    waiting = threading.Thread(target=spool.commits.wait)
    waiting.start()
    assert disk.begun.acquire(timeout=10)
    disk.may_go_on.set()
    spool.close()
    waiting.join(10)
    assert not waiting.is_alive()
