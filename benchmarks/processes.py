"""Servers under measurement: started, waited for, weighed, ended."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import trivet

TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 90
STOP_SECONDS = 30
KEEPS_BYTECODE = {
    "PYTHONDONTWRITEBYTECODE": ""
}  # as where pip installed it: no start but the first compiles its imports


@contextmanager
def started(
    command: list[str],
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it has answered once when the block begins. What it prints goes to `log`."""
    with Path(log or os.devnull).open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **KEEPS_BYTECODE, **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,
        )
    try:
        _wait_for_answer(process, url, body, headers)
        yield process
    finally:
        _stop(process)


def _wait_for_answer(process: subprocess.Popen[bytes], url: str, body: bytes, headers: Mapping[str, str]) -> None:
    request = urllib.request.Request(url, data=body, headers={**headers, "Content-Type": "application/json"})
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.02)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and everything it started, whatever sessions those have."""
    family = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def descendants(pid: int) -> list[int]:
    """Return `pid` and every process below it."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found += descendants(int(child))
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Return the user and system time of processes so far."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident_mb(pid: int) -> float:
    """Return the resident set size of a process in MiB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024  # type: ignore[index]


def proportional_mb(pids: list[int]) -> float:
    """Return the memory of processes together in MiB, what they share counted once (proportional set size)."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += int(re.search(r"Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())[1])  # type: ignore[index]
    return total / 1024


def machine() -> str:
    """Return what the figures were measured on."""
    model = re.search(r"model name\s+: (.*)", Path("/proc/cpuinfo").read_text())
    cores = len(os.sched_getaffinity(0))
    return (
        f"{model[1] if model else platform.machine()}, {cores} cores shared with the load, Linux {platform.release()},"
        f" Python {platform.python_version()}, Trivet {trivet.__version__}\n"
    )
