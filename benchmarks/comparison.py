"""`python -m benchmarks.comparison`: the four models behind Trivet, behind views written by hand, and behind model servers.

Each opponent gets an environment of its own (`--install` makes them under var/bench) and trains the models there. Its
answers are held against scikit-learn's before anything is timed. Servers are started afresh, rounds are interleaved, medians
are printed, and each opponent's ratio to Trivet.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.load import Run, wrk
from benchmarks.opponents.handwritten import DjangoJoblib, EmptyPost, FastApiJoblib, FastApiOnnx
from benchmarks.opponents.opponent import Known, Moments, Opponent
from benchmarks.opponents.peers import MODELS, BentoMl, KServe, LitServe, MlFlow, MlServer, RayServe, Triton
from benchmarks.opponents.trivet import Trivet, TrivetCrowded, TrivetDurable
from benchmarks.processes import cpu_seconds, descendants, machine, proportional_mb, started

HOME = Path("var/bench").absolute()
PORT = 8480
TOLERANCE = 1e-5  # what the gates allow a compiled model
HAND_WRITTEN: tuple[type[Opponent], ...] = (EmptyPost, FastApiOnnx, FastApiJoblib, DjangoJoblib)
CONDITIONS: tuple[type[Opponent], ...] = (TrivetDurable, TrivetCrowded)
PEERS: tuple[type[Opponent], ...] = (MlServer, BentoMl, LitServe, RayServe, MlFlow, KServe, Triton)


class Case(NamedTuple):
    """Rows a request, and connections."""

    rows: int
    connections: int

    def __str__(self) -> str:
        return ", ".join(
            f"{count} {word}{'s' * (count > 1)}" for count, word in zip(self, ("row", "connection"), strict=True)
        )


CASES = (Case(1, 1), Case(1, 32), Case(100, 8))


@dataclass
class Result:
    """What was found of one opponent."""

    opponent: Opponent
    runs: dict[tuple[str, Case], list[tuple[Run, float]]] = field(default_factory=dict)  # with CPU microseconds
    memory_mb: float = 0.0
    start_seconds: float = math.inf  # the fastest: the first may have had to compile what it imports
    moments: Moments | None = None
    problem: str = ""

    def median(self, model: str, case: Case, name: str = "rate") -> float | None:
        """Return the median of one figure over the rounds, None where there is none."""
        runs = self.runs.get((model, case))
        if not runs:
            return None
        return statistics.median(cpu if name == "cpu_us" else getattr(run, name) for run, cpu in runs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print."""
    options = _options(arguments)
    kinds: tuple[type[Opponent], ...] = (Trivet, *CONDITIONS, *HAND_WRITTEN, *(PEERS if options.peers else ()))
    opponents: list[Opponent] = [kind(home_of(kind) / "models") for kind in kinds]
    if options.only:
        opponents = [o for o in opponents if any(word.lower() in o.name.lower() for word in options.only)]
    if options.install:
        for opponent in opponents:
            install(opponent)
    results = [Result(opponent) for opponent in opponents if python_of(opponent) is not None]
    for opponent in opponents:
        if python_of(opponent) is None:
            print(f"not installed, so not measured: {opponent.name} (--install)", file=sys.stderr)
    for result in results:
        prepare(result.opponent)
    for number in range(options.rounds):
        for result in results:
            if not result.problem:
                measure(result, options.models, options.seconds, is_first=number == 0)
    print_tables(results, options)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.comparison", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--peers", action="store_true", help="with the model servers, not only the views written by hand"
    )
    parser.add_argument("--install", action="store_true", help="make the environments that are missing")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="opponents whose name has one of these words")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each load; 0: memory and start only, without any")
    return parser.parse_args(arguments)


def home_of(kind: type[Opponent]) -> Path:
    """Return where an opponent's environment, models and log are."""
    return HOME / ("ours" if not kind.requirements else kind.__name__.lower())


def python_of(opponent: Opponent) -> str | None:
    """Return the interpreter of its environment, None where it is not installed."""
    if not opponent.requirements:
        return sys.executable
    python = home_of(type(opponent)) / "venv/bin/python"
    return str(python) if python.exists() else None


def install(opponent: Opponent) -> None:
    """Make the opponent's environment."""
    if python_of(opponent) is not None:
        return
    uv = str(Path(sys.executable).with_name("uv"))
    venv = home_of(type(opponent)) / "venv"
    subprocess.run([uv, "venv", "--quiet", "--python", opponent.interpreter, str(venv)], check=True)
    target = ["--python", str(venv / "bin/python")]
    subprocess.run([uv, "pip", "install", "--quiet", "--compile-bytecode", *target, *opponent.requirements], check=True)


def prepare(opponent: Opponent) -> None:
    """Train the models where they are missing, and let the opponent write what it needs."""
    folder = opponent.folder
    if not (folder / "pipeline.json").exists():
        python = python_of(opponent)
        subprocess.run([str(python), str(Path(__file__).with_name("models.py")), str(folder)], check=True)
    ours = HOME / "ours/models"
    if folder != ours:
        for graph in [*ours.glob("*.onnx"), *ours.glob("*.packs.json")]:
            (folder / graph.name).write_bytes(graph.read_bytes())
    opponent.prepare()


