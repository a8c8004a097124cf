"""Compiles a trained file in a disposable process, and judges what comes out as if a stranger had made it.

Opening a pickle runs what its author wrote. This process never does that, and never imports a training library: a
child does both, with an empty environment, no inherited descriptors, bounded memory, time and output, in its own
session, killed at the deadline; and confined (`model.sandbox`): it reads libraries and the file, writes into a folder that
is removed, starts no program and reaches no network. Where the kernel offers too little for that (level L1), nothing is
opened unless somebody vouches for the file: then it may read what the user may read, and use the network.

What the child returns is its author's word. A second disposable process (`judge`), which never sees the trained file,
checks the graph itself; only then is the graph run here, over the recorded sample. An object that was not compiled is never
loaded here: the judge, confined as the child was, loads it and replays the sample. A reference is data, and checked here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, BinaryIO

import msgspec
import numpy as np

from trivet.core.errors import BundleError, CompileError, ParityFailed, Refused
from trivet.core.profile.checking import check_reference
from trivet.core.profile.reference import REFERENCE_NAME, Reference, decode_reference
from trivet.model.bundle.bundle import Bundle, verify_bundle
from trivet.model.bundle.libraries import REQUIREMENTS_NAME
from trivet.model.bundle.loss import (
    LOSS_INPUT,
    LOSS_NAME,
    LOSS_OPERATORS,
    LOSS_OUTPUTS,
    MOST_LOSS_BYTES,
    MOST_LOSS_NODES,
    loss_signature,
)
from trivet.model.bundle.manifest import MANIFEST_NAME
from trivet.model.bundle.sample import SAMPLE_NAME, SAMPLE_ROWS, decode_sample, encode_sample
from trivet.model.compile.directory import packed
from trivet.model.compile.disposable import Deadline, answer_of
from trivet.model.compile.report import DEFAULT_TOLERANCE, ParityReport, Speed
from trivet.model.compile.wire import (
    Answer,
    Failure,
    GraphFacts,
    NativeFacts,
    NativeQuestion,
    Question,
    Success,
    Task,
    decode_answer,
    decode_verdict,
    most_answer_bytes,
)
from trivet.model.environments.environment import Own, needs_of
from trivet.model.runtimes.loss import ROWS_AT_ONCE
from trivet.model.runtimes.onnx import MODEL_FILE, OnnxRuntime
from trivet.model.sandbox.confinement import Confinement

DEFAULT_SECONDS = 120.0
MOST_INPUT_BYTES = 1024**3
READ_BYTES = 1024**2
LEVEL_OF_STRANGERS, LEVEL_OF_VOUCHED = 2, 1
CHILD = "trivet.model.compile.child"
JUDGE = "trivet.model.compile.judge"
COMPILER, JUDGING = "the compiling process", "the process that judges the model"  # as messages call them
MODEL_FILES: dict[str, frozenset[str]] = {  # of each runtime that compiling may end in: never another's
    OnnxRuntime.name: frozenset({MODEL_FILE}),
    "skops": frozenset({"model.skops"}),
    "xgboost": frozenset({"model.ubj", "model.json"}),
    "lightgbm": frozenset({"model.txt"}),
    "catboost": frozenset({"model.cbm"}),
}
REPLAY_TOLERANCE = 1e-6  # the same graph, the same runtime, another process


@dataclass(frozen=True)
class CompiledFile:
    """What a file became: a verified bundle, compiled or native; the report of its gate; what a row costs.

    `worst` holds the worst rows of a graph that failed the parity gate, where the object runs unchanged instead.
    """

    bundle: Bundle
    parity: ParityReport
    speed: Speed
    confinement: Confinement
    worst: tuple[dict[str, Any], ...] = ()

    @property
    def is_native(self) -> bool:
        """True for an object that runs unchanged; `why` says why it was not compiled."""
        return self.bundle.manifest.native is not None

    @property
    def why(self) -> str:
        """Why it was not compiled; empty where it was."""
        return str(self.bundle.manifest.compile.get("why", ""))

    @property
    def keeps(self) -> tuple[str, ...]:
        """What it takes along of its training, by the word of whoever made it: rows, or words."""
        kept = self.bundle.manifest.compile.get("keeps")
        return tuple(map(str, kept)) if isinstance(kept, list) else ()

    @cached_property
    def reference(self) -> Reference | None:
        """The counts of its sample that traffic is compared with; None where none came along."""
        data = self.bundle.files.get(REFERENCE_NAME)
        return decode_reference(data) if data is not None else None

    @property
    def accepted_types(self) -> tuple[str, ...]:
        """The types on no list that it holds, because a person accepted them."""
        return self.bundle.manifest.native.accepted_types if self.bundle.manifest.native is not None else ()


def compile_file(
    path: Path,
    *,
    sample: Path | None = None,
    label_column: str | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    timeout: float = DEFAULT_SECONDS,
    is_vouched_for: bool = False,
    accepted_types: Collection[str] = (),
    uncounted: Collection[str] = (),
    own: Own | None = None,
) -> CompiledFile:
    """Compile the trained file at `path` in a disposable, confined process; takes some seconds and one core.

    What it is, its content says: joblib, pickle, skops, ONNX, a booster's own format, a model directory of MLflow.

    What does not compile, or would answer otherwise, becomes a bundle of a native runtime, and the reason is kept.

    `sample` is a CSV file with rows like those of the training, best in the order of time, `label_column` the one of its
    columns that is not an input. All of it goes along as counts, the reference, but for inputs `uncounted`. `timeout` is
    in seconds, for everything. With `is_vouched_for` a sandbox of level L1 is enough: for files that the person who asks
    made. `accepted_types` are names of types on no list that a native bundle may hold.

    With an environment of its `own` it is opened and proved there, and runs unchanged in one like it. Blocks; thread-safe.
    Raises `CompileError` with what to do, `ParityFailed` with the worst rows, and `Refused` where the sandbox is too weak:
    then the file was not opened.
    """
    deadline = Deadline.after(timeout)
    with contextlib.ExitStack() as stack:
        model_file = stack.enter_context(packed(path) if path.is_dir() else _opened(path, "the trained file"))
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
            accepted_types=tuple(sorted(set(accepted_types))),
            uncounted=tuple(sorted(set(uncounted))),
            requirements=own.needs.requirements if own is not None else b"",
        )
        answer, confinement = _compiled(task, deadline, own)
    if isinstance(answer, Failure):
        if answer.is_refused and confinement.level < task.least_level:
            raise Refused(answer.message)
        raise ParityFailed(answer.message, answer.worst) if answer.is_parity else CompileError(answer.message)
    return _judged(answer, task, deadline, confinement, own)


def _compiled(task: Task, deadline: Deadline, own: Own | None) -> tuple[Answer, Confinement]:
    descriptors = [d for d in (task.model_descriptor, task.sample_descriptor) if d is not None]
    answered = answer_of(
        CHILD,
        msgspec.msgpack.encode(task),
        deadline,
        called=COMPILER,
        descriptors=descriptors,
        most_bytes=most_answer_bytes(sum(os.fstat(descriptor).st_size for descriptor in descriptors)),
        environment=own.environment if own is not None else None,
    )
    try:
        return decode_answer(answered.body), answered.confinement
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CompileError(f"{COMPILER} wrote something that is no answer.") from None


def _judged(answer: Success, task: Task, deadline: Deadline, confinement: Confinement, own: Own | None) -> CompiledFile:
    """Return what came out after checking all of it: digests, sizes, the model file, then its own answers to the sample."""
    try:
        bundle = verify_bundle(
            answer.manifest, {MANIFEST_NAME, *answer.files}, lambda entry: answer.files.get(entry.path, b"")
        )
        _check_kind(bundle)
        if needs_of(bundle) != (own.needs if own is not None else None):
            raise CompileError(f"{COMPILER} returned a bundle for another environment than the one it ran in.")
        if bundle.manifest.source.get("sha256") != task.sha256:
            raise CompileError(f"{COMPILER} returned a bundle of another file.")
        report = _report(bundle)
        if bundle.manifest.native is None:
            _check_graph_elsewhere(bundle, deadline)
            _replay(bundle)
        else:
            _check_native_elsewhere(bundle, task, deadline, own)
        if REFERENCE_NAME in bundle.files:  # its widths are those of a model that runs
            check_reference(bundle.files[REFERENCE_NAME], bundle.signature, task.uncounted)
        _check_loss_elsewhere(bundle, deadline)
    except (BundleError, msgspec.ValidationError) as error:
        raise CompileError(f"what {COMPILER} returned is no sound bundle: {error}") from error
    speed = Speed(answer.compiled_microseconds, answer.native_microseconds)
    return CompiledFile(bundle, report, speed, confinement, tuple(answer.worst))


def _check_kind(bundle: Bundle) -> None:
    """Raise `CompileError` unless the bundle is a graph for ONNX Runtime, or an object in a file of its native runtime."""
    manifest = bundle.manifest
    if manifest.runtime not in MODEL_FILES or (manifest.runtime == OnnxRuntime.name) is (manifest.native is not None):
        raise CompileError(f"{COMPILER} returned a bundle for {manifest.runtime!r}.")
    files = set(bundle.files) - {SAMPLE_NAME, REQUIREMENTS_NAME, REFERENCE_NAME, LOSS_NAME}
    if SAMPLE_NAME not in bundle.files or len(files) != 1 or not files <= MODEL_FILES[manifest.runtime]:
        raise CompileError(f"{COMPILER} returned other files than a compiled model has.")


def _check_native_elsewhere(bundle: Bundle, task: Task, deadline: Deadline, own: Own | None) -> None:
    """Have a process that never saw the trained file load the object and replay the sample; nothing of it is loaded here."""
    manifest = bundle.manifest
    stated = manifest.compile
    if stated.get("state") != "native" or stated.get("may_run_inline") is not False or not stated.get("why"):
        raise BundleError("its manifest does not say that, and why, it runs unchanged.")
    if manifest.native is None or not set(manifest.native.accepted_types) <= set(task.accepted_types):
        raise BundleError("its manifest accepts types that nobody accepted.")
    _check_sample_size(bundle, len(bundle.files[SAMPLE_NAME].splitlines()))
    question = NativeQuestion(bundle.manifest_bytes, dict(bundle.files), deadline.whole_seconds_left)
    verdict = _verdict(question, deadline, own)
    if not isinstance(verdict, NativeFacts) or verdict.rows != manifest.sample_rows:
        raise BundleError("the process that judges it replayed another sample.")


def _verdict(
    question: Question | NativeQuestion, deadline: Deadline, own: Own | None = None
) -> GraphFacts | NativeFacts:
    """Return what the judge found, in an environment of its `own`; raises `BundleError` with why it refuses."""
    environment = own.environment if own is not None else None
    answered = answer_of(JUDGE, msgspec.msgpack.encode(question), deadline, called=JUDGING, environment=environment)
    try:
        verdict = decode_verdict(answered.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CompileError(f"{JUDGING} wrote something that is no verdict.") from None
    if isinstance(verdict, Failure):
        raise BundleError(verdict.message)
    return verdict


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
    verdict = _verdict(question, deadline)
    if not isinstance(verdict, GraphFacts):
        raise BundleError("the process that judges it looked at no graph.")
    stated = manifest.compile
    if stated.get("may_run_inline") is not verdict.may_run_inline:
        raise BundleError(f"its manifest says may_run_inline={stated.get('may_run_inline')!r}, which its graph belies.")
    if stated.get("operators") != list(verdict.operators):
        raise BundleError("its manifest names other operators than its graph has.")


def _check_loss_elsewhere(bundle: Bundle, deadline: Deadline) -> None:
    """Raise `BundleError` unless there is a loss model exactly where the reference says so, of boosted trees and no more.

    It runs in the process that ships the log: a process that never saw the trained file tries it on as many rows as that asks
    it at once.
    """
    data = bundle.files.get(REFERENCE_NAME)
    reference = decode_reference(data) if data is not None else None
    graph = bundle.files.get(LOSS_NAME)
    if (graph is None) is not (reference is None or reference.loss is None):
        raise BundleError(f"its reference and {LOSS_NAME} disagree on whether errors are expected.")
    if graph is None or reference is None:
        return
    if len(graph) > MOST_LOSS_BYTES:
        raise BundleError(f"{LOSS_NAME} has {len(graph)} bytes; at most {MOST_LOSS_BYTES} are taken.")
    signature = loss_signature(len(reference.features))
    asked = {LOSS_INPUT: np.zeros((ROWS_AT_ONCE, len(reference.features) + 1))}
    rows = encode_sample(signature, asked, dict.fromkeys(LOSS_OUTPUTS, np.zeros(ROWS_AT_ONCE)))
    verdict = _verdict(Question(graph, signature, (), deadline.whole_seconds_left, rows), deadline)
    is_of_trees = isinstance(verdict, GraphFacts) and LOSS_OPERATORS.issuperset(verdict.operators)
    if not is_of_trees or verdict.nodes > MOST_LOSS_NODES or not verdict.may_run_inline:  # type: ignore[union-attr]
        raise BundleError(f"{LOSS_NAME} is not a graph of boosted trees.")


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
    _check_sample_size(bundle, len(next(iter(inputs.values()))))
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


def _check_sample_size(bundle: Bundle, rows: int) -> None:
    if not 0 < rows <= SAMPLE_ROWS or rows != bundle.manifest.sample_rows:
        raise BundleError(f"{SAMPLE_NAME} has {rows} rows, the manifest says {bundle.manifest.sample_rows}.")


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


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := file.read(READ_BYTES):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()
