"""How the ready-made server writes its log: a line for each message, whatever a caller put into it."""

from __future__ import annotations

import logging

LONGEST = 4000  # characters of a message


class OneLine(logging.Formatter):
    """Writes control characters of a message as escapes and cuts what is too long; a trace follows in lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name in `logging`)
        """Return the message's line."""
        line = super().formatMessage(record)
        if len(line) > LONGEST:
            line = f"{line[:LONGEST]}…"
        return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
