"""Standard error as the end of a log, for processes that must not wait for it.

A pipe that nobody reads, a terminal that was stopped, a journal that hangs: a write to it waits, and with it whoever
logged. Here a line that is not taken at once is dropped and counted, and the next one that is taken says how many were.
There is no thread and no queue, so a line that was logged before a crash has left, and a confined process may log too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat

STANDARD_ERROR = 2
AT_ONCE_BYTES = select.PIPE_BUF  # a pipe takes so much whole or not at all


class LogSink(logging.Handler):
    """Writes each record to standard error, or drops it. `dropped`: how many, until now."""

    def __init__(self, descriptor: int = STANDARD_ERROR) -> None:
        super().__init__()
        self.dropped = 0
        self._told = 0  # of those, how many the log tells of
        self._is_torn = False  # the last line was taken in part
        self._given = descriptor
        self._descriptor = _without_waiting(descriptor)

    def close(self) -> None:
        """Give up what was opened; standard error itself stays open."""
        opened, self._descriptor = self._descriptor, -1
        if opened not in (-1, self._given):
            os.close(opened)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or several where it has a trace; called with the handler's lock."""
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001  (a bad format string must not end what logged)
            text = f"{record.levelname} {record.name} {record.msg!r} {record.args!r}"
        missed = self.dropped - self._told
        notice = f"WARNING {__name__} event=log_lines_dropped lines={missed}\n" if missed else ""
        line = f"{chr(10) if self._is_torn else ''}{notice}{text}\n".encode(errors="backslashreplace")
        taken = self._write(line)
        if taken:
            self._told, self._is_torn = self.dropped, taken < len(line)
        if taken < len(line):
            self.dropped += 1

    def _write(self, line: bytes) -> int:
        """Return how many bytes were taken."""
        taken = 0
        with contextlib.suppress(OSError):
            while taken < len(line) and self._descriptor >= 0 and takes(self._descriptor):
                taken += os.write(self._descriptor, line[taken : taken + AT_ONCE_BYTES])
        return taken


def takes(descriptor: int) -> bool:
    """True when a write of `AT_ONCE_BYTES` to `descriptor` would not wait."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(events & select.POLLOUT for _, events in poll.poll(0))


def dropped_lines() -> int:
    """Return how many lines of this process were dropped."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, LogSink))


def _without_waiting(descriptor: int) -> int:
    """Return a descriptor of our own for a pipe or a terminal, which never waits; -1 where there is nothing to write to.

    Others may write between our looking and our writing. Setting it on `descriptor` would set it for all who share that.
    """
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return -1
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with contextlib.suppress(OSError):  # another user's, or no /proc: looking first has to do
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    return descriptor
