"""What the sandbox costs: one file converted in this process, in a fork of a zygote, and in a new interpreter, in turns.

`python -m benchmarks.opening [ROUNDS]`. Prints medians in milliseconds, and the ratio that the sandbox adds.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import joblib
import msgspec
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trivet.model.compile import disposable
from trivet.model.compile.child import answer_to
from trivet.model.compile.disposable import Deadline, answer_of
from trivet.model.compile.process import CHILD, compile_file
from trivet.model.compile.wire import Success, Task, decode_answer

ROUNDS = 15
HERE, SANDBOXED = "without a sandbox, libraries imported", "in a fork of the zygote"
SECONDS = 120


def main(rounds: int) -> None:
    """Measure, and print medians and what the sandbox adds."""
    seconds = measured(rounds)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{value * 1000:8.0f} ms  {name} ({len(seconds[name])} times)")
    print(f"the sandbox adds {(medians[SANDBOXED] / medians[HERE] - 1) * 100:.0f} %")


def measured(rounds: int, *, has_cold: bool = True) -> dict[str, list[float]]:
    """Return how -> seconds of each conversion, taken in turns, so that what else the machine does falls on all alike."""
    with tempfile.TemporaryDirectory() as folder, disposable.several_files() as zygote:
        model, sample = _files(Path(folder))

        def task() -> Task:
            opened = [path.open("rb") for path in (model, sample)]
            kept.extend(opened)
            digest = hashlib.sha256(model.read_bytes()).hexdigest()
            return Task(opened[0].fileno(), opened[1].fileno(), "churned", 1e-4, digest, SECONDS, 2)

        def here() -> None:
            assert isinstance(answer_to(_duplicated(task())), Success)

        def sandboxed() -> None:
            asked = task()
            descriptors = [asked.model_descriptor, asked.sample_descriptor or 0]
            deadline = Deadline.after(SECONDS)
            answered = answer_of(CHILD, msgspec.msgpack.encode(asked), deadline, called="it", descriptors=descriptors)
            assert isinstance(decode_answer(answered.body), Success)

        def cold() -> None:
            with disposable.warm(None):
                sandboxed()

        def whole() -> None:
            compile_file(model, sample=sample, label_column="churned")

        kept: list[object] = []
        kinds: dict[str, Callable[[], None]] = {
            HERE: here,
            SANDBOXED: sandboxed,
            "in a new interpreter": cold,
            "zygote, with judge, trial and replay": whole,
        }
        seconds: dict[str, list[float]] = {name: [] for name in kinds}
        for turn in range(rounds + 1):
            for name, run in kinds.items():
                if run is cold and (turn > 3 or not has_cold):
                    continue
                started = time.perf_counter()
                run()
                if turn:  # the first warms up
                    seconds[name].append(time.perf_counter() - started)
        assert zygote.path.exists()
    return {name: values for name, values in seconds.items() if values}


def _duplicated(task: Task) -> Task:
    """Return the task with descriptors of its own: whoever answers closes them."""
    sample = task.sample_descriptor or 0
    return msgspec.structs.replace(
        task, model_descriptor=os.dup(task.model_descriptor), sample_descriptor=os.dup(sample)
    )


def _files(folder: Path) -> tuple[Path, Path]:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({f"x{number}": random.normal(size=400) for number in range(8)})
    churned = np.where(rows["x0"] + rows["x1"] > 0, "yes", "no")
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, churned), folder / "model.joblib")
    rows.assign(churned=churned).to_csv(folder / "sample.csv", index=False)
    return folder / "model.joblib", folder / "sample.csv"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
