"""Where this TRIVET_HOME is served, for whoever prints a command to copy."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from trivet import conf
from trivet.serving.model_workers import run_folder

FILE = "address"
ANYWHERE = re.compile(r"^(0\.0\.0\.0|\[::\]):")  # every address of this machine: no address to call


def remember_address(bind: str) -> None:
    """Write that `trivet serve` listens on `bind`; the next one writes over it."""
    with suppress(OSError):  # a command to copy then has the address of the settings
        place = run_folder() / FILE
        scratch = place.with_name(f".{FILE}-{os.getpid()}")
        scratch.write_text(bind, encoding="utf-8")
        scratch.rename(place)  # whole or not at all, for whoever reads meanwhile


def base_url() -> str:
    """Return the public address, else that of the last server of this TRIVET_HOME, else that of the settings."""
    if public := conf.PUBLIC_URL():
        return public
    try:
        bind = (run_folder() / FILE).read_text(encoding="utf-8")
    except OSError:
        bind = conf.BIND()
    return f"http://{ANYWHERE.sub('127.0.0.1:', bind)}"
