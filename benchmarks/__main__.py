"""`make bench`: one row of `late` as OIP JSON over HTTP, against plain ways of doing the same, and the corridor's stations.

Needs wrk (Debian: apt-get install wrk). Servers are started afresh, measured in interleaved rounds, and the medians are
printed: requests a second, latency, server CPU a request (user and system time of the server's processes, from /proc),
resident memory of a web worker. Load and servers share the machine.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.beside import added
from benchmarks.corridor import first_body, stations
from benchmarks.load import Run, wrk
from benchmarks.processes import cpu_seconds, descendants, machine, resident_mb, started
from trivet.model.bundle.bundle import Bundle, read_bundle

ROUNDS = 5
SECONDS = 5
WORKERS = 2
CONNECTIONS = (32, 1)
PROJECT = Path("var/bench")


@dataclass
class Target:
    """One server to measure: how it is started, and what was measured of it."""

    name: str
    command: list[str]
    port: int
    headers: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    runs: dict[int, list[tuple[Run, float]]] = field(default_factory=dict)  # with CPU microseconds a request
    memory_mb: float = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v2/models/late/infer"


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
    print_added(bundle, body)
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
    for number in range(ROUNDS):
        for target in targets:
            measure(target, body, is_first=number == 0)
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


def measure(target: Target, body: bytes, *, is_first: bool) -> None:
    """Start `target`, load it at each number of connections, stop it."""
    with started(
        target.command, target.url, body, target.headers, environment=target.environment, cwd=target.cwd
    ) as process:
        for connections in CONNECTIONS:
            wrk(target.url, body, target.headers, connections=connections, seconds=1)  # warm
            pids = serving_pids(process.pid)
            before = cpu_seconds(pids)
            run = wrk(target.url, body, target.headers, connections=connections, seconds=SECONDS)
            cpu_us = (cpu_seconds(pids) - before) / run.requests * 1e6
            target.runs.setdefault(connections, []).append((run, cpu_us))
        if is_first:
            target.memory_mb = max(resident_mb(pid) for pid in serving_pids(process.pid))


def serving_pids(pid: int) -> list[int]:
    """Return the processes that answer: not the keeper, which ships the log at low priority."""
    return [p for p in descendants(pid) if b"keeper" not in Path(f"/proc/{p}/cmdline").read_bytes()]


def print_corridor(bundle: Bundle, body: bytes) -> None:
    print(
        f"The corridor, one row of `late` ({len(bundle.signature.inputs)} inputs, {len(body)} bytes of JSON), without HTTP\n"
    )
    print("| station | µs |\n|---|---|")
    for name, microseconds in stations(bundle, body).items():
        print(f"| {name} | {microseconds:.1f} |")
    print()


def print_added(bundle: Bundle, body: bytes) -> None:
    inline, beside = added(bundle, body).values()
    print(
        f"Through a model worker, from the event loop: {beside[0]:.0f} µs a request at the median, {inline[0]:.0f} µs inline:"
        f" {beside[0] - inline[0]:.0f} µs added ({beside[1] - inline[1]:.0f} µs at the first percentile)\n"
    )


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


def median(runs: list[tuple[Run, float]], name: str) -> float:
    return statistics.median(cpu_us if name == "cpu_us" else getattr(run, name) for run, cpu_us in runs)


if __name__ == "__main__":
    sys.exit(main())
