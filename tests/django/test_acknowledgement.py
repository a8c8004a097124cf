"""Who moves traffic is told which workers follow, and which do not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import timedelta

import pytest
from django.utils import timezone

from trivet import conf
from trivet.control.registry.models import Worker
from trivet.serving import acknowledgement
from trivet.serving.acknowledgement import wait_for_workers

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
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    worker("killed", 4, pid=done.pid)
    told = wait_for_workers(5)
    assert (told.live, told.behind) == (0, ())
    assert told.seconds < 0.2


def test_one_that_gives_its_lease_back_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    worker("leaving", 4, host="elsewhere")
    monkeypatch.setattr(acknowledgement.time, "sleep", lambda _seconds: Worker.objects.all().delete())
    assert wait_for_workers(5).behind == ()
