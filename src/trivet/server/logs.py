"""How the ready-made server writes its log: a line for each message, whatever a caller put into it."""

from __future__ import annotations

import logging
from typing import Any

LONGEST = 4000  # characters of a message


class OneLine(logging.Formatter):
    """Writes control characters of a message as escapes and cuts what is too long.

    A trace follows in lines that are indented: what an error says of a caller's text must not look like a message either.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name in `logging`)
        """Return the message's line."""
        return _plain(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802  (the name in `logging`; Any: as there)
        """Return the trace, each line of it by itself."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  (the name in `logging`)
        """Return the stack in the same way."""
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join(f"  {_plain(line)}" for line in text.split("\n"))


def _plain(line: str) -> str:
    if len(line) > LONGEST:
        line = f"{line[:LONGEST]}…"
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
