"""The verb `keeper`. It loads nothing of the web worker: whoever ships answers no request."""

from __future__ import annotations

import argparse
import os
import signal

from trivet import conf
from trivet.cli.verb import DONE, Out
from trivet.core.parent import end_with
from trivet.serving.keeper import Keeper, counting_of_keeper, spool_root
from trivet.serving.nightly import nightly_columns

KEEPER_NICENESS = 5  # no more: it holds the database's write lock while it ships


def keeper(options: argparse.Namespace, out: Out) -> int:
    """Ship until SIGTERM, or once."""
    if options.supervisor is not None:
        end_with(options.supervisor, signal.SIGTERM)
        os.nice(KEEPER_NICENESS)
    hurry_bytes = conf.SPOOL_MB() * conf.MIB // 4
    keeper = Keeper(spool_root(), hurry_bytes=hurry_bytes, counting=counting_of_keeper(), besides=[nightly_columns()])
    if options.once:
        shipped = keeper.step()
        out.document({"records": shipped}, f"{shipped} records shipped")
        return DONE
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: keeper.stop())
    keeper.run()
    return DONE
