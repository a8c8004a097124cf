"""`make bench`: one row of `late` as OIP JSON over HTTP, against plain ways of doing the same, and the corridor's stations.

Needs wrk (Debian: apt-get install wrk). Servers are started afresh, measured in interleaved rounds, and the medians are
printed: requests a second, latency, server CPU a request (user and system time of the server's processes, from /proc),
resident memory of a web worker. Load and servers share the machine. `--against CHECKOUT` measures another checkout of Trivet,
with its own `.venv`, in the same rounds: what a change costs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping
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
AGAINST = Path("var/bench-against")


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


def main(arguments: list[str] | None = None) -> int:
    """Measure everything and print the tables; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument(
        "--against", type=Path, metavar="CHECKOUT", help="another checkout of Trivet, to measure beside"
    )
    against = parser.parse_args(arguments).against
    if shutil.which("wrk") is None:
        print("make bench needs wrk, a load generator: apt-get install wrk", file=sys.stderr)
        return 1
    project = prepare()
    bundle, folder = champion(project)
    body = first_body(bundle)
    print(machine())
    print_corridor(bundle, body)
    print_added(bundle, body)
    print_in_process(project)
    targets = [
        ours("Trivet: key, validation, log", project, 8471),
        ours("the same, TRIVET_DURABILITY = power", project, 8474, {"TRIVET_DURABILITY": "power"}),
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
    if against:
        python = str(against.absolute() / ".venv/bin/python")
        targets.append(ours("Trivet, the other checkout", prepare(python, AGAINST), 8475, python=python))
    for number in range(ROUNDS):
        for target in targets:
            measure(target, body, is_first=number == 0)
    print_rates(targets)
    return 0


def prepare(python: str = sys.executable, folder: Path = PROJECT) -> Path:
    """Return the project of the demonstration, made where it is not there yet."""
    if not (folder / "demo.json").exists():
        command = [python, "-m", "trivet", "demo", "--check", "--bind", "127.0.0.1:8470", "--dir", str(folder)]
        subprocess.run(command, check=True)
    return folder.absolute()


def ours(
    name: str, project: Path, port: int, environment: Mapping[str, str] | None = None, *, python: str = sys.executable
) -> Target:
    """Return Trivet, serving a project made by `prepare`, with a key that the project has."""
    command = [python, "-m", "trivet", "serve", "--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS)]
    key = json.loads((project / "demo.json").read_text())["api_key"]
    return Target(name, command, port, {"Authorization": f"Bearer {key}"}, dict(environment or {}), project)


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
    rate, power, django_view, empty, *others = (median(t.runs[32], "rate") for t in targets)
    print(f"\nAt 32 connections: {rate / django_view:.1f} times the Django view, {rate / empty:.0%} of an empty POST;")
    print(f"with `power`, {power / rate:.0%} of that without.")
    for other in others:
        print(f"{rate / other:.0%} of the other checkout.")


def median(runs: list[tuple[Run, float]], name: str) -> float:
    return statistics.median(cpu_us if name == "cpu_us" else getattr(run, name) for run, cpu_us in runs)


if __name__ == "__main__":
    sys.exit(main())
