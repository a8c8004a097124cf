"""`make bench`: one row of `late` as OIP JSON over HTTP, against plain ways of doing the same, and the corridor's stations.

Needs wrk (Debian: apt-get install wrk). Servers are started afresh, measured in interleaved rounds, and the medians are
printed: requests a second, latency, server CPU a request (user and system time of the server's processes, from /proc),
resident memory of a web worker. Load and servers share the machine.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trivet
from benchmarks.corridor import first_body, stations
from trivet.model.bundle.bundle import Bundle, read_bundle

ROUNDS = 5
SECONDS = 5
WORKERS = 2
CONNECTIONS = (32, 1)
TICKS = os.sysconf("SC_CLK_TCK")
PROJECT = Path("var/bench")
START_SECONDS = 60


@dataclass
class Target:
    """One server to measure: how it is started, and what was measured of it."""

    name: str
    command: list[str]
    port: int
    headers: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    runs: dict[int, list[Run]] = field(default_factory=dict)
    memory_mb: float = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v2/models/late/infer"


@dataclass
class Run:
    """One run of the load generator: requests a second, CPU microseconds a request, latencies in milliseconds."""

    rate: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def main() -> int:
    """Measure everything and print the tables; 1 when something could not be measured."""
    if shutil.which("wrk") is None:
        print("make bench needs wrk, a load generator: apt-get install wrk", file=sys.stderr)
        return 1
    project = prepare()
    demo = json.loads((project / "demo.json").read_text())
    bundle, folder = champion(project)
    body = first_body(bundle)
    print(machine())
    print_corridor(bundle, body)
    print_in_process(project)
    targets = [
        Target(
            "Trivet: key, validation, log",
            [sys.executable, "-m", "trivet", "serve", "--bind", "127.0.0.1:8471", "--workers", str(WORKERS)],
            8471,
            {"Authorization": f"Bearer {demo['api_key']}"},
            cwd=project,
        ),
        Target(
            "Django view, gunicorn threads",
            [
                *(sys.executable, "-m", "gunicorn", "benchmarks.plain_django:application", "--bind=127.0.0.1:8472"),
                *(
                    f"--workers={WORKERS}",
                    "--worker-class=gthread",
                    "--threads=8",
                    "--log-level=error",
                    "--keep-alive=60",
                ),
            ],
            8472,
            environment={
                "BENCHMARK_MODEL": str(folder / "model.onnx"),
                "BENCHMARK_PACKS": json.dumps({pack.name: pack.columns for pack in bundle.manifest.packs}),
            },
        ),
        Target(
            "an empty POST, uvicorn",
            [sys.executable, "-m", "benchmarks.empty_post", "8473", str(WORKERS)],
            8473,
        ),
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(ROUNDS):
            for target in targets:
                measure(target, body, Path(scratch), is_first=number == 0)
    print_rates(targets)
    return 0


def prepare() -> Path:
    """Return the project of the demonstration, made where it is not there yet."""
    if not (PROJECT / "demo.json").exists():
        command = [sys.executable, "-m", "trivet", "demo", "--check", "--bind", "127.0.0.1:8470", "--dir", str(PROJECT)]
        subprocess.run(command, check=True)
    return PROJECT.absolute()


def champion(project: Path) -> tuple[Bundle, Path]:
    """Return the bundle of the live version, and its folder."""
    shown = subprocess.run(
        [sys.executable, "-m", "trivet", "show", "late@champion", "--json"],
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
    )
    digest = json.loads(shown.stdout)["digest"]
    folder = project / ".trivet/bundles/sha256" / digest[:2] / digest[2:4] / digest
    return read_bundle(folder, digest), folder


def measure(target: Target, body: bytes, scratch: Path, *, is_first: bool) -> None:
    """Start `target`, load it at each number of connections, stop it."""
    script = scratch / "post.lua"
    lines = [f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in target.headers.items()]
    (scratch / "body.json").write_bytes(body)
    script.write_text(
        "\n".join(
            [
                'wrk.method = "POST"',
                'wrk.headers["Content-Type"] = "application/json"',
                *lines,
                f'local file = io.open("{scratch / "body.json"}", "rb")',
                'wrk.body = file:read("*a")',
            ]
        )
    )
    with started(target, body) as process:
        for connections in CONNECTIONS:
            wrk(target, script, connections, 1)  # warm
            pids = serving_pids(process.pid)
            before = cpu_seconds(pids)
            output = wrk(target, script, connections, SECONDS)
            used = cpu_seconds(pids) - before
            target.runs.setdefault(connections, []).append(parse(output, used))
        if is_first:
            target.memory_mb = max(resident_mb(pid) for pid in serving_pids(process.pid))


@contextmanager
def started(target: Target, body: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server of `target` until the block ends; it has answered once when the block begins."""
    process = subprocess.Popen(
        target.command,
        cwd=target.cwd,
        env={**os.environ, **target.environment},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        request = urllib.request.Request(
            target.url, data=body, headers={**target.headers, "Content-Type": "application/json"}
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=5):
                    break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM) if target.cwd is None else process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def wrk(target: Target, script: Path, connections: int, seconds: int) -> str:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), target.url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def parse(output: str, cpu_seconds_used: float) -> Run:
    """Read what wrk printed; raises when any answer was not a 2xx."""
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"not every request was answered:\n{output}")
    requests = int(match(r"(\d+) requests in", output))
    return Run(
        float(match(r"Requests/sec:\s+([\d.]+)", output)),
        cpu_seconds_used / requests * 1e6,
        milliseconds(match(r"(?m)^\s+50%\s+(\S+)", output)),
        milliseconds(match(r"(?m)^\s+99%\s+(\S+)", output)),
    )


