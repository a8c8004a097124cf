"""Who moves traffic is told which workers follow, and which do not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from trivet import conf
from trivet.control.registry.models import Worker
from trivet.serving import acknowledgement
from trivet.serving.acknowledgement import wait_for_workers
from trivet.serving.worker_ids import new_worker_id

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def short_lease(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(conf, "LEASE_SECONDS", lambda: 0.3)


def worker(name: str, generation: int, *, pid: int | None = None, host: str | None = None, age: float = 0.0) -> Worker:
    return Worker.objects.create(
        pk=name,
        kind="web",
        host=host or socket.gethostname(),
        pid=os.getpid() if pid is None else pid,
        generation=generation,
        seen_at=timezone.now() - timedelta(seconds=age),
    )


def test_workers_that_follow_are_counted():
    worker("a", 5)
    worker("b", 6)
    told = wait_for_workers(5)
    assert (told.live, told.behind) == (2, ())
    assert "live in 2 of 2 workers" in str(told)


def test_a_worker_that_falls_silent_is_named_though_its_lease_lapses_meanwhile():
    worker("a", 5)
    worker("b", 4, pid=77, host="elsewhere")
    told = wait_for_workers(5)
    assert told.behind == ("web 77 on elsewhere",)
    assert told.live == 2
    assert told.seconds > 1


def test_one_that_was_silent_before_is_not_waited_for():
    worker("old", 1, host="elsewhere", age=10)
    assert wait_for_workers(5).seconds < 0.2
    assert "no server is running yet" in str(wait_for_workers(5))


def test_one_whose_process_is_gone_is_not_waited_for():
    worker(new_worker_id("web"), 4, pid=pid_of_nobody())
    told = wait_for_workers(5)
    assert (told.live, told.behind) == (0, ())
    assert told.seconds < 0.2


def test_one_in_another_container_is_waited_for_though_no_process_here_has_its_id(monkeypatch: pytest.MonkeyPatch):
    worker(elsewhere_on_this_machine(), 4, pid=(gone := pid_of_nobody()))
    assert wait_for_workers(5).behind == (f"web {gone} on {socket.gethostname()}",)


def test_one_of_the_release_before_is_waited_for_since_it_may_be_in_another_container():
    worker("web-01981c2e-7c1f-7d6a-9b1e-4d2f8a6b3c5d", 4, pid=pid_of_nobody())
    assert len(wait_for_workers(5).behind) == 1


def pid_of_nobody() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def elsewhere_on_this_machine() -> str:
    """Return the id of a worker that has a PID namespace of its own, and the host's name, as with the host's network."""
    code = "from trivet.serving.worker_ids import new_worker_id; print(new_worker_id('web'))"
    alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    done = subprocess.run([*alone, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no PID namespace can be made here: {done.stderr[:200]}")
    return done.stdout.strip()


def test_one_that_gives_its_lease_back_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    worker("leaving", 4, host="elsewhere")
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: Worker.objects.all().delete())
    monkeypatch.setattr(acknowledgement, "time", clock)  # not its sleep, which is that of every thread
    assert wait_for_workers(5).behind == ()
