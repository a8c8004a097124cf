"""Who has the control of a home's model workers, as another process is told."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trivet.serving.model_workers import LOCK_NAME, Control, Holder, open_control, run_folder


@pytest.fixture
def lock() -> Iterator[int]:
    """The lock of this home, held as by another process: a lock belongs to whoever opened the file."""
    run_folder().mkdir(parents=True, mode=0o700)
    held = os.open(run_folder() / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    yield held
    os.close(held)


def an_ended_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(30)
    return ended.pid


@pytest.mark.parametrize("is_stale", [False, True], ids=["nothing written", "the last one's name"])
def test_who_has_the_lock_and_has_not_said_yet_who_it_is_is_given_a_moment(lock: int, is_stale: bool):
    if is_stale:
        os.pwrite(lock, f"{an_ended_process()} model-workers\n".encode(), 0)
    threading.Timer(0.3, lambda: os.pwrite(lock, f"{os.getpid()} model-workers\n".encode(), 0)).start()
    assert open_control("serve", patience=5.0) == Holder(os.getpid(), "model-workers")


def test_another_verb_is_told_at_once(lock: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trivet.serving.model_workers.time.sleep", lambda _: pytest.fail("it waits"))
    os.pwrite(lock, f"{os.getpid()} model-workers\n".encode(), 0)
    assert open_control("serve", patience=5.0) == Holder(os.getpid(), "model-workers")


def test_a_lock_that_nobody_ever_signs_is_not_waited_for_for_long(lock: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trivet.serving.model_workers.NAMING_SECONDS", 0.2)
    assert open_control("model-workers") == Holder(0, "")


def test_who_comes_while_the_last_one_ends_takes_over(lock: int, settings: object):
    os.pwrite(lock, f"{os.getpid()} serve\n".encode(), 0)
    threading.Timer(0.2, lambda: fcntl.flock(lock, fcntl.LOCK_UN)).start()
    control = open_control("serve", patience=5.0)
    assert isinstance(control, Control)
    assert control.path.exists()
    assert Path(run_folder() / LOCK_NAME).read_text() == f"{os.getpid()} serve\n"
    control.socket.close()
    os.close(control.lock)
