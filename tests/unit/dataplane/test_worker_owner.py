"""The owner of the model workers: what it makes of a model worker's end, and of one that cannot be started."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from tests.acceptance.servers import wait_for
from tests.unit.dataplane.scarce import Scarce
from trivet.dataplane.engines.worker.control import Options, Peer, Reader, State, Want
from trivet.dataplane.engines.worker.group import MOST_RESTARTS, Caller, Group, Instance
from trivet.dataplane.engines.worker.instance import Report
from trivet.dataplane.engines.worker.owner import (
    ACCEPT_AGAIN_SECONDS,
    LOOK_AGAIN_SECONDS,
    SPARE_PAYS_SECONDS,
    Owner,
)
from trivet.dataplane.engines.worker.runs import RunsWritten
from trivet.dataplane.engines.worker.sockets import connect_to, listen_on
from trivet.model.bundle.manifest import MANIFEST_NAME
from trivet.model.environments.environment import COMPLETE, environment_at

DIGEST = "0" * 64
OWN = "1" * 32  # the key of an environment


def open_descriptors() -> set[tuple[str, str]]:
    """Return number and file of each pipe and process that is held: threads of other tests open and close other things."""
    gc.collect()  # what an owner of another test still holds
    found = set()
    for place in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found.add((place.name, str(place.readlink())))
    return {(number, file) for number, file in found if file.startswith("pipe:") or "pidfd" in file}


def no_process(*_: object, **__: object) -> None:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    listening = listen_on(tmp_path / "control.sock")
    yield Owner(tmp_path, tmp_path / "environments", listening)
    listening.close()


@pytest.fixture
def group(tmp_path: Path) -> Group:
    return Group(DIGEST, tmp_path / DIGEST, Options())


def hang(owner: Owner, group: Group, folder: Path, *, is_cut_short: bool) -> None:
    """Let a model worker of `group` be ended by its timer in the middle of a run, and be buried."""
    runs = folder / "1.runs"
    RunsWritten(runs).begin([1], time.monotonic(), is_cut_short=is_cut_short)
    process = subprocess.Popen(["sh", "-c", "kill -ALRM $$"])
    one = Instance(0, process, time.monotonic(), -1, os.pidfd_open(process.pid), str(folder / "1.sock"), str(runs))
    one.peer = Peer(0, one.socket, one.runs, process.pid)
    group.instances.append(one)
    owner._selector.register(one.died, 1, lambda: None)
    owner._bury(group, one)
    assert process.returncode == -signal.SIGALRM


def test_runs_that_impatient_callers_had_ended_make_no_model_rest(owner: Owner, group: Group, tmp_path: Path):
    for _ in range(MOST_RESTARTS):
        hang(owner, group, tmp_path, is_cut_short=True)
    assert group.restarts == {"hang": MOST_RESTARTS}
    assert not group.failure
    now = time.monotonic()
    assert group.due(0, now) <= now


def test_runs_that_hang_for_as_long_as_a_run_may_take_do(owner: Owner, group: Group, tmp_path: Path):
    for _ in range(MOST_RESTARTS):
        hang(owner, group, tmp_path, is_cut_short=False)
    assert "it rests" in group.failure
    now = time.monotonic()
    assert group.due(0, now) > now + 30


def test_a_process_that_cannot_be_started_is_tried_again_later_and_leaves_nothing_open(
    owner: Owner, group: Group, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(subprocess, "Popen", no_process)
    before, now = open_descriptors(), time.monotonic()
    owner._fill(group, now)
    owner._fill(group, now + 0.1)
    assert len(group.deaths[0]) == 2
    assert group.due(0, now + 0.1) > now + 0.1
    assert not group.failure, "it may pass"
    for later in count(1):
        if group.failure:
            break
        owner._fill(group, now + later)
    assert "Resource temporarily unavailable" in group.failure
    assert not open_descriptors() - before


def make_by_hand(folder: Path) -> None:
    """Make an environment whose interpreter takes its order and ends."""
    found = environment_at(folder, OWN)
    found.python.parent.mkdir(parents=True)
    found.python.write_text("#!/bin/sh\nexec cat > /dev/null\n")
    found.python.chmod(0o700)
    (found.folder / COMPLETE).touch()


def told_first(owner: Owner, group: Group) -> State:
    """Return what a caller is told when it begins to want `group`."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        owner._want(Caller(theirs), Want(group.digest, group.options, group.environment))
        [told] = Reader().feed(ours.recv(65536))
    assert isinstance(told, State)
    return told


def test_a_missing_environment_is_no_death_and_is_found_soon_after_it_was_made(
    owner: Owner, group: Group, tmp_path: Path
):
    group.environment = OWN
    now = time.monotonic()
    for second in range(2 * MOST_RESTARTS):
        owner._fill(group, now + second)
    assert "is missing on this machine" in group.failure
    make_by_hand(tmp_path / "environments")
    owner._fill(group, now + second + LOOK_AGAIN_SECONDS)
    [one] = group.instances
    owner._bury(group, one)


def test_who_begins_to_want_a_version_waits_for_the_next_try_and_is_not_told_of_the_last(
    owner: Owner, group: Group, tmp_path: Path
):
    group.folder = owner._folder / DIGEST
    group.folder.mkdir()
    (group.folder / MANIFEST_NAME).touch()
    owner._groups[DIGEST] = group
    group.failure = "its own environment is missing"
    assert not told_first(owner, group).is_failed
    group.failure = "its own environment is missing"
    assert told_first(owner, group).is_failed, "another caller waits, so that was just now"
    for _ in range(MOST_RESTARTS):
        hang(owner, group, tmp_path, is_cut_short=False)
    group.wanted_by.clear()
    assert told_first(owner, group).is_failed, "it rests: there is no next try to wait for"


def test_one_that_stood_by_and_died_is_passed_over_and_nothing_of_it_stays_open(owner: Owner, group: Group):
    before = open_descriptors()
    owner._stand_by(group, Report(runtime="onnx", import_seconds=SPARE_PAYS_SECONDS + 1))
    spare = owner._spares["onnx"].process
    spare.kill()
    os.waitid(os.P_PID, spare.pid, os.WEXITED | os.WNOWAIT)
    owner._start(group, 0, time.monotonic())
    [one] = group.instances
    assert one.process.pid != spare.pid
    one.process.kill()
    owner._bury(group, one)
    assert not open_descriptors() - before


def test_nobody_stands_by_where_importing_is_quick_or_the_runtime_is_made_up(owner: Owner, group: Group):
    owner._stand_by(group, Report(runtime="onnx", import_seconds=SPARE_PAYS_SECONDS / 2))
    owner._stand_by(group, Report(runtime="made up\0", import_seconds=60.0))
    assert not owner._spares


def test_who_stands_by_is_let_go_with_the_last_version_of_its_runtime(owner: Owner, group: Group):
    owner._groups[group.digest] = group
    owner._stand_by(group, Report(runtime="onnx", import_seconds=SPARE_PAYS_SECONDS + 1))
    spare, before = owner._spares["onnx"].process, open_descriptors()
    owner._let_go(group, time.monotonic())
    assert spare.returncode == -signal.SIGKILL
    assert before - open_descriptors()


def test_F28_without_a_descriptor_for_a_caller_the_owner_waits_and_takes_it_later(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    scarce = Scarce(monkeypatch)
    thread = threading.Thread(target=owner.run)
    thread.start()
    try:
        with connect_to(tmp_path / "control.sock", 10.0):
            scarce.assert_waits(ACCEPT_AGAIN_SECONDS)
            wait_for(lambda: owner._callers)
    finally:
        owner.end()
        thread.join()
