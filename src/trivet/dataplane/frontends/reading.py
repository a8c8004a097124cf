"""What is read from the files of this host for whoever asks: metrics and statistics. Never call `body` on an event loop."""

from __future__ import annotations

from trivet.dataplane.frontends.descriptions import describe
from trivet.dataplane.frontends.doors import JSON
from trivet.dataplane.frontends.paths import Target
from trivet.dataplane.frontends.scrape import scrape
from trivet.dataplane.frontends.slow_lane import Lane
from trivet.dataplane.metrics.exposition import CONTENT_TYPE as METRICS_TYPE
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol.messages import Caller
from trivet.dataplane.protocol.metadata import encode

READ_FROM_FILES = frozenset({"metrics", "statistics", "model_statistics"})
LANE = Lane(
    "/reading", threads=1, waiting=16, is_told=False
)  # no model's name: a scrape waits for another, and for no prediction


class Reading:
    """One call, by a caller who was let in."""

    status = 200
    is_slow = True
    lane = LANE
    is_recorded = False

    def __init__(self, plane: Plane, caller: Caller, target: Target) -> None:
        self._plane = plane
        self._caller = caller
        self._target = target
        self.media = METRICS_TYPE if target.kind == "metrics" else JSON

    def receive(self, body: bytes) -> None:
        """Pass over the body: such a request has none."""

    def body(self) -> bytes:
        """Return the answer's bytes; raises what `scrape` and `describe` raise."""
        if self._target.kind == "metrics":
            return scrape(self._plane, self._caller)
        return encode(describe(self._plane, self._caller, self._target))
