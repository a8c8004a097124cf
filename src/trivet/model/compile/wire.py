"""What disposable processes are asked and send back, each message with its length in front.

The first message back says how far the process is confined; it is written before anything of a stranger's is opened. The
second is the answer, read as if a stranger had written it.
"""

from __future__ import annotations

from typing import IO, Any

import msgspec

from trivet.core.signature import Signature
from trivet.model.bundle.packing import Pack
from trivet.model.sandbox.confinement import Confinement

LENGTH_BYTES = 8
MOST_CONFINEMENT_BYTES = 4096
MOST_WORDS_BYTES = 16 * 1024**2  # of an answer that holds no model
MOST_ANSWER_BYTES = 512 * 1024**2
# Chosen: a small hostile file costs whoever reads the answer little, and no model grows as much by being compiled.
ANSWER_BYTES, ANSWER_TIMES = 32 * 1024**2, 16


def most_answer_bytes(given_bytes: int) -> int:
    """Return how large a bundle may be that was made of files of `given_bytes` together."""
    return min(MOST_ANSWER_BYTES, ANSWER_BYTES + ANSWER_TIMES * given_bytes)


class Task(msgspec.Struct, frozen=True):
    """What the child is asked: over which descriptors it reads, and how to compile."""

    model_descriptor: int
    sample_descriptor: int | None
    label_column: str | None
    tolerance: float
    sha256: str
    seconds: int
    least_level: int  # of the sandbox; below it, nothing is opened
    accepted_types: tuple[str, ...] = ()  # on no list, but a person knows what they do
    uncounted: tuple[str, ...] = ()  # inputs and columns that are in no reference
    requirements: bytes = b""  # of the environment that this process runs in: then the object stays as it is


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """Why there is no bundle. `worst` holds the worst rows of a failed parity gate."""

    message: str
    is_parity: bool = False
    is_refused: bool = False  # the file was not opened
    worst: list[dict[str, Any]] = []
    types: list[str] = []  # on no list: a person may accept them


class Success(msgspec.Struct, frozen=True, tag="success"):
    """A bundle's manifest and files, and what the gates measured; `worst` rows of a graph that was not taken."""

    manifest: bytes
    files: dict[str, bytes]
    compiled_microseconds: float
    native_microseconds: float
    worst: list[dict[str, Any]] = []


class Question(msgspec.Struct, frozen=True, tag="graph"):
    """What the judge is asked: whether these bytes are a graph that may be served, and fit what is said of them."""

    graph: bytes
    signature: Signature
    packs: tuple[Pack, ...]
    seconds: int
    sample: bytes = b""  # rows that the graph is to answer within bounds


class NativeQuestion(msgspec.Struct, frozen=True, tag="native"):
    """What the judge is asked: whether this bundle of a native runtime loads, and answers its sample as it says."""

    manifest: bytes
    files: dict[str, bytes]
    seconds: int


class GraphFacts(msgspec.Struct, frozen=True, tag="facts"):
    """What the checks found. `may_run_inline` is False for control flow and for operators not on the allow-list."""

    bytes: int
    nodes: int
    operators: tuple[str, ...]
    nesting: int
    may_run_inline: bool


class NativeFacts(msgspec.Struct, frozen=True, tag="replayed"):
    """What replaying the sample of a native bundle found."""

    rows: int
    largest: float


Answer = Success | Failure
Verdict = GraphFacts | NativeFacts | Failure


def encode_framed(answer: msgspec.Struct | Confinement) -> bytes:
    """Return `answer` with its length in front."""
    body = msgspec.msgpack.encode(answer)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def write_framed(pipe: IO[bytes], message: msgspec.Struct | Confinement) -> None:
    """Write `message` with its length in front to an unbuffered pipe, all of it."""
    left = memoryview(encode_framed(message))
    while left:
        left = left[pipe.write(left) or 0 :]


def decode_confinement(body: bytes) -> Confinement:
    """Return what a process said of itself before it opened anything."""
    return msgspec.msgpack.decode(body, type=Confinement)


def decode_answer(body: bytes) -> Answer:
    """Return the answer in `body`; raises `msgspec.DecodeError` for anything else."""
    answer: Answer = msgspec.msgpack.decode(body, type=Success | Failure)
    return answer


def decode_verdict(body: bytes) -> Verdict:
    """Return the judge's verdict in `body`; raises `msgspec.DecodeError` for anything else."""
    verdict: Verdict = msgspec.msgpack.decode(body, type=GraphFacts | NativeFacts | Failure)
    return verdict
