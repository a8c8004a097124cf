"""The spool keeps what was appended, whole and in order, whatever happens to the process that wrote it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from trivet.core.errors import Unavailable
from trivet.dataplane.spool import HEADER, Spool, segments

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
