"""The second disposable process: judges a graph, or a native bundle, from its bytes alone; writes what it found to a pipe.

Started by `process.compile_file` after the process that opened the trained file has ended. It never opens that file: what
it reads is data, so what it says is not the word of the file's author. For a graph it imports no training library, either.
"""

from __future__ import annotations

import os
import sys

import msgspec

from trivet.core.errors import TrivetError
from trivet.model.compile.limits import MEMORY_BYTES, limit
from trivet.model.compile.wire import Failure, NativeFacts, NativeQuestion, Question, Verdict, write_framed
from trivet.model.sandbox.confinement import confine


def main() -> int:
    """Read the question from standard input, judge, answer; returns the exit code."""
    question = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Question | NativeQuestion)
    limit(question.seconds)
    with os.fdopen(int(sys.argv[1]), "wb", buffering=0) as pipe:
        write_framed(pipe, confine())
        write_framed(pipe, verdict_on(question) if isinstance(question, Question) else replayed(question))
    return 0


def verdict_on(question: Question) -> Verdict:
    """Return what is in the graph, or why it is refused. Imports onnx on the way."""
    from trivet.model.compile.checks import check_graph

    try:
        facts = check_graph(question.graph, question.signature, question.packs)
        if question.sample:
            from trivet.model.compile.trial import try_graph

            try_graph(question.graph, question.signature, question.packs, question.sample)
    except TrivetError as error:
        return Failure(error.message)
    except MemoryError:
        return Failure(f"judging model.onnx took more than {MEMORY_BYTES // 1024**3} GiB of memory.")
    return facts


def replayed(question: NativeQuestion) -> Verdict:
    """Return what the sample of a native bundle shows when it is replayed. Imports its libraries on the way."""
    from trivet.model.bundle.bundle import verify_bundle
    from trivet.model.bundle.manifest import MANIFEST_NAME
    from trivet.model.compile.report import EXACT
    from trivet.model.probe import replay
    from trivet.model.runtimes.base import runtime_class

    try:
        names = {MANIFEST_NAME, *question.files}
        bundle = verify_bundle(question.manifest, names, lambda entry: question.files.get(entry.path, b""))
        found = replay(runtime_class(bundle.manifest.runtime).load(bundle), bundle, tolerance=EXACT)
        return NativeFacts(found.rows, found.largest)
    except TrivetError as error:
        return Failure(error.message)
    except MemoryError:
        return Failure(f"replaying its sample took more than {MEMORY_BYTES // 1024**3} GiB of memory.")
    except Exception as error:  # noqa: BLE001  (whatever an object raises, it cannot answer)
        return Failure(f"it cannot answer its own sample: {error or type(error).__name__}")


if __name__ == "__main__":
    sys.exit(main())
