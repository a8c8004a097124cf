"""The disposable process that lists a trained file: it confines itself, reads, writes what it found to a pipe, and ends.

It imports no training library and loads nothing. It is a process of its own because what it reads may be made to be
large, or slow to read.
"""

from __future__ import annotations

import os
import sys

import msgspec

from trivet.model.compile.limits import limit
from trivet.model.compile.listing import list_trained
from trivet.model.compile.wire import write_framed
from trivet.model.sandbox.confinement import confine

ORDER_LIMIT = 4 * 1024


class Order(msgspec.Struct, frozen=True):
    """What the process is asked: over which descriptor it reads, and how long it may take."""

    descriptor: int
    seconds: int


def main() -> int:
    """Read the order from standard input, list, answer; returns the exit code."""
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(ORDER_LIMIT), type=Order)
    limit(order.seconds)
    with os.fdopen(int(sys.argv[1]), "wb", buffering=0) as pipe, os.fdopen(order.descriptor, "rb") as file:
        write_framed(pipe, confine())
        write_framed(pipe, list_trained(file))
    return 0


if __name__ == "__main__":
    sys.exit(main())
