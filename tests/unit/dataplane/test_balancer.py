"""Instances of one version as one process sees them: what is held of one and until when, and whether one would answer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from trivet.dataplane.engines.worker.balancer import ENDED, FAILURES_TO_OPEN, OPEN_SECONDS, SILENCE_SECONDS, Balancer
from trivet.dataplane.engines.worker.control import Peer
from trivet.dataplane.engines.worker.runs import RunsWritten
from trivet.dataplane.engines.worker.sockets import listen_on


def held(path: Path) -> int:
    """Return how many descriptors of this process are of `path`."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += descriptor.readlink() == path
        except OSError:  # the one that listed them
            continue
    return found


def test_nothing_is_held_of_an_instance_that_was_replaced_while_a_request_waited_in_vain(tmp_path: Path):
    runs = tmp_path / "1.runs"
    RunsWritten(runs)
    balancer = Balancer("0" * 64)
    balancer.follow([Peer(0, str(tmp_path / "1.sock"), str(runs), 1)])
    chosen = balancer.choose(0.0, None)
    assert chosen is not None
    balancer.follow([])
    assert held(runs) == 1, "who waits may have to know whether it was running"
    balancer.ended(*chosen, is_failure=False, is_gone=False)
    assert held(runs) == 0


class There:
    """An instance that listens, as far as it goes: its file of runs, and how others know it."""

    def __init__(self, folder: Path, place: int = 0, pid: int = 0) -> None:
        self.listening = listen_on(folder / f"{place}.sock")
        self.runs = RunsWritten(folder / f"{place}.runs")
        self.peer = Peer(place, str(folder / f"{place}.sock"), str(folder / f"{place}.runs"), pid or os.getpid())

    def close(self) -> None:
        """Listen no more."""
        self.listening.close()

    def owes_for(self, seconds: float) -> None:
        """Be so late with a sign of life."""
        self.runs.expect(time.monotonic() - seconds)


@pytest.fixture
def there(tmp_path: Path) -> Iterator[There]:
    with closing(There(tmp_path)) as instance:
        yield instance


def following(*instances: There) -> Balancer:
    balancer = Balancer("0" * 64)
    balancer.follow([instance.peer for instance in instances])
    return balancer


def test_who_owes_a_sign_of_life_would_not_answer_and_who_gives_it_again_would(there: There):
    balancer = following(there)
    assert balancer.why_not() == "", "it has not said yet when it will"
    there.runs.expect(time.monotonic() + 60)
    assert balancer.why_not() == ""
    there.owes_for(SILENCE_SECONDS * 2)
    assert balancer.why_not() == "its process gives no sign of life"
    there.runs.begin([1], time.monotonic() - SILENCE_SECONDS * 2)
    assert balancer.why_not() == "a run of it hangs"
    there.runs.end()
    there.runs.expect(time.monotonic() + 60)
    assert balancer.why_not() == ""


def test_one_instance_that_would_answer_is_enough(there: There, tmp_path: Path):
    with closing(There(tmp_path, place=1)) as other:
        balancer = following(there, other)
        there.owes_for(60)
        assert balancer.why_not() == ""
    assert balancer.why_not() == ENDED
    balancer.follow([])
    assert balancer.why_not() == ENDED


@contextmanager
def stopped_process() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        process.send_signal(SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        yield process.pid
    finally:
        process.send_signal(SIGCONT)
        process.communicate(b"\n")


def test_a_stopped_process_would_not_answer_though_its_socket_takes_connections(tmp_path: Path):
    with stopped_process() as pid, closing(There(tmp_path, pid=pid)) as instance:
        instance.runs.expect(time.monotonic() + 60)
        balancer = following(instance)
        assert balancer.why_not() == "its process is stopped"
        with pytest.raises(BlockingIOError):
            instance.listening.accept()  # nor is it asked, which would fill its backlog
        os.kill(pid, SIGCONT)
        os.waitid(os.P_PID, pid, os.WCONTINUED | os.WNOWAIT)
        assert balancer.why_not() == ""


def test_a_breaker_says_no_while_it_lets_nobody_through_and_no_longer(there: There, monkeypatch: pytest.MonkeyPatch):
    balancer = following(there)
    for _ in range(FAILURES_TO_OPEN):
        chosen = balancer.choose(0.0, None)
        assert chosen is not None
        balancer.ended(*chosen, is_failure=True, is_gone=False)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert "times in a row" in balancer.why_not()
    now += OPEN_SECONDS + 0.1
    assert balancer.why_not() == "", "the next request would be let through: who waited for one would wait for ever"
    assert balancer.is_open
    trying = balancer.choose(0.0, None)
    assert trying is not None
    assert "times in a row" in balancer.why_not(), "one is trying it"
    balancer.succeeded(*trying)
    assert not balancer.is_open
    assert balancer.why_not() == ""
