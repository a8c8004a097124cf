"""Landlock: from here on this process reads and writes only below the paths it names (Linux, userspace-api/landlock)."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from trivet.model.sandbox.kernel import call

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
ASK_VERSION = 1
PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE = 1 << 14
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15  # rights that a rule for a file may have
READ = READ_FILE | READ_DIR
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # rights on files by the version that brought them
NETWORK_SINCE, SCOPES_SINCE = 4, 6
BIND_AND_CONNECT = 0b11  # TCP
ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


def version() -> int:
    """Return the version of Landlock here, 0 where there is none."""
    try:
        return call(CREATE_RULESET, None, 0, ASK_VERSION)
    except OSError:
        return 0


def restrict(readable: Iterable[Path], writable: Iterable[Path]) -> int:
    """Take every right on files from this process but reading below `readable` and all below `writable`.

    From version 4 on TCP goes too, from 6 on abstract sockets and signals to others. Paths that are not there are passed
    over; what is open stays open. Needs `no_new_privs`, and one thread: others keep their rights. Returns the version;
    raises `OSError`.
    """
    known = version()
    if not known:
        raise OSError("this kernel has no Landlock, or it is switched off")
    rights = (1 << max(count for since, count in FILE_RIGHTS.items() if since <= known)) - 1
    attributes = struct.pack(
        "=QQQ",
        rights,
        BIND_AND_CONNECT if known >= NETWORK_SINCE else 0,
        ABSTRACT_SOCKETS_AND_SIGNALS if known >= SCOPES_SINCE else 0,
    )
    size = 24 if known >= SCOPES_SINCE else 16 if known >= NETWORK_SINCE else 8
    ruleset = call(CREATE_RULESET, ctypes.c_char_p(attributes), size, 0)
    try:
        for path in readable:
            _allow(ruleset, path, READ & rights)
        for path in writable:
            _allow(ruleset, path, rights & ~EXECUTE)
        call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return known


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= OF_FILES
        rule = struct.pack("=Qi", rights, place)
        call(ADD_RULE, ruleset, PATH_BENEATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(place)
