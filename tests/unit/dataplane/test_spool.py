"""The spool keeps what was appended, whole and in order, whatever happens to the process that wrote it."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from tests.acceptance.servers import wait_for
from trivet.core.errors import Unavailable
from trivet.dataplane.spool import AGAIN_SECONDS, HEADER, MAX_RECORD_BYTES, Spool, segments

ROOMY = 4 * 1024 * 1024


def payloads(root: Path) -> list[bytes]:
    return [payload for segment in segments(root) for payload, _ in segment.payloads(0)]


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=2000), max_size=20))
def test_what_is_appended_is_read_back_in_order(tmp_path_factory: pytest.TempPathFactory, written: list[bytes]):
    root = tmp_path_factory.mktemp("spool")
    spool = Spool(root, "w", segment_bytes=5000)
    for payload in written:
        spool.append(payload)
    assert payloads(root) == written
    spool.close()


@pytest.mark.parametrize("damage", ["cut", "flip", "zero"])
def test_a_torn_tail_ends_the_segment_and_harms_nothing_before_it(tmp_path: Path, damage: str):
    spool = Spool(tmp_path, "w", segment_bytes=ROOMY)
    for payload in (b"first", b"second", b"third"):
        spool.append(payload)
    spool.close()
    (segment,) = segments(tmp_path)
    *_, (_, second_end), (_, end) = segment.payloads(0)
    data = bytearray(segment.path.read_bytes())
    if damage == "cut":
        data = data[: end - 2]
    elif damage == "flip":
        data[end - 1] ^= 1
    else:
        data[second_end : second_end + HEADER.size] = bytes(HEADER.size)
    segment.path.write_bytes(data)
    assert payloads(tmp_path) == [b"first", b"second"]


def test_a_reader_goes_on_from_where_it_was(tmp_path: Path):
    spool = Spool(tmp_path, "w", segment_bytes=ROOMY)
    spool.append(b"one")
    (segment,) = segments(tmp_path)
    ((_, offset),) = segment.payloads(0)
    spool.append(b"two")
    assert [payload for payload, _ in segment.payloads(offset)] == [b"two"]
    spool.close()


def test_a_segment_is_final_once_it_was_left_or_its_worker_is_gone(tmp_path: Path):
    spool = Spool(tmp_path, "w", segment_bytes=200)
    spool.append(b"x" * 150)
    assert [segment.is_final for segment in segments(tmp_path)] == [False]
    spool.append(b"y" * 150)
    assert [segment.is_final for segment in segments(tmp_path)] == [True, False]
    spool.close()
    assert [segment.is_final for segment in segments(tmp_path)] == [True, True]


def test_removing_the_last_segment_removes_the_workers_folder_and_the_worker_makes_it_again(tmp_path: Path):
    spool = Spool(tmp_path, "w", segment_bytes=ROOMY)
    spool.append(b"x")
    spool.close()
    for segment in segments(tmp_path):
        segment.remove()
    assert not spool.folder.exists()
    spool.append(b"y")
    assert payloads(tmp_path) == [b"y"]
    spool.close()


def test_a_spool_at_its_bound_refuses_and_says_so(tmp_path: Path):
    spool = Spool(tmp_path, "w", segment_bytes=1000, limit_bytes=2500)
    for _ in range(2):
        spool.append(b"x" * 900)
    with pytest.raises(Unavailable) as refusal:
        spool.append(b"x" * 900)
    assert refusal.value.code == "LOG_UNAVAILABLE"
    assert len(payloads(tmp_path)) == 2
    spool.close()


def test_ensure_writable_makes_room_before_it_is_needed(tmp_path: Path):
    spool = Spool(tmp_path, "w", segment_bytes=ROOMY)
    spool.ensure_writable()
    (segment,) = segments(tmp_path)
    assert segment.path.stat().st_size == ROOMY
    spool.close()


WRITER = """
import sys
from pathlib import Path
from trivet.dataplane.spool import Spool
spool = Spool(Path(sys.argv[1]), "w", segment_bytes=1 << 20)
number = 0
while True:
    spool.append(b"%d" % number * 50)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    number += 1
