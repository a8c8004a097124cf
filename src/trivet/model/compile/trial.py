"""The trial: a graph answers the rows that were recorded of it, in a process that may take so much memory and time.

What a graph allocates and how long it runs is in no field of it: a shape may be computed, a loop may not end. So it is run
once where that harms nobody, before anybody else runs it.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from trivet.core.errors import CompileError
from trivet.core.signature import Signature
from trivet.model.bundle.packing import Pack, pack_columns
from trivet.model.bundle.sample import decode_sample
from trivet.model.runtimes.onnx import open_session

STATM = Path("/proc/self/statm")  # proc(5): the first number is the address space, in pages
ROOM_BYTES = 512 * 1024**2  # chosen: a quarter of what a model worker has by default
COPIES = 4  # of the graph itself: as bytes, parsed, optimised, and folded constants
TRIAL_SECONDS = 30  # of processor time, for some tens of rows


def try_graph(graph: bytes, signature: Signature, packs: Sequence[Pack], sample: bytes) -> None:
    """Run `graph` over the rows of `sample`; raises `CompileError` where it needs too much memory, or cannot answer them.

    Bounds this process for good, so call it in a disposable one. A graph that does not end is ended by the kernel.
    """
    inputs, _ = decode_sample(signature, sample)
    room = ROOM_BYTES + COPIES * len(graph)
    _bound(room)
    try:
        open_session(graph).run([output.name for output in signature.outputs], pack_columns(packs, inputs))
    except Exception as error:  # its exceptions share no base class
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, MemoryError) or "alloc" in text.lower():
            raise CompileError(f"model.onnx needs more than {room // 1024**2} MiB to answer its sample.") from error
        raise CompileError(f"model.onnx cannot answer its sample: {text[:300]}") from error


def _bound(room: int) -> None:
    pages = int(STATM.read_text().split()[0]) if sys.platform == "linux" else 0
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + TRIAL_SECONDS
    for kind, value in (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + room),
        (resource.RLIMIT_CPU, seconds),
    ):
        soft, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (value if soft == resource.RLIM_INFINITY else min(soft, value), hard))
