"""What turned out true, said to a real server whose worker is killed right after: it is applied once, whatever came first."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, serving, trivet, wait_for
from trivet.client import Client


def test_48_D44_labels_that_were_taken_survive_kill_9_and_are_applied_once_also_before_their_prediction(
    churn: Churn, tmp_path: Path
):
    words = ("--model", "churn", "--verb", "predict", "--verb", "label", "--quiet")
    key, stranger = (trivet("keys", "create", name, *words, project=churn.project).stdout.strip() for name in "ab")
    watch = trivet("keys", "create", "w", "--model", "*", "--verb", "view", "--quiet", project=churn.project).stdout
    spool, aside = churn.project / ".trivet" / "spool", tmp_path / "aside"
    with serving(churn.project, workers=1) as server:
        os.kill(keeper_of(server), signal.SIGSTOP)
        with Client(server.url, key) as client:
            first, second = client.predict("churn", churn.rows[:1] * 2)
            client.label("churn", first, "yes", source="billing")
        (dead,) = spool.iterdir()
        killed(server)  # nothing of it is in the log yet
        shutil.move(dead, aside)  # as if it came later from another machine
        with Client(server.url, key) as client:
            client.label_many("churn", [(first, "yes"), (second, "no"), (second, "yes")])
        with Client(server.url, stranger) as client:
            client.label("churn", first, "no")
        killed(server)
        os.kill(keeper_of(server), signal.SIGCONT)
        wait_for(lambda: states(churn) == ["waiting"] * 4)
        shutil.move(aside, dead)
        wait_for(lambda: "waiting" not in states(churn))
        wait_for(lambda: told(server, watch.strip()).get("waiting"))
        counted = told(server, watch.strip())
    trivet("keeper", "--once", project=churn.project)

    rows = {(state, value, revision, reason) for state, value, revision, reason in everything(churn)}
    assert {(value, revision) for state, value, revision, _ in rows if state == "applied"} == {
        ('"yes"', 1),
        ('"no"', 1),
        ('"yes"', 2),
    }
    assert [reason for state, _, _, reason in rows if state == "refused"] == [
        "the prediction was made by another owner's key."
    ]
    assert len(everything(churn)) == 4  # one more was said twice
    assert counted == {"waiting": 4, "applied": 2, "revised": 1, "repeated": 1, "refused": 1}


def keeper_of(server: Server) -> int:
    """Return the process id of its keeper."""
    (found,) = [pid for pid in server.children() if b"keeper" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    return found


def killed(server: Server) -> None:
    """Kill the web worker, and return once another is there."""
    before = server.web_workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: set(server.web_workers()) - set(before))
    wait_for(lambda: is_ready(server))


def is_ready(server: Server) -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}/v2/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def everything(churn: Churn) -> list[Any]:
    with closing(sqlite3.connect(churn.project / "db.sqlite3")) as database:
        return database.execute("select state, value, revision, reason from trivet_label").fetchall()


def states(churn: Churn) -> list[str]:
    return [state for state, *_ in everything(churn)]


def told(server: Server, key: str) -> dict[str, int]:
    """Return what the metrics tell of labels, by result."""
    request = urllib.request.Request(f"{server.url}/metrics", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    prefix = 'trivet_labels_total{model="churn",result="'
    found = [line.removeprefix(prefix).partition('"} ') for line in lines if line.startswith(prefix)]
    return {result: int(count) for result, _, count in found}
