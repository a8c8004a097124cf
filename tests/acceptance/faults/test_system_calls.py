"""F30: every system call of an operation fails once, one after the other: no lost acknowledgement, no half state, no hang.

Each operation is a program of its own, run once untouched to see which calls it makes after it has started, then again
with the n-th of them failing. It prints what it told its caller; a second, untouched program looks at what is there.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.faults.disks import logged
from tests.acceptance.faults.strace import can_trace
from tests.acceptance.servers import clean_environment, copy_project
from tests.robustness.score import Score
from tests.scale import SCALE, scaled
from trivet.control.registry.storage import stored_name
from trivet.dataplane.spool import segments
from trivet.model.bundle.bundle import read_bundle

ROOT = Path(__file__).parents[3]

ERRORS = ("EIO", "ENOSPC", "EINTR")
TRIED = scaled(test=1, ci=6, full=10_000)  # faults of an operation; `full`: each call with each error
SECONDS = 120
CALLS = [
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "openat",
    "fallocate",
    "ftruncate",
    "unlink",
    "mkdir",
    "flock",
]
MARK = "/begin-here"  # a look at this file that is not there divides starting from working
DJANGO = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "trivet.server.settings"
import django
django.setup()
from django.db import Error
from trivet.core.errors import TrivetError
"""
REPORT = f"""
import json, os, sys
told = []
def mark():
    os.access({MARK!r}, os.F_OK)
def report():
    mark()
    print(json.dumps(told), flush=True)
"""
PREDICT = """
import trivet
row = {"tenure": 1.5, "plan": "free", "seats": 3}
trivet.predict("churn", row)
mark()
for number in range(60):  # more than the threads beside it write meanwhile, whose calls are counted like these
    try:
        told.append(trivet.predict("churn", row).id.partition(":")[0])
    except TrivetError:
        pass
report()
"""
ROTATE = """
import time
from pathlib import Path
from trivet.core.errors import Unavailable
from trivet.dataplane.spool import Spool
spool = Spool(Path(".trivet/spool").absolute(), "w", segment_bytes=4096, survives_power_loss=True)
mark()
for number in range(500):
    try:
        spool.append(b"record %04d " % number * 100)
        spool.commits.wait()
    except Unavailable:
        time.sleep(0.02)  # a client that asks again
        continue
    told.append(number)
    if len(told) == 12:
        break
report()
"""
RECOVER = """
from trivet.serving.keeper import Keeper, spool_root
keeper = Keeper(spool_root())
mark()
for _ in range(2):
    keeper._try()
report()
"""
PROMOTE = """
from trivet.control.registry import actions
mark()
try:
    actions.promote(model="churn", version=2, actor="test")
    told.append(2)
except (TrivetError, Error, OSError):
    pass
report()
"""
PUSH = """
from tests.acceptance.workshop import by_wish_bundle
from trivet.control.registry import actions
bundle = by_wish_bundle()
mark()
try:
    told.append(actions.register_version(name="wish", bundle=bundle, actor="test").digest)
except (TrivetError, Error, OSError):
    pass
report()
"""


elsewhere = pytest.mark.skipif(SCALE == "test", reason="two operations are enough for `make test`")


class Fault(NamedTuple):
    """The n-th call of a kind, counted from the start of the program, fails."""

    call: str
    number: int
    error: str


@dataclass(frozen=True)
class Run:
    """What came of a program: what it told its caller, and what the trace says."""

    told: list[Any]
    status: int
    trace: str


pytestmark = pytest.mark.skipif(not can_trace(), reason="strace cannot trace here")


def test_F30_predict(churn: Churn, tmp_path: Path, score: Score):
    def judge(project: Path, run: Run, fault: Fault) -> None:
        assert run.status == 0, fault  # a fault is an error of ours, or none
        log = logged(on(churn, project))
        assert set(run.told) <= log.keys(), fault
        assert set(log.values()) == {1}

    tried(churn, tmp_path, DJANGO + REPORT + PREDICT, judge, score)


def test_F30_rotate(churn: Churn, tmp_path: Path, score: Score):
    def judge(project: Path, run: Run, fault: Fault) -> None:
        assert run.status == 0, fault
        found = [payload for segment in segments(project / ".trivet" / "spool") for payload, _ in segment.payloads(0)]
        kept = [int(payload.split()[1]) for payload in found]
        assert set(run.told) <= set(kept), fault
        assert len(kept) == len(set(kept)), fault
        assert len(run.told) == 12, fault  # the spool recovered

    tried(churn, tmp_path, REPORT + ROTATE, judge, score)


