"""What takes long to make is made once in a run of the tests, however many processes run them: the others wait, then read it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

OF_THE_RUN = "once"  # the folder of what all processes of a run share
WORKER = "PYTEST_XDIST_WORKER"  # in the environment of a process that runs some of the tests


def made_once(paths: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder `name`, which `make` has filled in this process or in another. Nobody changes what is in it."""
    base = paths.getbasetemp()
    shared = (base.parent if WORKER in os.environ else base) / OF_THE_RUN
    shared.mkdir(exist_ok=True)
    folder, complete = shared / name, shared / f"{name}.complete"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that failed half-way
            folder.mkdir()
            make(folder)
            complete.touch()
    return folder
