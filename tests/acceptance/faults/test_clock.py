"""F26: the wall clock jumps a day ahead, then an hour behind: keys, leases and durations do not follow it.

A shim in front of the C library shifts CLOCK_REALTIME for a server's processes, SQLite in them included; the clock of this
machine stays as it is.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.faults.disks import ask, logged, ready
from tests.acceptance.servers import serving, trivet, wait_for

SHIM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *shift;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_SHIFT");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) shift = page;
}

int clock_gettime(clockid_t which, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, which, at);
    if (!failed && shift && which == CLOCK_REALTIME) at->tv_sec += *shift;
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
JUMPS = (86_400, -3_600, 0)  # seconds from the true time
SECONDS = 30.0


def test_F26_when_the_clock_jumps_keys_and_leases_hold_and_no_duration_is_negative(churn: Churn, tmp_path: Path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler to make the clock's shim")
    (tmp_path / "shim.c").write_text(SHIM)
    library, shift = tmp_path / "shim.so", tmp_path / "shift"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, tmp_path / "shim.c"], check=True)
    shift.write_bytes(struct.pack("l", 0))
    shifted = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(shift)}
    answers = []
    with serving(churn.project, workers=2, **shifted) as server:
        workers = sorted(server.web_workers())
        answers += [ask(server, churn) for _ in range(5)]
        for version, seconds in zip((2, 1, 2), JUMPS, strict=True):
            with shift.open("r+b", buffering=0) as file:
                file.write(struct.pack("l", seconds))
            answers += [ask(server, churn) for _ in range(20)]
            assert ready(server)[0] == 200
            trivet("promote", f"churn@{version}", project=churn.project, **shifted)
            answers += [ask(server, churn) for _ in range(5)]
            wait_for(lambda: version in logged_versions(churn), SECONDS)  # noqa: B023  (within this turn)
        assert sorted(server.web_workers()) == workers
        assert server.stop() == 0
    assert {told.status for told in answers} == {200}
    assert {told.prediction_id: told.rows for told in answers} == logged(churn)
    with closing(sqlite3.connect(churn.project / "db.sqlite3")) as database:
        ((shortest, longest, days),) = database.execute(
            "select min(latency_us), max(latency_us), julianday(max(made_at)) - julianday(min(made_at)) from trivet_prediction"
        ).fetchall()
    assert 0 <= shortest <= longest < 60e6
    assert days > 1.0  # so the clock did jump
    assert not any("event=process_died" in line for line in server.lines)


def logged_versions(churn: Churn) -> set[int]:
    """Return the versions whose answers the keeper has shipped."""
    with closing(sqlite3.connect(churn.project / "db.sqlite3", timeout=30)) as database:
        rows = database.execute("select distinct version from trivet_prediction").fetchall()
    return {version for (version,) in rows}
