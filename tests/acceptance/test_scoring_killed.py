"""A table that is being scored, and `kill -9`: no row written twice, none missed, no lock that others wait for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.crm import SETTINGS, add_customers, watched_locks
from tests.acceptance.databases import BOTH, rows_of
from tests.acceptance.servers import clean_environment, trivet, wait_for
from tests.scale import scaled

ROWS = scaled(test=6000, ci=12_000, full=120_000)
BATCH = scaled(test=100, ci=500, full=2000)
KILLS = scaled(test=2, ci=3, full=3)
LONGEST_LOCK_SECONDS = 1.0
WORDS = ("score", "churn", "crm.Customer", "--apply", f"--batch-size={BATCH}")


@pytest.mark.slow
@pytest.mark.timeout(scaled(test=300, ci=600, full=1800))
@pytest.mark.parametrize("churn", BOTH, indirect=True)
def test_a_killed_run_is_gone_on_with_and_each_row_is_written_once(churn: Churn):
    project = churn.project
    add_customers(project, ROWS)
    longest = 0.0
    for number in range(1, KILLS + 1):
        with begun(project) as scoring:
            with watched_locks(project) as locks:
                wait_for(
                    lambda number=number: done(project) > ROWS * number / (2 * KILLS), seconds=600
                )  # the last one halfway
            longest = max(longest, locks.longest)
            os.kill(scoring.pid, signal.SIGSTOP)
            refused = trivet(*WORDS, project=project, check=False, DJANGO_SETTINGS_MODULE=SETTINGS)
            assert refused.returncode == 3, refused.stderr
            assert "is under way: process:" in refused.stderr
    with watched_locks(project) as locks:
        last = trivet(*WORDS, project=project, DJANGO_SETTINGS_MODULE=SETTINGS)
    assert "goes on behind" in last.stdout
    assert rows_of(project, "select count(*), count(distinct customer) from audit") == [(ROWS, ROWS)]
    unwritten = "select count(*) from crm_customer where risk is null or risk_version <> 1 or risk_at is null"
    assert rows_of(project, unwritten) == [(0,)]
    ((state, told, total, errors, held),) = rows_of(
        project, "select state, done, total, errors, longest_seconds from trivet_scoringrun"
    )
    assert (state, told, total, errors) == ("finished", ROWS, ROWS, 0)
    longest = max(longest, locks.longest)
    print(
        f"{ROWS:,} rows, {KILLS} kills; the longest transaction: {held:.3f} s by its own clock, {longest:.3f} s by others'"
    )
    assert max(held, longest) < LONGEST_LOCK_SECONDS


@contextmanager
def begun(project: Path) -> Iterator[subprocess.Popen[Any]]:
    """Let a process score the table, and kill it at the end of the block, whatever it is at."""
    scoring = subprocess.Popen(
        [sys.executable, "-m", "trivet", *WORDS],
        cwd=project,
        env=clean_environment(DJANGO_SETTINGS_MODULE=SETTINGS),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield scoring
    finally:
        scoring.kill()
        scoring.wait()


def done(project: Path) -> int:
    found = rows_of(project, "select done from trivet_scoringrun")
    return int(found[0][0]) if found else 0
