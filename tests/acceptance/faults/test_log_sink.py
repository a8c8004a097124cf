"""F29: where the log's lines go is blocked, full or closed: predictions do not notice, and what was dropped is counted."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.faults.disks import ask, fetch, logged
from tests.acceptance.servers import Server, clean_environment, free_port, trivet, wait_for
from tests.scale import scaled

KINDS = ["blocked", "closed", "full disk", "nobody listens"][: scaled(test=1, ci=4, full=4)]
ASKED = 100
SLOWEST_SECONDS = 5.0  # of a machine with other work; a wait for the pipe would last for ever
LOUD = {"LOG_LEVEL": "INFO", "TRIVET_ACCESS_LOG": "true"}


class Mute(Server):
    """A server whose standard error goes where a test says; None: it is closed, and so is standard output."""

    def __init__(self, project: Path, sink: int | None) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "trivet", "serve", "--bind", f"127.0.0.1:{self.port}", "--workers", "2"]
        if sink is None:
            command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
        self.process = subprocess.Popen(
            command,
            cwd=project,
            env=clean_environment(**LOUD),
            stdout=subprocess.DEVNULL,
            stderr=sink,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def answers(self) -> bool:
        """True once both workers can be reached."""
        with suppress(OSError):
            return fetch(self, "GET", "/v2/health/ready", "", None)[0] == 200
        return False

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return -signal.SIGKILL


@contextmanager
def sink_of(kind: str) -> Iterator[int | None]:
    """Yield a descriptor to print to; None for none at all."""
    if kind == "closed":
        yield None
        return
    if kind == "full disk":
        descriptor, other = os.open("/dev/full", os.O_WRONLY), -1
    else:
        other, descriptor = os.pipe()
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 4096)  # full after forty lines, and nobody reads
        if kind == "nobody listens":
            os.close(other)
            other = -1
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        if other >= 0:
            os.close(other)


@pytest.mark.parametrize("kind", KINDS)
def test_F29_predictions_are_unaffected_and_what_was_dropped_is_counted(churn: Churn, kind: str):
    made = trivet("keys", "create", "viewer", "--model=*", "--verb=view", "--json", project=churn.project)
    viewer = json.loads(made.stdout)["key"]
    with sink_of(kind) as sink:
        server = Mute(churn.project, sink)
        try:
            wait_for(server.answers)
            answers, slowest = [], 0.0
            for _ in range(ASKED):
                began = time.monotonic()
                answers.append(ask(server, churn))
                slowest = max(slowest, time.monotonic() - began)
            assert {told.status for told in answers} == {200}
            assert slowest < SLOWEST_SECONDS
            if kind != "closed":  # then they go to the null device, which takes them
                wait_for(lambda: dropped(server, viewer) >= ASKED)
            victim = wait_for(server.web_workers)[0]
            os.kill(victim, signal.SIGKILL)  # whoever replaces it says so
            wait_for(lambda: len(set(server.web_workers()) - {victim}) == 2)
        finally:
            code = server.stop()
        assert code == 0
    assert {told.prediction_id for told in answers} == logged(churn).keys()


def dropped(server: Server, viewer: str) -> int:
    """Return how many lines the metrics say were dropped."""
    _, _, text = fetch(server, "GET", "/metrics", viewer, None)
    found = [line for line in text.decode().splitlines() if line.startswith("trivet_log_lines_dropped_total ")]
    return int(float(found[0].split()[1])) if found else 0
