"""Admit: may this process take work now?"""

from __future__ import annotations

from trivet.core.errors import Unavailable
from trivet.dataplane.spool import Spool
from trivet.dataplane.table import LiveModel


def admit(model: LiveModel, spool: Spool, *, is_closed: bool) -> None:
    """Raise `Unavailable` at the process's end, while the log cannot be written, or when nothing of `model` would answer."""
    if is_closed:
        raise Unavailable("this worker is shutting down; ask again.", code="DRAINING")
    spool.ensure_writable()
    if not model.live and not model.fallback:
        raise model.not_loaded()