@elsewhere
def test_F30_recover(churn: Churn, tmp_path: Path, score: Score):
    left = on(churn, copy_project(churn.project, tmp_path / "left"))
    written = "for _ in range(40): trivet.predict('churn', row)\nos._exit(0)\n"
    program = DJANGO + REPORT + PREDICT.partition("mark()")[0] + written
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=left.project,
        env=clean_environment(TRIVET_PROJECT=str(left.project), TRIVET_KEEPER="external"),
        check=True,
    )

    def judge(project: Path, run: Run, fault: Fault) -> None:
        assert run.status == 0, fault
        log = logged(on(churn, project))
        assert len(log) == 41, fault
        assert set(log.values()) == {1}, fault
        assert not list((project / ".trivet" / "spool").rglob("*.seg")), fault

    tried(left, tmp_path, DJANGO + REPORT + RECOVER, judge, score)


@elsewhere
def test_F30_promote(churn: Churn, tmp_path: Path, score: Score):
    def judge(project: Path, run: Run, fault: Fault) -> None:
        (champion,) = asked(
            project,
            "select number from trivet_alias a join trivet_modelversion v on v.id = a.version_id"
            " where a.name = 'champion'",
        )
        events = asked(project, "select count(*) from trivet_event where action = 'promote' and actor = 'test'")
        routes = asked(project, "select number from trivet_route r join trivet_modelversion v on v.id = r.version_id")
        assert (champion == 2) == (events == [1]) == (routes == [2]), fault
        assert champion == 2 or not run.told, fault

    tried(churn, tmp_path, DJANGO + REPORT + PROMOTE, judge, score)


@elsewhere
def test_F30_push(churn: Churn, tmp_path: Path, score: Score):
    def judge(project: Path, run: Run, fault: Fault) -> None:
        rows = asked(
            project,
            "select digest from trivet_modelversion v join trivet_registeredmodel m on m.id = v.model_id"
            " where m.name = 'wish'",
        )
        events = asked(
            project, "select count(*) from trivet_event where action = 'register_version' and actor = 'test'"
        )
        assert events == [len(rows)], fault
        assert set(run.told) <= set(rows), fault
        for digest in rows:
            assert read_bundle(project / ".trivet" / "bundles" / stored_name(digest, ""), digest), fault
        if fault.call != "unlink":
            assert not list((project / ".trivet" / "bundles").rglob(".*")), fault

    tried(churn, tmp_path, DJANGO + REPORT + PUSH, judge, score)


# --- the machinery ------------------------------------------------------------------------------------------------


def tried(churn: Churn, folder: Path, program: str, judge: Callable[[Path, Run, Fault], None], score: Score) -> None:
    """Run `program` untouched, then with one fault after the other, each in a project of its own, and judge each."""
    seed = int(os.environ.get("FAULT_SEED", random.randrange(1 << 32)))
    print(f"FAULT_SEED={seed}")
    project = copy_project(churn.project, folder / "untouched")
    found = faults_of(run(program, project, folder), project)
    shutil.rmtree(project)
    assert found, "the operation makes no call that could fail"
    random.Random(seed).shuffle(found)
    score.tried(min(TRIED, len(found)), of=len(found))
    for number, fault in enumerate(found[:TRIED]):
        project = copy_project(churn.project, folder / f"fault{number}")
        judge(project, run(program, project, folder, fault), fault)
        shutil.rmtree(project)


def run(program: str, project: Path, folder: Path, fault: Fault | None = None) -> Run:
    """Run `program` in `project`, with `fault` where one is given; fail where it hangs."""
    log = folder / "trace"
    inject = [f"-einject={fault.call}:error={fault.error}:when={fault.number}"] if fault else []
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-o",
            str(log),
            f"-etrace=access,{','.join(CALLS)}",
            *inject,
            sys.executable,
            "-c",
            program,
        ],
        cwd=project,
        env=clean_environment(TRIVET_PROJECT=str(project), PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    lines = done.stdout.splitlines()
    told = json.loads(lines[-1]) if lines and lines[-1].startswith("[") else []
    assert fault or not done.returncode, done.stderr
    return Run(told, done.returncode, log.read_text(errors="replace"))


def faults_of(untouched: Run, project: Path) -> list[Fault]:
    """Return each fault that strikes the work and not the start: it counts the calls of each thread from its beginning."""
    counts: Counter[tuple[str, str]] = Counter()
    inside: set[tuple[str, int]] = set()
    outside: set[tuple[str, int]] = set()
    marks = 0
    for line in untouched.trace.splitlines():
        thread, _, rest = line.partition(" ")
        call = rest.strip().partition("(")[0]
        marks += call == "access" and MARK in rest
        if call not in CALLS:
            continue
        counts[thread, call] += 1
        is_ours = marks == 1 and str(project) in rest
        (inside if is_ours else outside).add((call, counts[thread, call]))
    assert marks == 2
    return [Fault(call, number, error) for call, number in sorted(inside - outside) for error in ERRORS]


def on(churn: Churn, project: Path) -> Churn:
    return Churn(project, churn.key, churn.body, churn.rows)


def asked(project: Path, query: str) -> list[Any]:
    """Return the first column of a query, read without our own code."""
    with closing(sqlite3.connect(project / "db.sqlite3")) as database:
        return [row[0] for row in database.execute(query)]
