"""The key that a verb signs with: read from a file, its passphrase from the environment or a prompt, never an argument."""

from __future__ import annotations

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from trivet.cli.verb import Out
from trivet.control.registry.trusted_keys import INSTALL
from trivet.core.errors import InvalidRequest, Refused

if TYPE_CHECKING:
    from trivet.model.signing.keys import Signer

VARIABLE = "TRIVET_SIGNING_PASSPHRASE"  # where a passphrase may be


def read_key(path: Path, out: Out) -> Signer:
    """Return the private key in `path`, and say so where others may read its file."""
    try:
        from trivet.model.signing.keys import read_signer
    except ImportError:
        raise Refused(f"signing needs cryptography: {INSTALL}.") from None
    signer = read_signer(path, _passphrase)
    if signer.others_may_read:
        out.problem(f"others than its owner may read or change {path}, and so sign with it: chmod 600 {path}")
    return signer


def _passphrase(path: Path) -> bytes:
    given = os.environ.pop(VARIABLE, None)  # no process that this one starts has it
    if given is None and not sys.stdin.isatty():
        raise InvalidRequest(f"{path} needs a passphrase: set {VARIABLE}, or sign in a terminal.", code="BAD_PARAMETER")
    return (getpass(f"passphrase of {path}: ") if given is None else given).encode()
