"""What an installer started ends with whoever asked for it, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.faults.victims import is_running
from tests.acceptance.servers import wait_for
from trivet.core.errors import Refused
from trivet.model.environments import making
from trivet.model.environments.environment import Needs
from trivet.model.environments.leash import run_on_leash
from trivet.model.environments.making import make_environment

HERE = f"3.{sys.version_info.minor}"
REQUIREMENTS = b"scikit-learn==1.5.2\n"
MAKE = f"""
import sys
from pathlib import Path
from trivet.model.environments.environment import Needs
from trivet.model.environments.making import make_environment
make_environment(Path(sys.argv[1]), Needs({REQUIREMENTS!r}, {HERE!r}), Path(sys.argv[2]))
"""


def endless_installer(folder: Path) -> Path:
    """Make an interpreter whose installer starts a process of its own, tells of both, and waits for it for ever."""
    interpreter = folder / "python"
    interpreter.write_text(
        f"""#!/bin/sh
case "$2" in
    -c) echo cpython {HERE}.0 ;;
    *) sleep 1000 & echo "$$ $!" > "$0.new" && mv "$0.new" "$0.pids" && wait ;;
esac
"""
    )
    interpreter.chmod(0o700)
    return interpreter


def started_by(interpreter: Path) -> list[int]:
    """Wait until the installer has started; return what runs."""
    told = interpreter.with_name("python.pids")
    wait_for(told.exists, 60)
    pids = list(map(int, told.read_text().split()))
    assert all(map(is_running, pids))
    return pids


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_it_is_killed_nothing_of_the_installer_is_left_running(tmp_path: Path, number: signal.Signals):
    interpreter = endless_installer(tmp_path)
    words = [sys.executable, "-c", MAKE, str(tmp_path / "environments"), str(interpreter)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as maker:
        pids = started_by(interpreter)
        maker.send_signal(number)
    wait_for(lambda: not any(map(is_running, pids)), 60)


def test_one_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(making, "INSTALL_SECONDS", 1.0)
    interpreter = endless_installer(tmp_path)
    with pytest.raises(Refused, match="could not be made within 1 s"):
        make_environment(tmp_path / "environments", Needs(REQUIREMENTS, HERE), interpreter)
    told = interpreter.with_name("python.pids")
    pids = (
        list(map(int, told.read_text().split())) if told.exists() else []
    )  # on a busy machine it had no time to begin
    wait_for(lambda: not any(map(is_running, pids)), 60)


def test_what_it_says_and_its_status_are_told():
    done = run_on_leash(["/bin/sh", "-c", "echo $WORD; echo no >&2; exit 3"], {**os.environ, "WORD": "yes"}, 60)
    assert (done.returncode, done.stdout, done.stderr) == (3, "yes\n", "no\n")