"""


def test_what_a_killed_process_had_appended_is_there(tmp_path: Path):
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= 200:
                break
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        told = [int(line) for line in rest.splitlines()[:-1]]
        last = max(told, default=200)
        (*_, segment) = segments(tmp_path)
        assert segment.is_final
        kept = [payload for s in segments(tmp_path) for payload, _ in s.payloads(0)]
        assert kept[: last + 1] == [b"%d" % number * 50 for number in range(last + 1)]
        for old in segments(tmp_path):
            old.remove()


def test_a_forked_child_leaves_its_parents_segment_alone(tmp_path: Path):
    spool = Spool(tmp_path, "parent", segment_bytes=ROOMY)
    spool.append(b"parent")
    child = os.fork()
    if child == 0:
        spool.abandon_after_fork()
        time.sleep(30)  # until it is killed
        os._exit(0)
    try:
        spool.close()  # the parent's lock goes with it: the child holds no copy
        deadline = time.monotonic() + 5
        while not all(segment.is_final for segment in segments(tmp_path)):
            assert time.monotonic() < deadline
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


class Disk:
    """The system calls that make and write segments, which fail with `errno` while that is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *calls: str) -> None:
        self.errno = 0
        self.tries = 0
        for call in calls:
            monkeypatch.setattr(os, call, partial(self._call, getattr(os, call)))

    def _call(self, call: Callable[..., object], *arguments: object) -> object:
        if self.errno:
            self.tries += 1
            raise OSError(self.errno, os.strerror(self.errno))
        return call(*arguments)


def is_refused(spool: Spool) -> bool:
    try:
        spool.ensure_writable()
    except Unavailable as refusal:
        return refusal.code == "LOG_UNAVAILABLE"
    return False


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_F07_where_the_disk_is_full_nothing_is_taken_and_it_recovers_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    spool = Spool(tmp_path, "w", segment_bytes=ROOMY)
    disk = Disk(monkeypatch, call)
    disk.errno = errno.ENOSPC
    with pytest.raises(Unavailable):
        spool.append(b"lost")
    wait_for(lambda: is_refused(spool))
    assert not spool.is_writable
    assert not list(tmp_path.rglob("*.new"))
    disk.errno = 0
    wait_for(lambda: not is_refused(spool))
    spool.append(b"kept")
    assert spool.is_writable
    assert payloads(tmp_path) == [b"kept"]
    spool.close()


def test_F07_a_thousand_requests_try_a_full_disk_a_few_times_and_tell_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    spool = Spool(tmp_path, "w", segment_bytes=ROOMY)
    disk = Disk(monkeypatch, "posix_fallocate")
    disk.errno = errno.ENOSPC
    began = time.monotonic()
    assert all(is_refused(spool) for _ in range(1000))
    assert disk.tries <= 1 + (time.monotonic() - began) / AGAIN_SECONDS
    assert caplog.text.count("event=spool_unwritable") == 1
    spool.close()


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_F07_who_would_rather_go_without_a_record_is_served_and_told_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
):
    lost: list[int] = []
    spool = Spool(tmp_path, "w", segment_bytes=ROOMY, serves_when_full=True, tell_lost=lost.append)
    disk = Disk(monkeypatch, call)
    disk.errno = errno.EIO
    for _ in range(5):
        spool.ensure_writable()
        spool.append(b"lost")
    assert sum(lost) == 5
    assert not spool.is_writable
    assert caplog.text.count("event=spool_unwritable") == 1
    disk.errno = 0
    wait_for(lambda: not is_refused(spool) and spool.is_writable)
    spool.append(b"kept")
    assert sum(lost) == 5
    assert payloads(tmp_path) == [b"kept"]
    assert "event=spool_writable lost=5" in caplog.text
    spool.close()


def test_F07_at_its_bound_records_are_lost_and_counted_until_somebody_ships(tmp_path: Path):
    lost: list[int] = []
    spool = Spool(tmp_path, "w", segment_bytes=1000, limit_bytes=2500, serves_when_full=True, tell_lost=lost.append)
    for _ in range(5):
        spool.append(b"x" * 900)
    assert sum(lost) == 3
    segments(tmp_path)[0].remove()
    wait_for(lambda: spool.append(b"y" * 900) or spool.is_writable)
    assert b"y" * 900 in payloads(tmp_path)
    spool.close()


