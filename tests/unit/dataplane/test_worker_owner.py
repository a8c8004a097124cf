"""The owner of the model workers: what it makes of a model worker's end, and of one that cannot be started."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from trivet.dataplane.engines.worker.control import Options, Peer
from trivet.dataplane.engines.worker.owner import MOST_RESTARTS, Group, Instance, Owner
from trivet.dataplane.engines.worker.runs import RunsWritten
from trivet.dataplane.engines.worker.sockets import listen_on

DIGEST = "0" * 64


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


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
    RunsWritten(runs).begin([1], is_cut_short=is_cut_short)
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
    assert owner._due(group, 0, now) <= now


def test_runs_that_hang_for_as_long_as_a_run_may_take_do(owner: Owner, group: Group, tmp_path: Path):
    for _ in range(MOST_RESTARTS):
        hang(owner, group, tmp_path, is_cut_short=False)
    assert "it rests" in group.failure
    now = time.monotonic()
    assert owner._due(group, 0, now) > now + 30


def test_a_process_that_cannot_be_started_is_tried_again_later_and_leaves_nothing_open(
    owner: Owner, group: Group, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(subprocess, "Popen", no_process)
    before, now = open_descriptors(), time.monotonic()
    owner._fill(group, now)
    owner._fill(group, now + 0.1)
    assert len(group.deaths[0]) == 2
    assert owner._due(group, 0, now + 0.1) > now + 0.1
    assert not group.failure, "it may pass"
    for later in count(1):
        if group.failure:
            break
        owner._fill(group, now + later)
    assert "Resource temporarily unavailable" in group.failure
    assert open_descriptors() == before
