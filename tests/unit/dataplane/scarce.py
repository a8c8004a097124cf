"""A process that has no descriptor left for a connection."""

from __future__ import annotations

import errno
import os
import socket
import time

import pytest

from tests.acceptance.servers import wait_for


class Scarce:
    """While `is_short`, no connection is taken. `tries`: how often somebody tried."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_short = True
        self.tries = 0
        accept = socket.socket.accept

        def take(listening: socket.socket) -> tuple[socket.socket, object]:
            self.tries += 1
            if self.is_short:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return accept(listening)

        monkeypatch.setattr(socket.socket, "accept", take)

    def assert_waits(self, seconds: float) -> None:
        """Fail unless somebody tries again, and waits for about `seconds` before that; then let connections in."""
        began = time.monotonic()
        wait_for(lambda: self.tries >= 3)
        assert time.monotonic() - began > seconds
        assert self.tries == 3
        self.is_short = False
