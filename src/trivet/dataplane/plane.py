"""The plane: what one process holds to answer predictions. Plain values in, so it runs with or without Django."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from trivet.core.errors import PermissionDenied, TrivetError, Unauthenticated, Unavailable
from trivet.core.snapshot import Snapshot
from trivet.dataplane.engines.base import LoadedVersion
from trivet.dataplane.engines.guard import Guard
from trivet.dataplane.lease import Lease
from trivet.dataplane.metrics.backlog import Backlog
from trivet.dataplane.metrics.families import UNKNOWN
from trivet.dataplane.metrics.meter import Meter, now
from trivet.dataplane.rates.limiter import Limiter
from trivet.dataplane.reconcile import Reconciler
from trivet.dataplane.shadows import Shadows
from trivet.dataplane.spool import Spool
from trivet.dataplane.table import EMPTY_TABLE, LiveVersion, Table
from trivet.dataplane.witness import Witness


@dataclass(frozen=True)
class Limits:
    """The bounds of one request and of one process."""

    max_body_bytes: int = 16 * 1024 * 1024
    max_rows: int = 1024
    max_answer_bytes: int = 64 * 1024 * 1024
    deadline_seconds: float = 10.0  # by then a request is answered, or told that it will not be
    queue_length: int = 256  # requests of one model that wait here for another process
    inline_limit_us: float = 2000.0  # a request that costs more is not run on an event loop
    log_inputs: float = 1.0  # share of predictions whose inputs are kept


@dataclass(frozen=True)
class LoadingChange:
    """A caller's wish to have a version loaded or unloaded; without a version, all that the model's traffic needs."""

    model: str
    version: int | None
    is_load: bool
    actor: str


def _nobody_to_ask(_change: LoadingChange) -> None:
    raise Unavailable("this process cannot change what is loaded.", code="MANAGEMENT_AWAY")


def _no_rehearsal(_plane: Plane, _table: Table) -> None:
    """Let the first request be the first."""


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
    backlog: Backlog = field(default_factory=Backlog)
    witnesses: tuple[Witness, ...] = ()
    metrics_aliases: tuple[str, ...] = ()  # other products whose names are told as well: "triton"
    table: Table = EMPTY_TABLE
    lease: Lease = field(default_factory=Lease)
    limiter: Limiter = field(default_factory=Limiter)
    shadows: Shadows = field(default_factory=Shadows)
    guard: Guard | None = None  # of what runs inline
    is_draining: bool = False  # not ready, and each answer closes its connection
    is_closed: bool = False  # nothing is answered any more
    change_loading: Callable[[LoadingChange], None] = _nobody_to_ask  # returns once every worker has followed; blocks
    rehearse: Callable[[Plane, Table], None] = _no_rehearsal  # before a table is in force; raises nothing
    coming: Snapshot | None = None  # while it is being loaded
    _elsewhere: tuple[tuple[str, str, LoadedVersion], ...] = ()  # model, version: what runs in model workers
    _following: threading.Lock = field(default_factory=threading.Lock)

    def follow(self, snapshot: Snapshot, *, even_older: bool = False) -> None:
        """Make `snapshot` the one in force, after what it needs has loaded.

        One older than the present is ignored, unless `even_older`: then the registry itself went back, restored.
        """
        with self._following:
            if snapshot.generation < self.table.snapshot.generation and not even_older:
                return
            before, self.coming = self.table, snapshot
            try:
                table = self.reconciler.follow(snapshot, before)
                self.rehearse(self, table)
                self.table = table
                self._elsewhere = _running_elsewhere(table)
                self._count_loaded(before)
                self.reconciler.release_unused(self.table)
            finally:
                self.coming = None

    def count_refusal(self, error: TrivetError, model: str, version: int, door: str, began: int) -> None:
        """Count a request that got `error`: for `model` where there is one of that name, made-up names together.

        `version` is 0 where none was chosen, `door` empty where no prediction was asked for, `began` 0 where no body came.
        """
        if isinstance(error, Unauthenticated | PermissionDenied):
            self.meter.count("trivet_auth_failures_total", error.reason)
        known = model if model in self.table.models else UNKNOWN
        self.meter.refused(known, version, door, error.code, now() - began if began else 0)

    def tell_in_flight(self, requests: int) -> None:
        """Tell the meter how many requests of this process are beside its event loop."""
        self.meter.gauge("trivet_in_flight", value=requests)

    def tell_long_run(self, model: str, version: LiveVersion, nanoseconds: int) -> None:
        """Tell meter and guard of a run that took long, where an event loop waited for it; a thread may take its time."""
        if not version.loaded.runs_inline or not _is_on_a_loop():
            return
        number = str(version.entry.number)
        self.meter.observe("trivet_inline_stall_seconds", model, number, nanoseconds=nanoseconds)
        if self.guard is not None:
            self.guard.stalled(version.entry.digest)

    def has_model(self, name: str) -> bool:
        """True while a model of that name is in force."""
        return name in self.table.models

    def tell_standing(self) -> None:
        """Tell the meter how this process sees the model workers. It takes microseconds for each version they run."""
        for model, version, loaded in self._elsewhere:
            if (standing := loaded.standing) is not None:
                self.meter.gauge("trivet_queue_depth", model, version, value=standing.waiting)
                self.meter.gauge("trivet_breaker_open", model, version, value=int(standing.is_breaker_open))

    def _count_loaded(self, before: Table) -> None:
        """Tell the meter what this process follows and has loaded, and what it has not any more."""
        self.meter.gauge("trivet_snapshot_generation", value=max(self.table.snapshot.generation, 0))
        for table, value in ((before, 0), (self.table, 1)):
            for model in table.models.values():
                for number in model.live:
                    self.meter.gauge("trivet_version_loaded", model.name, str(number), value=value)
        for model_name, version, _ in _running_elsewhere(before):
            for gauge in ("trivet_queue_depth", "trivet_breaker_open"):
                self.meter.gauge(gauge, model_name, version, value=0)
        self.tell_standing()

    @property
    def is_ready(self) -> bool:
        """True when a snapshot is in force and the worker is not draining; single models do not count."""
        return self.table.snapshot.generation >= 0 and not self.is_draining


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _running_elsewhere(table: Table) -> tuple[tuple[str, str, LoadedVersion], ...]:
    """Return model, version and handle of what runs in model workers."""
    return tuple(
        (model.name, str(number), live.loaded)
        for model in table.models.values()
        for number, live in model.live.items()
        if live.loaded.standing is not None
    )
