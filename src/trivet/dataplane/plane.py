"""The plane: what one process holds to answer predictions. Plain values in, so it runs with or without Django."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from trivet.core.snapshot import Snapshot
from trivet.dataplane.lease import Lease
from trivet.dataplane.metrics.meter import Meter
from trivet.dataplane.reconcile import Reconciler
from trivet.dataplane.shadows import Shadows
from trivet.dataplane.spool import Spool
from trivet.dataplane.table import EMPTY_TABLE, Table


@dataclass(frozen=True)
class Limits:
    """The bounds of one request and of one process."""

    max_body_bytes: int = 16 * 1024 * 1024
    max_rows: int = 1024
    max_answer_bytes: int = 64 * 1024 * 1024
    deadline_seconds: float = 10.0  # by then a request is answered, or told that it will not be
    inline_limit_us: float = 2000.0  # a request that costs more is not run on an event loop
    log_inputs: float = 1.0  # share of predictions whose inputs are kept


@dataclass
class Plane:
    """Everything the corridor reads. `table` is swapped by one assignment; requests keep the one they began with."""

    reconciler: Reconciler
    spool: Spool
    peppers: tuple[bytes, ...] = ()
    limits: Limits = field(default_factory=Limits)
    prefix: str = "/"
    allowed_hosts: tuple[str, ...] = ("*",)
    release: str = "0"
    meter: Meter = field(default_factory=Meter)
    table: Table = EMPTY_TABLE
    lease: Lease = field(default_factory=Lease)
    shadows: Shadows = field(default_factory=Shadows)
    is_draining: bool = False  # not ready, and each answer closes its connection
    is_closed: bool = False  # nothing is answered any more
    _following: threading.Lock = field(default_factory=threading.Lock)

    def follow(self, snapshot: Snapshot, *, even_older: bool = False) -> None:
        """Make `snapshot` the one in force, after what it needs has loaded.

        One older than the present is ignored, unless `even_older`: then the registry itself went back, restored.
        """
        with self._following:
            if snapshot.generation < self.table.snapshot.generation and not even_older:
                return
            self.table = self.reconciler.follow(snapshot, self.table)
            self.reconciler.release_unused(self.table)

    @property
    def is_ready(self) -> bool:
        """True when a snapshot is in force and the worker is not draining; single models do not count."""
        return self.table.snapshot.generation >= 0 and not self.is_draining
