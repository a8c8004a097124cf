"""The plan of what runs on one machine: it crosses into another program, and nothing of it is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.acceptance.servers import wait_for
from trivet.serving.supervision import Plan
from trivet.serving.supervisor import Child

BECOMES = """
import os, socket, sys, time
from trivet.serving.supervision import Plan, become_supervisor
from trivet.serving.supervisor import Child
listening = socket.create_server(("127.0.0.1", 0))
print(os.getpid(), flush=True)
web = Child("web", ["sh", "-c", 'eval "exec $2>&-"; echo started > log; exec sleep 60', "web"], signals_ready=True)
become_supervisor(Plan([web], listening.fileno(), time.monotonic(), voice=1, removed=("control.sock",)))
"""


def test_a_plan_is_read_as_it_was_written():
    children = [
        Child("web 1", ["python", "-m", "trivet", "web"], pass_descriptors=[7], signals_ready=True),
        Child("model workers", ["python"], pass_descriptors=[9], starts_for=9, environment={"LANG": "C"}),
    ]
    plan = Plan(children, 7, 12.5, voice=1, kept=(9, 10), removed=("/srv/run/control.sock",))
    again = Plan.decode(plan.encode())
    assert again.children == children
    assert again.descriptors == (7, 9, 10)
    assert (again.began, again.voice, again.removed) == (12.5, 1, ["/srv/run/control.sock"])


def test_the_process_that_becomes_the_supervisor_stays_the_same_one_and_tidies_up(tmp_path: Path):
    (tmp_path / "control.sock").touch()
    process = subprocess.Popen([sys.executable, "-c", BECOMES], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{process.pid}\n"
        assert process.stdout.readline().startswith("ready in ")
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        assert b"trivet.serving.supervision" in command
        sockets = [str(entry.readlink()) for entry in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert [link for link in sockets if link.startswith("socket:")], "the listening socket was lost"
        wait_for((tmp_path / "log").exists, 10)
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0
        process.communicate()
    assert not (tmp_path / "control.sock").exists()
