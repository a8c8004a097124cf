"""The second disposable process: judges one graph from its bytes alone, and writes what it found to a pipe.

Started by `process.compile_file` after the process that opened the trained file has ended. It never opens that file nor
imports a training library: what it reads is data, so what it says of the graph is not the word of the file's author.
"""

from __future__ import annotations

import os
import sys

import msgspec

from trivet.core.errors import TrivetError
from trivet.model.compile.limits import MEMORY_BYTES, limit
from trivet.model.compile.wire import Failure, Question, Verdict, write_framed
from trivet.model.sandbox.confinement import confine


def main() -> int:
    """Read the question from standard input, judge, answer; returns the exit code."""
    question = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Question)
    limit(question.seconds)
    with os.fdopen(int(sys.argv[1]), "wb", buffering=0) as pipe:
        write_framed(pipe, confine())
        write_framed(pipe, verdict_on(question))
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


if __name__ == "__main__":
    sys.exit(main())