def match(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"wrk printed no {pattern}:\n{text}")
    return found[1]


def milliseconds(text: str) -> float:
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def descendants(pid: int) -> list[int]:
    """Return `pid` and every process below it."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found += descendants(int(child))
    return found


def serving_pids(pid: int) -> list[int]:
    """Return the processes that answer: not the keeper, which ships the log at low priority."""
    return [p for p in descendants(pid) if b"keeper" not in Path(f"/proc/{p}/cmdline").read_bytes()]


def cpu_seconds(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident_mb(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024  # type: ignore[index]


def machine() -> str:
    """Return what the figures were measured on."""
    model = re.search(r"model name\s+: (.*)", Path("/proc/cpuinfo").read_text())
    cores = len(os.sched_getaffinity(0))
    return (
        f"{model[1] if model else platform.machine()}, {cores} cores shared with the load, Linux {platform.release()},"
        f" Python {platform.python_version()}, Trivet {trivet.__version__}\n"
    )


def print_corridor(bundle: Bundle, body: bytes) -> None:
    print(
        f"The corridor, one row of `late` ({len(bundle.signature.inputs)} inputs, {len(body)} bytes of JSON), without HTTP\n"
    )
    print("| station | µs |\n|---|---|")
    for name, microseconds in stations(bundle, body).items():
        print(f"| {name} | {microseconds:.1f} |")
    print()


def print_in_process(project: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.inprocess", str(project)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    more = found["predict"] - found["bare"]
    print(
        f"In-process, `trivet.predict` of one row: {found['predict']:.0f} µs, {more:.0f} µs over the bare ONNX Runtime call\n"
    )


def print_rates(targets: list[Target]) -> None:
    print(f"Over HTTP, {WORKERS} workers, medians of {ROUNDS} interleaved rounds of {SECONDS} s\n")
    print("| server | connections | requests/s | CPU µs a request | p50 ms | p99 ms | resident MB |")
    print("|---|---|---|---|---|---|---|")
    for connections in CONNECTIONS:
        for target in targets:
            runs = target.runs[connections]
            print(
                f"| {target.name} | {connections} | {median(runs, 'rate'):,.0f} | {median(runs, 'cpu_us'):.0f}"
                f" | {median(runs, 'p50_ms'):.2f} | {median(runs, 'p99_ms'):.2f} | {target.memory_mb:.0f} |"
            )
    ours, django_view, empty = (median(t.runs[32], "rate") for t in targets)
    print(f"\nAt 32 connections: {ours / django_view:.1f} times the Django view, {ours / empty:.0%} of an empty POST.")


def median(runs: list[Run], field_name: str) -> float:
    return statistics.median(getattr(run, field_name) for run in runs)


if __name__ == "__main__":
    sys.exit(main())
