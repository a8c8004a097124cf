"""System calls that the standard library does not offer, by their numbers."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
CAPABILITY_VERSION = 0x20080522  # capset(2), of 64 capabilities


def call(number: int, *arguments: Any) -> int:
    """Make the system call `number`; raises `OSError`. Whole numbers are passed as longs."""
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result: int = _syscall(ctypes.c_long(number), *passed)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; raises `OSError`."""
    if _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` for new ones; raises `OSError`."""
    if _libc.unshare(flags) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def drop_capabilities() -> None:
    """Give up every capability of this process, also those that a new user namespace brought; raises `OSError`."""
    header, none = struct.pack("=Ii", CAPABILITY_VERSION, 0), bytes(24)
    if _libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(none)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def thread_count() -> int:
    """Return how many threads this process has."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())
