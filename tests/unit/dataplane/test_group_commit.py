"""TRIVET_DURABILITY = "power": an answer waits for the sync that covers its record, and many share one."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from tests.unit.dataplane.world import World
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