def measure(result: Result, models: Iterable[str], seconds: int, *, is_first: bool) -> None:
    """Start the opponent's server, once for all models or for each, and load it in every case."""
    groups = [[model] for model in models] if result.opponent.is_per_model else [list(models)]
    try:
        for group in groups:
            _measure(result, group, seconds, is_first=is_first)
    except (OSError, RuntimeError, AssertionError, KeyError, subprocess.SubprocessError) as error:
        result.problem = f"{type(error).__name__}: {error}"
        print(f"{result.opponent.name}: {result.problem}", file=sys.stderr)


def _measure(result: Result, models: list[str], seconds: int, *, is_first: bool) -> None:
    opponent = result.opponent
    folder = opponent.folder
    known = {model: Known.read(folder, model) for model in models}
    first = opponent.question(known[models[0]], 1)
    base = f"http://127.0.0.1:{PORT}"
    command = opponent.command(str(python_of(opponent)), PORT)
    environment = opponent.environment(models[0])
    log = folder.parent / "log"
    began, began_at = time.monotonic(), datetime.now()  # noqa: DTZ005  (as servers' logs: local)
    with started(
        command,
        base + first.path,
        first.body,
        dict(first.headers),
        environment=environment,
        cwd=opponent.cwd,
        log=log,
    ) as process:
        start_seconds = time.monotonic() - began
        if start_seconds < result.start_seconds:
            result.start_seconds = start_seconds
            result.moments = opponent.moments(log.read_text(errors="replace"), began_at)
        for model in models:
            for case in CASES:
                question = opponent.question(known[model], case.rows)
                headers = dict(question.headers)
                url = base + question.path
                if is_first and not opponent.is_limit:
                    check(opponent, known[model], case.rows, post(url, question.body, headers))
                if not seconds:
                    continue
                wrk(url, question.body, headers, connections=case.connections, seconds=1)  # warm
                pids = descendants(process.pid)
                before = cpu_seconds(pids)
                run = wrk(url, question.body, headers, connections=case.connections, seconds=seconds)
                cpu_us = (cpu_seconds(pids) - before) / max(run.requests, 1) * 1e6
                result.runs.setdefault((model, case), []).append((run, cpu_us))
        if is_first:
            result.memory_mb = max(result.memory_mb, proportional_mb(descendants(process.pid)))


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Any:
    """Return the decoded answer to one request."""
    request = urllib.request.Request(url, data=body, headers={**headers, "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def check(opponent: Opponent, known: Known, rows: int, answered: Any) -> None:
    """Raise when an answer differs from scikit-learn's."""
    answer = opponent.probabilities(answered, rows)
    expected = known.probabilities[:rows]
    worst = max(abs(a - b) for got, want in zip(answer, expected, strict=True) for a, b in zip(got, want, strict=True))
    if worst > TOLERANCE:
        raise RuntimeError(f"{known.name}: an answer differs from scikit-learn's by {worst:.2g}")


def print_tables(results: list[Result], options: argparse.Namespace) -> None:
    """Print a table per model, and memory and start of each server."""
    print(machine())
    if options.seconds:
        _print_loads(results, options)
    print(
        "| server | memory of all its processes, MB | fastest start to first answer, s | on the way, s | imports to answer, s |"
    )
    print("|---" * 5 + "|")
    for result in results:
        print(f"| {result.opponent.name} | {result.memory_mb:.0f} | {result.start_seconds:.1f} | {_way(result)} |")
    for result in results:
        if result.problem:
            print(f"\n{result.opponent.name} was not measured whole: {result.problem}")


def _print_loads(results: list[Result], options: argparse.Namespace) -> None:
    ours = results[0]
    print(f"Two workers; medians of {options.rounds} interleaved rounds of {options.seconds} s.\n")
    for model in options.models:
        print(f"### {model}\n")
        print(
            "| server | "
            + " | ".join(f"{case}: requests/s | p50 ms | p99 ms | CPU µs | Trivet is" for case in CASES)
            + " |"
        )
        print("|---|" + "---|" * 5 * len(CASES))
        for result in results:
            print(
                f"| {result.opponent.name} | " + " | ".join(_cells(result, ours, model, case) for case in CASES) + " |"
            )
        print()


def _way(result: Result) -> str:
    """Return two cells: the moments of the first worker, and the time from its imports to the first answer."""
    if result.moments is None:
        return "|"
    started, imported, ready = result.moments
    way = f"worker started {started:.1f}, imports done {imported:.1f}, ready {ready:.1f}"
    return f"{way} | {result.start_seconds - imported:.2f}"


def _cells(result: Result, ours: Result, model: str, case: Case) -> str:
    rate, our_rate = result.median(model, case), ours.median(model, case)
    if rate is None:
        return "| | | |"
    figures = [result.median(model, case, name) or 0.0 for name in ("p50_ms", "p99_ms", "cpu_us")]
    times = f"{our_rate / rate:.1f} times" if our_rate and result is not ours else ""
    return f"{rate:,.0f} | {figures[0]:.2f} | {figures[1]:.2f} | {figures[2]:,.0f} | {times}"


if __name__ == "__main__":
    sys.exit(main())
