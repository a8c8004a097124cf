"""The supervisor: what dies comes back without a storm, what is asked to end ends, and SIGHUP replaces one after another."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.servers import wait_for

# A child notes in a file what happens to it. It is given --ready-fd N as $1 and $2.
STEADY = 'echo "$0 starts" >> log; trap \'echo "$0 ends" >> log; exit 0\' TERM; {ready}; while :; do sleep 0.02; done'
READY = 'eval "exec $2>&-"'
DIES = 'echo "$0 starts" >> log; exit 3'
SUPERVISE = """
import sys
from trivet.serving import supervisor
from trivet.serving.supervisor import Child, Supervisor
scripts = dict(line.split("=", 1) for line in sys.argv[1:])
{patch}
children = [Child(name, ["sh", "-c", script, name], signals_ready=True) for name, script in scripts.items()]
sys.exit(Supervisor(children, on_ready=lambda: print("all ready", flush=True)).run())
"""


@contextmanager
def supervised(folder: Path, patch: str = "", **scripts: str) -> Iterator[subprocess.Popen[str]]:
    """Run a supervisor in `folder` over one shell script per name."""
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE.format(patch=patch), *(f"{n}={s}" for n, s in scripts.items())],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.communicate()


def log(folder: Path) -> list[str]:
    path = folder / "log"
    return path.read_text().splitlines() if path.exists() else []


def test_one_that_dies_at_once_is_tried_again_and_again_less_often_while_the_others_serve(tmp_path: Path):
    with supervised(tmp_path, good=STEADY.format(ready=READY), bad=DIES) as process:
        wait_for(lambda: log(tmp_path).count("bad starts") >= 3, 10)
        started = log(tmp_path).count("bad starts")
        assert process.poll() is None
        subprocess.run(["sleep", "1"], check=True)  # the time in which a storm would show
        assert log(tmp_path).count("bad starts") - started <= 1
        assert "good ends" not in log(tmp_path)
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert log(tmp_path).count("good starts") == 1
    assert log(tmp_path)[-1] == "good ends"


def test_where_nothing_ever_became_ready_it_gives_up(tmp_path: Path):
    with supervised(tmp_path, patch="supervisor.BACK_OFF_SECONDS = (0.0,)", bad=DIES) as process:
        assert process.wait(timeout=20) == 1
    assert log(tmp_path).count("bad starts") == 10


def test_one_that_is_often_ready_and_often_dies_rests_between(tmp_path: Path):
    script = STEADY.format(ready=READY).replace("while :; do sleep 0.02; done", "sleep 0.1; exit 1")
    with supervised(tmp_path, shaky=script):
        wait_for(lambda: log(tmp_path).count("shaky starts") >= 6, 10)
        subprocess.run(["sleep", "1"], check=True)
        assert log(tmp_path).count("shaky starts") <= 7


def test_sighup_replaces_one_after_another_each_once_its_successor_is_ready(tmp_path: Path):
    scripts = {name: STEADY.format(ready=READY) for name in ("a", "b")}
    with supervised(tmp_path, **scripts) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "all ready\n"
        first = len(log(tmp_path))
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGHUP)  # meanwhile: one roll
        wait_for(lambda: log(tmp_path).count("b ends") == 1, 20)
        assert log(tmp_path)[first:] == ["a starts", "a ends", "b starts", "b ends"]


def test_a_successor_that_does_not_come_up_replaces_nobody(tmp_path: Path):
    script = "if [ -e broken ]; then " + DIES + "; fi; " + STEADY.format(ready=READY)
    with supervised(tmp_path, a=script, b=script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "all ready\n"
        (tmp_path / "broken").touch()
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: log(tmp_path).count("a starts") == 2, 20)
        (tmp_path / "broken").unlink()
        process.send_signal(signal.SIGHUP)  # the next roll begins where the last gave up
        wait_for(lambda: log(tmp_path).count("b ends") == 1, 20)
    assert log(tmp_path).count("a starts") == 3
    assert log(tmp_path).count("b starts") == 2


ONCE_NONE = """
import errno, os, subprocess
started, start = [], subprocess.Popen
def popen(*args, **options):
    started.append(args)
    if len(started) in ({numbers}):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return start(*args, **options)
supervisor.subprocess.Popen = popen
"""


def test_a_process_that_cannot_be_started_is_a_death_and_no_end_of_all(tmp_path: Path):
    scripts = {name: STEADY.format(ready=READY) for name in ("a", "b")}
    with supervised(tmp_path, patch=ONCE_NONE.format(numbers="2, 3"), **scripts) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "all ready\n"
        assert process.poll() is None
    assert sorted(log(tmp_path)) == ["a ends", "a starts", "b ends", "b starts"]


def test_a_successor_that_cannot_be_started_replaces_nobody(tmp_path: Path):
    with supervised(tmp_path, patch=ONCE_NONE.format(numbers="2,"), a=STEADY.format(ready=READY)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "all ready\n"
        # The roll that is asked for first is given up, and one that is asked for later is not.
        wait_for(lambda: process.send_signal(signal.SIGHUP) or log(tmp_path).count("a starts") >= 2, 10)
        assert process.poll() is None
