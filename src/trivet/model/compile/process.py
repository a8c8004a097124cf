"""Compiles a trained file in a disposable process, and judges what comes out as if a stranger had made it.

Opening a pickle runs what its author wrote. This process never does that, and never imports a training library: a
child does both, with an empty environment, no inherited descriptors, bounded memory, time and output, in its own
session, killed at the deadline; and confined (`model.sandbox`): it reads libraries and the file, writes into a folder that
is removed, starts no program and reaches no network. Where the kernel offers too little for that (level L1), nothing is
opened unless somebody vouches for the file: then it may read what the user may read, and use the network.

What the child returns is its author's word. A second disposable process (`judge`), which never sees the trained file,
checks the graph itself; only then is the graph run here, over the recorded sample.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from trivet.core.errors import BundleError, CompileError, ParityFailed, Refused
from trivet.model.bundle.bundle import Bundle, verify_bundle
from trivet.model.bundle.manifest import MANIFEST_NAME
from trivet.model.bundle.sample import SAMPLE_NAME, SAMPLE_ROWS, decode_sample
from trivet.model.compile.disposable import Deadline, answer_of
from trivet.model.compile.report import DEFAULT_TOLERANCE, ParityReport, Speed
from trivet.model.compile.wire import Answer, Failure, Question, Success, Task, decode_answer, decode_verdict
from trivet.model.runtimes.onnx import MODEL_FILE, OnnxRuntime
from trivet.model.sandbox.confinement import Confinement

DEFAULT_SECONDS = 120.0
MOST_INPUT_BYTES = 1024**3
READ_BYTES = 1024**2
LEVEL_OF_STRANGERS, LEVEL_OF_VOUCHED = 2, 1
CHILD = "trivet.model.compile.child"
JUDGE = "trivet.model.compile.judge"
COMPILER = "the compiling process"  # as messages call it
REPLAY_TOLERANCE = 1e-6  # the same graph, the same runtime, another process


@dataclass(frozen=True)
class CompiledFile:
    """What a file became: a verified bundle, the report of the parity gate, and what a row costs."""

    bundle: Bundle
    parity: ParityReport
    speed: Speed
    confinement: Confinement


def compile_file(
    path: Path,
    *,
    sample: Path | None = None,
    label_column: str | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    timeout: float = DEFAULT_SECONDS,
    is_vouched_for: bool = False,
) -> CompiledFile:
    """Compile the joblib or pickle file at `path` in a disposable, confined process; takes some seconds and one core.

    `sample` is a CSV file with rows like those of the training, `label_column` the one of its columns that is not an
    input. `timeout` is in seconds, for everything. With `is_vouched_for` a sandbox of level L1 is enough: for files that
    the person who asks made. Blocks; thread-safe. Raises `CompileError` with what to do, `ParityFailed` with the worst
    rows, and `Refused` where the sandbox is too weak: then the file was not opened.
    """
    deadline = Deadline.after(timeout)
    with contextlib.ExitStack() as stack:
        model_file = stack.enter_context(_opened(path, "the trained file"))
        sample_file = stack.enter_context(_opened(sample, "the sample")) if sample is not None else None
        sha256 = _sha256(model_file)
        task = Task(
            model_descriptor=model_file.fileno(),
            sample_descriptor=sample_file.fileno() if sample_file is not None else None,
            label_column=label_column,
            tolerance=tolerance,
            sha256=sha256,
            seconds=deadline.whole_seconds_left,
            least_level=LEVEL_OF_VOUCHED if is_vouched_for else LEVEL_OF_STRANGERS,
        )
        answer, confinement = _compiled(task, deadline)
    if isinstance(answer, Failure):
        if answer.is_refused and confinement.level < task.least_level:
            raise Refused(answer.message)
        raise ParityFailed(answer.message, answer.worst) if answer.is_parity else CompileError(answer.message)
    return _judged(answer, sha256, deadline, confinement)


def _compiled(task: Task, deadline: Deadline) -> tuple[Answer, Confinement]:
    descriptors = [d for d in (task.model_descriptor, task.sample_descriptor) if d is not None]
    answered = answer_of(CHILD, msgspec.msgpack.encode(task), deadline, called=COMPILER, descriptors=descriptors)
    try:
        return decode_answer(answered.body), answered.confinement
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CompileError(f"{COMPILER} wrote something that is no answer.") from None


def _judged(answer: Success, sha256: str, deadline: Deadline, confinement: Confinement) -> CompiledFile:
    """Return what came out after checking all of it: digests, sizes, the graph, then its own answers to the sample."""
    if set(answer.files) != {MODEL_FILE, SAMPLE_NAME}:
        raise CompileError("the compiling process returned other files than a compiled model has.")
    try:
        bundle = verify_bundle(
            answer.manifest, {MANIFEST_NAME, *answer.files}, lambda entry: answer.files.get(entry.path, b"")
        )
        if bundle.manifest.runtime != OnnxRuntime.name:
            raise CompileError(f"the compiling process returned a bundle for {bundle.manifest.runtime!r}.")
        if bundle.manifest.source.get("sha256") != sha256:
            raise CompileError("the compiling process returned a bundle of another file.")
        report = _report(bundle)
        _check_graph_elsewhere(bundle, deadline)
        _replay(bundle)
    except (BundleError, msgspec.ValidationError) as error:
        raise CompileError(f"what the compiling process returned is no sound bundle: {error}") from error
    return CompiledFile(bundle, report, Speed(answer.compiled_microseconds, answer.native_microseconds), confinement)


def _check_graph_elsewhere(bundle: Bundle, deadline: Deadline) -> None:
    """Have a process that never saw the trained file check the graph; refuse it, and a manifest that says otherwise.

    Before this, nothing here has opened the graph. `may_run_inline` decides where a version runs, so it is never taken
    from whoever made the graph.
    """
    manifest = bundle.manifest
    question = Question(
        bundle.files[MODEL_FILE],
        manifest.signature,
        manifest.packs,
        deadline.whole_seconds_left,
        bundle.files[SAMPLE_NAME],
    )
    body = answer_of(JUDGE, msgspec.msgpack.encode(question), deadline, called="the process that judges the graph").body
    try:
        verdict = decode_verdict(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CompileError("the process that judges the graph wrote something that is no verdict.") from None
    if isinstance(verdict, Failure):
        raise BundleError(verdict.message)
    stated = manifest.compile
    if stated.get("may_run_inline") is not verdict.may_run_inline:
        raise BundleError(f"its manifest says may_run_inline={stated.get('may_run_inline')!r}, which its graph belies.")
    if stated.get("operators") != list(verdict.operators):
        raise BundleError("its manifest names other operators than its graph has.")


def _report(bundle: Bundle) -> ParityReport:
    stated = msgspec.convert(bundle.manifest.parity, _StatedParity)
    return ParityReport(
        rows=stated.rows,
        by_kind=stated.by_kind,
        synthetic=stated.synthetic,
        largest=stated.max,
        p999=stated.p999,
        labels_differ=stated.labels_differ,
        ties=stated.ties,
        failed_rows=0,
        tolerance=stated.tolerance,
        refused_rows=stated.refused_rows,
        cut_rows=stated.cut_rows,
    )


class _StatedParity(msgspec.Struct):
    rows: int
    by_kind: dict[str, int]
    synthetic: bool
    max: float
    p999: float
    labels_differ: int
    ties: int
    tolerance: float
    refused_rows: int
    cut_rows: int


def _replay(bundle: Bundle) -> None:
    """Run the graph here over the sample rows; raise `BundleError` when it answers otherwise than the bundle says."""
    inputs, expected = decode_sample(bundle.signature, bundle.files[SAMPLE_NAME])
    rows = len(next(iter(inputs.values())))
    if not 0 < rows <= SAMPLE_ROWS or rows != bundle.manifest.sample_rows:
        raise BundleError(f"{SAMPLE_NAME} has {rows} rows, the manifest says {bundle.manifest.sample_rows}.")
    names = [output.name for output in bundle.signature.outputs]
    try:
        answers = OnnxRuntime.load(bundle).run(bundle.feed(inputs), names)
    except BundleError:
        raise
    except Exception as error:
        raise BundleError(f"the graph cannot answer its own sample: {error}") from error
    for name, answer in zip(names, answers, strict=True):
        if not _same(answer, expected[name]):
            raise BundleError(f"the graph answers its own sample otherwise than recorded ({name}).")


def _same(answer: np.ndarray, expected: np.ndarray) -> bool:
    if answer.shape != expected.shape:
        return False
    if expected.dtype == object:
        return bool((answer == expected).all())
    return bool(np.allclose(answer, expected, rtol=REPLAY_TOLERANCE, atol=REPLAY_TOLERANCE, equal_nan=True))


def _opened(path: Path, what: str) -> BinaryIO:
    try:
        file = path.open("rb")
    except OSError as error:
        raise CompileError(f"{what} {path.name!r} cannot be read: {error.strerror}.") from None
    if os.fstat(file.fileno()).st_size > MOST_INPUT_BYTES:
        file.close()
        raise CompileError(f"{what} {path.name!r} is larger than {MOST_INPUT_BYTES} bytes.")
    return file


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(READ_BYTES):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()
