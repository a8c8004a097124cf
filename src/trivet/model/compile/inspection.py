"""Inspect: what is in a trained file, listed in a disposable process that loads nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec

from trivet.core.errors import CompileError
from trivet.model.compile.directory import packed
from trivet.model.compile.disposable import Deadline, answer_of
from trivet.model.compile.lister import Order
from trivet.model.compile.listing import Listing

LISTER = "trivet.model.compile.lister"
DEFAULT_SECONDS = 30.0


def list_file(path: Path, *, timeout: float = DEFAULT_SECONDS) -> Listing:
    """Return what is in the file, or the model directory, at `path` without loading it; takes half a second, and reads all.

    Blocks; thread-safe. Raises `CompileError` where it cannot be read, or takes longer than `timeout` seconds.
    """
    deadline = Deadline.after(timeout)
    try:
        file = packed(path) if path.is_dir() else path.open("rb")
    except OSError as error:
        raise CompileError(f"the trained file {path.name!r} cannot be read: {error.strerror}.") from None
    with file:
        order = msgspec.msgpack.encode(Order(file.fileno(), deadline.whole_seconds_left))
        answered = answer_of(LISTER, order, deadline, called="the listing process", descriptors=[file.fileno()])
    try:
        return msgspec.msgpack.decode(answered.body, type=Listing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CompileError("the listing process wrote something that is no listing.") from None
