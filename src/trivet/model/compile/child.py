"""The disposable process: opens one trained file, compiles it or saves it to run unchanged, answers on a pipe and ends.

Started by `process.compile_file` with nothing but the descriptors it needs. It first limits and confines itself, then
says how far, then imports the training libraries, then opens the file. What it writes from there on is judged by its
parent as a stranger's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from trivet.model.compile.limits import MEMORY_BYTES, limit
from trivet.model.compile.wire import Answer, Failure, Success, Task, write_framed
from trivet.model.sandbox.confinement import Confinement, confine

if TYPE_CHECKING:
    from trivet.model.compile.opening import Opened
    from trivet.model.compile.preparing import Compiled

TASK_LIMIT = 1024**2
WORST_ROWS_SENT = 20
MOST_WORDS = 1_000  # characters of a reason that the manifest keeps
DISAGREE = "The file and the requirements do not agree: give requirements that name the versions it was trained with."
IN_ITS_OWN = "it was pushed with requirements of its own, and runs in their environment."
SLOWER = "compiled, it answers a row later than the original does in a model worker."  # no figure reaches a manifest


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
    from trivet.core.errors import ParityFailed, TrivetError
    from trivet.model.compile.doors.pickles import AnotherVersion
    from trivet.model.compile.opening import open_file
    from trivet.model.compile.saving import UnlistedTypes

    try:
        sample, labels = _sample(task)
        with os.fdopen(task.model_descriptor, "rb") as file:
            opened = open_file(file)
        if sample is None:
            sample, labels = _own_sample(opened, task.label_column)
        source = origin_of(opened, task.sha256)
        if task.requirements:
            return _unchanged(task, opened, sample, labels, source)
        if opened.given_graph is not None:
            from trivet.model.compile.given_graph import bundle_given_graph

            return _success(
                bundle_given_graph(
                    opened.given_graph,
                    sample=sample,
                    labels=labels,
                    parcel=opened.parcel,
                    tolerance=task.tolerance,
                    source=source,
                    uncounted=task.uncounted,
                )
            )
        is_synthetic = opened.is_synthetic and sample is opened.sample
        return _compiled_or_native(task, opened, sample, labels, source, is_synthetic=is_synthetic)
    except ParityFailed as error:
        return Failure(error.message, is_parity=True, worst=list(error.worst)[:WORST_ROWS_SENT])
    except UnlistedTypes as error:
        return Failure(error.message, types=list(error.types))
    except AnotherVersion as error:
        return Failure(f"{error.fact} {DISAGREE}" if task.requirements else error.message)
    except TrivetError as error:
        return Failure(error.message)
    except MemoryError:
        return Failure(f"compiling took more than {MEMORY_BYTES // 1024**3} GiB of memory.")


def _unchanged(task: Task, opened: Opened, sample: Any, labels: Any, source: dict[str, object]) -> Success:
    """Return the object as it is, to run in the environment that it was opened in; nothing here can compile it."""
    from trivet.core.errors import CompileError
    from trivet.model.compile.native import native_bundle

    if opened.given_graph is not None:
        raise CompileError("it is an ONNX graph, which needs no environment of its own: push it without requirements.")
    if (other := _other_library(opened)) is not None:
        raise CompileError(
            f"it was trained with scikit-learn {other.trained}, and in its environment is {other.here}. {DISAGREE}"
        )
    done = native_bundle(
        opened.model,
        why=IN_ITS_OWN,
        rejected="environment",
        sample=sample,
        labels=labels,
        tolerance=task.tolerance,
        source=source,
        accepted_types=task.accepted_types,
        is_synthetic=opened.is_synthetic and sample is opened.sample,
        requirements=task.requirements,
        uncounted=task.uncounted,
    )
    return _success(done)


def _compiled_or_native(
    task: Task, opened: Opened, sample: Any, labels: Any, source: dict[str, object], *, is_synthetic: bool = False
) -> Success:
    """Return a graph that was proved equal; else the object itself, with the reason; raises why neither can be had."""
    model = opened.model
    from trivet.core.errors import CompileError, ParityFailed, SlowerCompiled
    from trivet.model.compile.compiler import compile_model
    from trivet.model.compile.native import native_bundle

    worst: list[dict[str, Any]] = []
    try:
        done = compile_model(
            model,
            sample=sample,
            labels=labels,
            tolerance=task.tolerance,
            source=source,
            is_synthetic=is_synthetic,
            uncounted=task.uncounted,
        )
    except CompileError as error:
        gate, why = "conversion", error.message[:MOST_WORDS]
        if isinstance(error, ParityFailed):
            gate, worst = "parity", list(error.worst)[:WORST_ROWS_SENT]
        elif isinstance(error, SlowerCompiled):
            gate, why = "speed", SLOWER
        try:
            _check_library(opened)
            done = native_bundle(
                model,
                why=why,
                rejected=gate,
                sample=sample,
                labels=labels,
                tolerance=task.tolerance,
                source=source,
                accepted_types=task.accepted_types,
                is_synthetic=is_synthetic,
                uncounted=task.uncounted,
            )
        except CompileError as other:
            if isinstance(error, SlowerCompiled):
                done = error.compiled  # slower, and right
            elif other.message == error.message:  # what is said of the object itself, not of a graph
                raise
            else:
                other.message = f"{why} Nor can it run unchanged: {other.message}"
                if worst:
                    raise ParityFailed(other.message, worst) from other
                raise
    return _success(done, worst)


def _check_library(opened: Opened) -> None:
    """Raise `CompileError` where another scikit-learn than this one trained it: unchanged means in that one."""
    from trivet.core.errors import CompileError

    if (other := _other_library(opened)) is not None:
        raise CompileError(
            f"it was trained with scikit-learn {other.trained}, and here is {other.here}. Push it with --requirements that name"
            f" {other.trained}: it then runs in an environment of its own, which `trivet environments make` makes."
        )


class _Other(NamedTuple):
    """The version of scikit-learn that trained a model, and the one that is here."""

    trained: str
    here: str


def _other_library(opened: Opened) -> _Other | None:
    """Return both versions where another minor one of scikit-learn trained it than is here."""
    from trivet.model.runtimes.native.base import installed, minor

    here, trained = installed("scikit-learn") or "", opened.saved_with
    return _Other(trained, here) if trained is not None and minor(trained) != minor(here) else None


def _success(done: Compiled, worst: Sequence[dict[str, Any]] = ()) -> Success:
    return Success(
        manifest=done.bundle.manifest_bytes,
        files=dict(done.bundle.files),
        compiled_microseconds=done.speed.compiled,
        native_microseconds=done.speed.native,
        worst=list(worst),
    )


def _sample(task: Task) -> tuple[Any, Any]:
    """Return the rows of the sample without its labels, and these; None for what was not given."""
    import pandas as pd

    from trivet.core.errors import CompileError, did_you_mean, quoted

    if task.sample_descriptor is None:
        return None, None
    try:
        with os.fdopen(task.sample_descriptor, "rb") as file:
            sample = pd.read_csv(file, low_memory=False, float_precision="round_trip")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise CompileError(f"the sample is no CSV: {error}") from None
    if task.label_column is None:
        return sample, None
    if task.label_column not in sample.columns:
        hint = did_you_mean(task.label_column, [str(column) for column in sample.columns])
        raise CompileError(f"the sample has no column {quoted(task.label_column)}.{hint}")
    labels = sample.pop(task.label_column)
    return sample, labels


def _own_sample(opened: Opened, label_column: str | None) -> tuple[Any, Any]:
    """Return the sample and the labels that came with the file; `label_column` is taken out of a table that has it."""
    import pandas as pd

    from trivet.core.errors import CompileError, quoted

    sample = opened.sample
    if label_column is None:
        return sample, opened.labels
    if sample is None or opened.is_synthetic:
        raise CompileError(
            f"there is no sample to take the column {quoted(label_column)} from: give one with --sample, or leave --labels out."
        )
    if not isinstance(sample, pd.DataFrame) or label_column not in sample.columns:
        return sample, opened.labels  # it is of inputs alone
    return sample.drop(columns=label_column), sample[label_column]


def origin_of(opened: Opened, sha256: str) -> dict[str, object]:
    """Return what the manifest says of the file besides the object in it."""
    source: dict[str, object] = {"sha256": sha256, "format": opened.kind}
    trained_with = dict(opened.trained_with)
    if opened.saved_with is not None:
        trained_with["scikit-learn"] = opened.saved_with
    if trained_with:
        source["trained_with"] = trained_with
    if opened.asked_for:
        source["globals"] = list(opened.asked_for)  # a remark, never a boundary
    return source


if __name__ == "__main__":
    sys.exit(main())
