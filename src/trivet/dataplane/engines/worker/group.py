"""The model workers of one version: which there are, who wants them, and when another may be started."""

from __future__ import annotations

import socket
import subprocess
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from trivet.dataplane.engines.worker.control import Options, Peer, Reader, State

BACK_OFF_SECONDS = (0.0, 0.2, 0.5, 1.0)  # after one, two ... deaths within RESTART_WINDOW
RESTART_WINDOW, MOST_RESTARTS = 60.0, 5  # seconds, and deaths of one instance's place within them


@dataclass(eq=False)
class Instance:
    """One model worker: `peer` once it answers. A worn one answers until another stands ready."""

    place: int
    process: subprocess.Popen[bytes]
    started: float
    report: int  # descriptor, -1 once read
    died: int  # descriptor that becomes readable when the process ends
    socket: str
    runs: str
    heard: bytes = b""
    peer: Peer | None = None
    is_worn: bool = False
    leaves_at: float | None = None  # when it is killed, once it was asked to leave
    stopped_since: float | None = None
    killed_for: str = ""
    rss_bytes: int = 0


@dataclass(eq=False)
class Group:
    """The instances of one version, and who wants them."""

    digest: str
    folder: Path
    options: Options
    environment: str = ""  # the key of its own
    wanted_by: set[Caller] = field(default_factory=set)
    instances: list[Instance] = field(default_factory=list)
    deaths: dict[int, deque[float]] = field(default_factory=dict)  # by place
    restarts: Counter[str] = field(default_factory=Counter)
    failure: str = ""  # why the last one could not load
    look_again_at: float = 0.0  # for its environment, which was missing
    runtime: str = ""  # once an instance has told
    import_seconds: float = 0.0  # of its libraries, as the slowest told
    unwanted_since: float | None = None
    cost_us_per_row: float = 0.0
    told_bytes: int = 0  # of memory, as the callers heard last

    def wear_out(self) -> None:
        """Have every instance that answers replaced, each once another stands ready."""
        for one in self.instances:
            one.is_worn = one.is_worn or one.peer is not None

    def is_tried_soon(self, now: float) -> bool:
        """False while every place of it rests."""
        return any(self.due(place, now) <= now + BACK_OFF_SECONDS[-1] for place in range(self.options.instances))

    def due(self, place: int, now: float) -> float:
        """Return when another instance may start at `place`: at once, then later and later, five times a minute."""
        if now < self.look_again_at:
            return self.look_again_at
        deaths = self.deaths.get(place)
        if not deaths:
            return now
        while deaths and now - deaths[0] > RESTART_WINDOW:
            deaths.popleft()
        if not deaths:
            return now
        if len(deaths) >= MOST_RESTARTS:
            return deaths[0] + RESTART_WINDOW
        return deaths[-1] + BACK_OFF_SECONDS[min(len(deaths), len(BACK_OFF_SECONDS)) - 1]

    def state(self) -> State:
        """Return what a caller is told of it."""
        peers = self.peers
        is_failed = not peers and bool(self.failure)
        return State(
            digest=self.digest,
            is_failed=is_failed,
            reason=self.failure if is_failed else "",
            peers=peers,
            restarts=dict(self.restarts),
            rss_bytes=self.rss_bytes,
            cost_us_per_row=self.cost_us_per_row,
        )

    @property
    def peers(self) -> list[Peer]:
        return [one.peer for one in self.instances if one.peer is not None and one.leaves_at is None]

    @property
    def rss_bytes(self) -> int:
        return sum(one.rss_bytes for one in self.instances)


@dataclass(eq=False)
class Caller:
    """One connection that wants versions."""

    socket: socket.socket
    reader: Reader = field(default_factory=Reader)
