"""The tripwire: a process that only answers ends at once when something in it unpickles or starts a program (PEP 578).

It is for our own regressions: a dependency that begins to open pickles, a path nobody thought of. What is hostile is held
by the kernel (`confine`); native code passes by an audit hook, and so does a pickle that names no global. Where a site
shares the process, which may do both, the wire lies in some rooms of ours only. What it costs is paid where one of `EVENTS`
happens: a request causes none, so the corridor marks nothing when it is entered and left.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

STATUS = 86  # how a process ends that tripped
EVENTS = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
        "os.system",
        "pickle.find_class",
        "pty.spawn",
        "subprocess.Popen",
    }
)


@dataclass(frozen=True)
class Rooms:
    """Modules, each with all below it, by what runs closest to an event: `watched` trips, `others` may do as they please.

    With none in `watched`, all trips that `others` did not call.
    """

    watched: tuple[str, ...]
    others: tuple[str, ...] = ()  # whom a watched one calls on behalf of somebody else


@dataclass(frozen=True)
class _Wire:
    rooms: Rooms | None
    tell: Callable[[], object]


_wire: _Wire | None = None


def arm(rooms: Rooms | None = None, tell: Callable[[], object] = lambda: None) -> None:
    """End this process when one of `EVENTS` happens in it from now on; with `rooms`, only while code of theirs is under way.

    `tell` is called before the end: it must not wait for anything. A later call takes the place of an earlier one.
    """
    global _wire
    is_new, _wire = _wire is None, _Wire(rooms, tell)
    if is_new:
        sys.addaudithook(_look)  # it cannot be taken away again


def _look(event: str, arguments: tuple[Any, ...]) -> None:  # noqa: ARG001  (as hooks are called; nothing of them is told)
    if event not in EVENTS or _wire is None:
        return
    frame: FrameType | None = sys._getframe(1)
    if _wire.rooms is not None:
        frame = _watched(frame, _wire.rooms)
        if frame is None:
            return
    try:
        with contextlib.suppress(Exception):
            _wire.tell()
        place = f"{_module(frame)}:{frame.f_lineno}" if frame is not None else ""
        _say(f"CRITICAL trivet event=tripwire audit={event} at={place} pid={os.getpid()}\n")
    finally:
        os._exit(STATUS)


def _say(line: str) -> None:
    """Write to the log's end of the pipe, unless nobody empties it: the end of this process must not wait for that."""
    if select.select((), (2,), (), 0)[1]:
        os.write(2, line.encode("utf-8", "replace"))


def _watched(frame: FrameType | None, rooms: Rooms) -> FrameType | None:
    """Return the closest frame of `rooms.watched`; None where there is none, or one of `rooms.others` is closer."""
    outside = None if rooms.watched else frame
    while frame is not None:
        module = f"{_module(frame)}."
        if module.startswith(tuple(f"{room}." for room in rooms.others)):
            return None
        if module.startswith(tuple(f"{room}." for room in rooms.watched)):
            return frame
        frame = frame.f_back
    return outside


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
