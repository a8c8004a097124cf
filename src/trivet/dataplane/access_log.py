"""The access log: a line for each prediction that was asked for. Never a payload, never a key."""

from __future__ import annotations

import logging

from trivet.dataplane.witness import Passage, Witness

logger = logging.getLogger(__name__)


class AccessLog(Witness):
    """Logs at INFO, as `key=value`, one line a request."""

    def see(self, passage: Passage) -> None:
        """Log `passage`; whatever it names has a grammar, so a line is one line."""
        logger.info(
            "event=request door=%s model=%s version=%s code=%s us=%d request_id=%s",
            passage.door,
            passage.model,
            passage.version or "-",
            passage.code,
            passage.nanoseconds // 1000,
            passage.request_id,
        )
