"""What CI does about a test that failed beside others: it asks once more, alone, and tells who it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "second-look"
MAKEFILE = f"TEST_ARGS ?= test_moods.py\ntest:\n\t@{sys.executable} -m pytest -q -p no:randomly $(TEST_ARGS)\n"
TESTS = """
from pathlib import Path

def test_a_right_one():
    with Path("asked").open("a") as asked:
        asked.write("right ")

def test_a_moody_one():
    seen = Path("seen")
    was_seen = seen.exists()
    seen.touch()
    assert was_seen

def test_a_wrong_one():
    assert Path("mended").exists()
"""


def looked(folder: Path, script: Path = SCRIPT, tests: str = TESTS) -> subprocess.CompletedProcess[str]:
    """Run `tests` in `folder` as CI does."""
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "test_moods.py").write_text(tests)
    return subprocess.run(
        [script, "make", "test", "TEST_ARGS=test_moods.py"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_one_that_passes_alone_is_asked_again_by_itself_and_named(tmp_path: Path):
    (tmp_path / "mended").touch()
    done = looked(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "asked").read_text() == "right "
    assert "test_moods.py::test_a_moody_one" in (tmp_path / "var" / "second-look.txt").read_text()


@pytest.mark.parametrize(("few", "is_looked_again"), [(4, True), (1, False)])
def test_one_that_fails_again_fails_the_leg_and_so_do_more_than_a_few(tmp_path: Path, few: int, is_looked_again: bool):
    script = tmp_path / "second-look"
    script.write_text(SCRIPT.read_text().replace("FEW=4", f"FEW={few}"))
    script.chmod(0o700)
    done = looked(tmp_path, script)
    assert done.returncode == 1, done.stdout + done.stderr
    assert ("1 passed" in done.stdout.partition("a second look")[2]) == is_looked_again
    assert not (tmp_path / "var").exists()


def test_a_run_that_ended_before_its_last_test_fails_the_leg(tmp_path: Path):
    """What was not asked the first time would not be asked the second time either."""
    (tmp_path / "mended").touch()
    ends = 'def test_one_that_ends_the_run():\n    import pytest\n    pytest.exit("the machine is going away", returncode=2)\n\n'
    done = looked(tmp_path, tests=TESTS.replace("def test_a_wrong_one", f"{ends}def test_a_wrong_one"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "a second look" not in done.stdout
    assert not (tmp_path / "var").exists()
