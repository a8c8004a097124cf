"""What compiling brings and costs: a row compiled against the original, a push to a server that is warm, the sandbox.

`python -m benchmarks.compiling`, after `make bench` made its project. Some 40 seconds on a quiet machine.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import opening
from benchmarks.__main__ import champion, prepare
from benchmarks.corridor import first_body
from benchmarks.models import MODELS
from benchmarks.processes import started
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.fields import layout_of
from trivet.model.runtimes.onnx import OnnxRuntime

SAMPLE_ROWS = 300
ROUNDS, CALLS = 15, 20  # of each, in turns, so that what else the machine does falls on both alike
PUSHES = 3
PORT = 8474
TARGETS = {"linear": 8.0, "boosting": 15.0, "forest": 200.0, "pipeline": 100.0}  # times the original, one row
PUSH_TARGET_SECONDS = 5.0
SANDBOX_TARGET = 0.20
SANDBOX_ROUNDS = 5


@dataclass(frozen=True)
class Cost:
    """Median microseconds of one row."""

    original: float
    compiled: float

    @property
    def times(self) -> float:
        """How many times sooner the compiled model answers."""
        return self.original / self.compiled


def main() -> None:
    """Measure and print the section."""
    project = prepare()
    print("Compiled against the original, one row: `predict_proba` against label and probabilities of ONNX Runtime\n")
    print("| model | original µs | compiled µs | times | target | |\n|---|---|---|---|---|---|")
    for name, make in MODELS.items():
        cost = cost_of(*make())
        print(
            f"| {name} | {cost.original:,.0f} | {cost.compiled:.1f} | {cost.times:.0f} | {TARGETS[name]:.0f}"
            f" | {met(cost.times >= TARGETS[name])} |"
        )
    seconds = statistics.median(push_seconds(project))
    print(
        f"\nA push of a logistic pipeline to a warm server, from the command to live: {seconds:.1f} s"
        f" (target {PUSH_TARGET_SECONDS:.0f} s: {met(seconds <= PUSH_TARGET_SECONDS)})"
    )
    medians = {
        kind: statistics.median(values) for kind, values in opening.measured(SANDBOX_ROUNDS, has_cold=False).items()
    }
    added = medians[opening.SANDBOXED] / medians[opening.HERE] - 1
    print(
        f"The sandbox adds {added:.0%} to a conversion of {medians[opening.HERE] * 1000:.0f} ms"
        f" (target {SANDBOX_TARGET:.0%}: {met(added <= SANDBOX_TARGET)})\n"
    )


def met(is_met: bool) -> str:
    """Return the word for it."""
    return "met" if is_met else "**missed**"


def cost_of(model: Any, rows: Any) -> Cost:
    """Return what the first row costs `model` and its graph, each with its input as it takes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = compile_model(model, sample=rows[:SAMPLE_ROWS])
    layout, frame = layout_of(model, rows[:1])
    feed, runtime = layout.feed(frame), OnnxRuntime.load(compiled.bundle)
    names = [output.name for output in compiled.signature.outputs]
    microseconds: dict[str, list[float]] = {"original": [], "compiled": []}
    calls: dict[str, Callable[[], object]] = {
        "original": lambda: model.predict_proba(rows[:1]),
        "compiled": lambda: runtime.run(feed, names),
    }
    for turn in range(ROUNDS + 1):  # the first one warms
        for who, call in calls.items():
            for _ in range(CALLS):
                began = time.perf_counter_ns()
                call()
                if turn:
                    microseconds[who].append((time.perf_counter_ns() - began) / 1000)
    return Cost(statistics.median(microseconds["original"]), statistics.median(microseconds["compiled"]))


def push_seconds(project: Path) -> list[float]:
    """Return how long pushes take until every worker serves them, on a copy of `project` whose server was pushed to before."""
    demo = json.loads((project / "demo.json").read_text())
    bundle, _ = champion(project)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(project, copy)
        files = _pipeline(Path(folder))
        command = [sys.executable, "-m", "trivet", "serve", "--bind", f"127.0.0.1:{PORT}", "--workers", "2"]
        url = f"http://127.0.0.1:{PORT}/v2/models/late/infer"
        headers = {"Authorization": f"Bearer {demo['api_key']}"}
        with started(command, url, first_body(bundle), headers, cwd=copy):
            return [_push(copy, files, f"pushed-{number}") for number in range(PUSHES + 1)][1:]  # the first warms


def _push(project: Path, files: tuple[Path, Path], name: str) -> float:
    model, sample = files
    arguments = [str(model), f"--name={name}", f"--sample={sample}", "--labels=answer", "--json"]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "trivet", "push", *arguments], cwd=project, check=True, capture_output=True
    )
    seconds = time.perf_counter() - began
    if json.loads(done.stdout)["behind"]:
        raise RuntimeError(f"{name} was pushed, but not every worker serves it")
    return seconds


def _pipeline(folder: Path) -> tuple[Path, Path]:
    """Write the pipeline of the comparison and its sample; return both files."""
    import joblib

    model, rows = MODELS["pipeline"]()
    frame = pd.DataFrame(rows).head(SAMPLE_ROWS)
    joblib.dump(model, folder / "pipeline.joblib")
    frame.assign(answer=np.asarray(model.predict(frame))).to_csv(folder / "sample.csv", index=False)
    return folder / "pipeline.joblib", folder / "sample.csv"


if __name__ == "__main__":
    main()