@pytest.mark.parametrize("survives_power_loss", [False, True])
def test_F07_at_its_bound_full_segments_are_left_so_that_whoever_ships_makes_room(
    tmp_path: Path, survives_power_loss: bool
):
    spools = [
        Spool(tmp_path, name, segment_bytes=ROOMY, limit_bytes=2 * ROOMY, survives_power_loss=survives_power_loss)
        for name in ("one", "two")
    ]
    for spool in spools:
        while len(payloads(spool.folder.parent)) < 4 * (spools.index(spool) + 1):
            spool.append(bytes(ROOMY // 4 - HEADER.size))  # to the last byte
    assert all(is_refused(spool) for spool in spools), "each holds a segment, and there is no room for a third"
    assert [segment.is_final for segment in segments(tmp_path)] == [False, False]
    wait_for(lambda: all(is_refused(s) for s in spools) and all(s.is_final for s in segments(tmp_path)))
    assert len(payloads(tmp_path)) == 8
    for segment in segments(tmp_path):
        segment.remove()
    wait_for(lambda: not any(is_refused(spool) for spool in spools))
    for spool in spools:
        spool.append(b"after")
        spool.close()
    assert payloads(tmp_path) == [b"after"] * 2


def test_F07_at_its_bound_what_was_let_in_before_still_finds_the_end_of_a_segment(tmp_path: Path):
    spool = Spool(tmp_path, "w", segment_bytes=ROOMY, limit_bytes=ROOMY)
    spool.append(bytes(ROOMY - MAX_RECORD_BYTES))
    assert is_refused(spool)
    spool.append(b"under way")
    assert payloads(tmp_path)[1:] == [b"under way"]
    spool.close()


def test_F07_a_log_that_cannot_be_written_is_found_out_though_nobody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spool = Spool(tmp_path, "w", segment_bytes=ROOMY)
    spool.append(b"before")
    spool.check()
    assert spool.is_writable
    disk = Disk(monkeypatch, "pwrite")
    disk.errno = errno.EROFS
    spool.check()
    spool.check()
    assert not spool.is_writable
    assert is_refused(spool)
    disk.errno = 0
    wait_for(lambda: spool.check() or spool.is_writable)
    spool.append(b"after")
    assert payloads(tmp_path) == [b"before", b"after"]
    spool.close()


def test_F07_a_segment_that_somebody_removed_is_written_to_no_more(tmp_path: Path):
    spool = Spool(tmp_path, "w", segment_bytes=ROOMY)
    spool.append(b"gone")
    shutil.rmtree(spool.folder)
    spool.check()
    spool.append(b"kept")
    assert payloads(tmp_path) == [b"kept"]
    spool.close()


def test_F07_records_written_while_a_sync_failed_are_not_trusted_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spool = Spool(tmp_path, "w", segment_bytes=ROOMY, survives_power_loss=True)
    assert spool.commits is not None
    spool.append(b"first")

    def fails(_descriptor: int) -> None:
        monkeypatch.undo()
        spool.append(b"while it was syncing")
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fails)
    for _ in range(2):  # the kernel tells of a failure once; both records may be dropped
        with pytest.raises(Unavailable):
            spool.commits.wait()
    spool.append(b"third")
    spool.commits.wait()
    spool.close()


def test_F07_records_that_could_not_be_synced_are_counted_where_answers_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lost: list[int] = []
    spool = Spool(
        tmp_path,
        "w",
        segment_bytes=ROOMY,
        survives_power_loss=True,
        serves_when_full=True,
        tell_lost=lost.append,
    )
    assert spool.commits is not None
    disk = Disk(monkeypatch, "fdatasync")
    disk.errno = errno.EIO
    spool.append(b"one")
    spool.append(b"two")
    spool.commits.wait()
    assert sum(lost) == 2
    spool.close()
