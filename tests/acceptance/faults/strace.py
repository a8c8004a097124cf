"""Faults at system calls, and their order, by strace: from outside, on the real program."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.acceptance.servers import wait_for

LEAVES_SECONDS = 10.0


@functools.cache
def can_trace() -> bool:
    """True where there is a strace that may trace, and inject."""
    if shutil.which("strace") is None:
        return False
    command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=getcwd", "-e", "inject=getcwd:error=EIO", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def traced(pid: int, *options: str, log: Path = Path("/dev/null")) -> Iterator[subprocess.Popen[bytes]]:
    """Trace a process and the threads it has and starts, for as long as the block runs, or as it does."""
    tracer = subprocess.Popen(
        ["strace", "-f", "-p", str(pid), "-o", str(log), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: all(_tracer_of(task) == tracer.pid for task in Path(f"/proc/{pid}/task").iterdir()))
        yield tracer
    finally:
        tracer.terminate()
        try:
            tracer.wait(LEAVES_SECONDS)
        except subprocess.TimeoutExpired:  # it waits now and then for a thread that was killed under it
            tracer.kill()
            tracer.wait()


def _tracer_of(task: Path) -> int:
    found = re.search(r"^TracerPid:\t(\d+)$", (task / "status").read_text(), re.MULTILINE)
    return int(found.group(1)) if found else 0


class Call(NamedTuple):
    """One system call of a trace, that ended well: between which lines it was under way, and what it was given."""

    name: str
    file: str
    text: str
    began: int
    ended: int


_LINE = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
_FILE = re.compile(r"\d+<(.*?)>(?:,|\)| )")


def calls_of(log: Path) -> Iterator[Call]:
    """Yield the calls of a trace in the order of their ends; one without an end is left out, and so is one that failed."""
    under_way: dict[str, tuple[str, str, int]] = {}
    for number, line in enumerate(log.read_text(errors="replace").splitlines()):
        found = _LINE.match(line)
        if found is None:
            continue
        thread, resumed, name, rest = found.groups()
        if rest.endswith("<unfinished ...>"):
            under_way[thread] = name, rest, number
            continue
        began = number
        if resumed:
            if thread not in under_way:
                continue
            name, before, began = under_way.pop(thread)
            rest = before.removesuffix(" <unfinished ...>") + rest
        if " = -1 " in rest[-80:] or rest.endswith("= ?"):
            continue
        file = _FILE.match(rest)
        yield Call(name, file.group(1) if file else "", rest, began, number)
