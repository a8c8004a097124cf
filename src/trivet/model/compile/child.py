"""The disposable process: opens one trained file, compiles it, writes one answer to a pipe and ends.

Started by `process.compile_file` with nothing but the descriptors it needs. It first limits and confines itself, then
says how far, then imports the training libraries, then opens the file. What it writes from there on is judged by its
parent as a stranger's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from trivet.model.compile.limits import MEMORY_BYTES, limit
from trivet.model.compile.wire import Answer, Failure, Success, Task, write_framed
from trivet.model.sandbox.confinement import Confinement, confine

TASK_LIMIT = 64 * 1024
WORST_ROWS_SENT = 20


def main() -> int:
    """Read the task from standard input, compile, answer; returns the exit code."""
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(TASK_LIMIT), type=Task)
    limit(task.seconds)
    reached = confine(writable=[Path.cwd()])
    with os.fdopen(int(sys.argv[1]), "wb", buffering=0) as pipe:
        write_framed(pipe, reached)
        write_framed(pipe, answer_to(task) if reached.level >= task.least_level else _too_weak(reached, task))
    return 0


def _too_weak(reached: Confinement, task: Task) -> Failure:
    lacking = "; ".join(f"{layer}: {reason}" for layer, reason in reached.missing.items()) or "nothing was tried"
    return Failure(
        f"the sandbox of this machine reaches level L{reached.level} ({lacking}), and a trained file is opened at"
        f" L{task.least_level} or above. Push from Linux 5.13 or newer; or, if you made this file yourself, with --vouch.",
        is_refused=True,
    )


def answer_to(task: Task) -> Answer:
    """Return the compiled bundle, or why there is none. Imports the training libraries on the way."""
    import pandas as pd

    from trivet.core.errors import ParityFailed, TrivetError, did_you_mean, quoted
    from trivet.model.compile.compiler import compile_model
    from trivet.model.compile.opening import open_file

    try:
        sample, labels = None, None
        if task.sample_descriptor is not None:
            with os.fdopen(task.sample_descriptor, "rb") as file:
                sample = pd.read_csv(file, low_memory=False, float_precision="round_trip")
            if task.label_column is not None:
                if task.label_column not in sample.columns:
                    hint = did_you_mean(task.label_column, [str(column) for column in sample.columns])
                    return Failure(f"the sample has no column {quoted(task.label_column)}.{hint}")
                labels = sample.pop(task.label_column)
        with os.fdopen(task.model_descriptor, "rb") as file:
            opened = open_file(file)
        source: dict[str, object] = {"sha256": task.sha256}
        if opened.saved_with is not None:
            source["trained_with"] = {"scikit-learn": opened.saved_with}
        done = compile_model(opened.model, sample=sample, labels=labels, tolerance=task.tolerance, source=source)
    except ParityFailed as error:
        return Failure(error.message, is_parity=True, worst=list(error.worst)[:WORST_ROWS_SENT])
    except TrivetError as error:
        return Failure(error.message)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        return Failure(f"the sample is no CSV: {error}")
    except MemoryError:
        return Failure(f"compiling took more than {MEMORY_BYTES // 1024**3} GiB of memory.")
    return Success(
        manifest=done.bundle.manifest_bytes,
        files=dict(done.bundle.files),
        compiled_microseconds=done.speed.compiled,
        native_microseconds=done.speed.native,
    )


if __name__ == "__main__":
    sys.exit(main())
