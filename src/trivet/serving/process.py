"""This process as a place that answers: its plane, its lease, and the thread that follows the registry."""

from __future__ import annotations

import atexit
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from django.db import Error as DatabaseFailure, connections

from trivet import conf
from trivet.control.predictions.labelling import Counts
from trivet.control.registry import actions
from trivet.control.registry.declarations import declared_features
from trivet.control.registry.models import USE_NOTED_SECONDS, ApiKey, Worker, WorkerKind
from trivet.control.registry.snapshots import build_snapshot, current_generation
from trivet.core.errors import TrivetError
from trivet.core.log_sink import dropped_lines
from trivet.core.names import system_user
from trivet.dataplane.lease import SECOND_NS, now_ns
from trivet.dataplane.plane import Plane
from trivet.dataplane.table import Table
from trivet.features.saves import row_joined
from trivet.model.sandbox import tripwire
from trivet.serving.keeper import Keeper, spool_root
from trivet.serving.wiring import build_plane
from trivet.serving.worker_ids import new_worker_id

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1  # a new generation is noticed within 250 ms: this, and a query's time
BEAT_SECONDS = 1
LOG_SECONDS = 1.0  # between looks whether the log can be written, though nobody asks
RETRY_LOADING_SECONDS = 5.0
RESTORED_SECONDS = 5.0
STOP_SECONDS = 5.0
OTHERS = (  # which may unpickle, or start a program, though code of ours called them
    "django.core.files.storage",  # behind it may be a site's own,
    "trivet.control.registry.storage",  # whose files this reads
    "django.db",  # a site's own backend may ask a program for a password
    "django.dispatch",  # a site's receivers
    "trivet.dataplane.engines.worker.owner",  # no web worker, and there to start others,
    "trivet.dataplane.engines.worker.spawning",  # as this does for it,
    "trivet.serving.site",  # behind it is the site,
    "trivet.serving.loading",  # a person's wish, which the registry carries out
)
# Where nothing may do so: in a process that a site shares, what answers, loads, follows and ships; else everything.
WATCHED = tripwire.Rooms(("trivet.dataplane", "trivet.serving.process", "trivet.serving.keeper"), OTHERS)
WATCHED_ALONE = tripwire.Rooms((), OTHERS)


class Process:
    """One process that answers predictions. `start` returns once the first snapshot is in force."""

    def __init__(self, kind: WorkerKind, processes: int | None = None) -> None:
        """Be one of `processes` that answer on this machine; by default one of TRIVET_WORKERS."""
        self.kind = kind
        self.worker_id = new_worker_id(kind.value)
        self.plane: Plane = build_plane(self.worker_id, processes)
        self.plane.lease.begin(conf.LEASE_SECONDS())
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._next_beat_ns = 0
        self._last_load = 0.0
        self._use_noted: dict[str, float] = {}  # id of a key -> when its use was last written from here
        self._older: tuple[int, float] | None = None  # an older generation than ours, and since when it is there
        self._keeper: Keeper | None = None
        self._is_registry_away = False
        self._next_check = 0.0
        self._dropped_lines = 0
        self._pid = os.getpid()

    def start(self, *, ships: bool) -> None:
        """Follow the registry from now on. Raises nothing: with the database away it starts unready and keeps trying.

        The lease is taken, then the registry looked at again: whoever moves traffic from then on waits for this process.
        """
        self.arm(WATCHED)
        self.step()
        self.step()
        self._thread = threading.Thread(target=self._follow, name="trivet-follow", daemon=True)
        self._thread.start()
        if ships:
            self._keeper = Keeper(spool_root(), hurry_bytes=conf.SPOOL_MB() * conf.MIB // 4, counting=self.plane.meter)
            self._keeper.start()

    def arm(self, rooms: tripwire.Rooms) -> None:
        """End this process, and count that, when something in it, of `rooms`, unpickles."""
        tell = partial(self.plane.meter.count, "trivet_tripwire_total", self.kind.value)
        tell(by=0)  # so that the slot is there, and counting takes no lock
        tripwire.arm(rooms, tell)

    def stop(self) -> None:
        """Stop following, ship what is left, give the lease back. In a forked child, whose they are not, do nothing."""
        if os.getpid() != self._pid:
            return
        self._stopping.set()
        self.plane.lease.wanted.set()
        if self._thread is not None:
            self._thread.join(timeout=STOP_SECONDS)
        self.plane.is_draining = self.plane.is_closed = True
        self.plane.shadows.stop()
        self.plane.spool.close()
        self.plane.meter.close()
        self.plane.limiter.close()
        if self.plane.guard is not None:
            self.plane.guard.close()
        if self._keeper is not None:
            self._keeper.stop()
        try:
            self._note_use(self.plane.table.used)
            Worker.objects.filter(pk=self.worker_id).delete()
        except DatabaseFailure:
            logger.info("event=lease_not_returned worker=%s", self.worker_id)  # it lapses

    def count_labels(self, model: str, result: str, labels: int) -> None:
        """Count what became of labels."""
        self.plane.meter.count("trivet_labels_total", model, result, by=labels)

    def abandon_after_fork(self) -> None:
        """In a forked child: drop the inherited descriptors, so that the parent's locks are the parent's alone."""
        self.plane.spool.abandon_after_fork()
        self.plane.meter.close()
        self.plane.limiter.abandon_after_fork()
        if self._keeper is not None:
            self._keeper.abandon_after_fork()

    def step(self) -> None:
        """Look once: follow a new generation, renew the lease. What fails is reported once, and tried again."""
        lease = self.plane.lease
        lease.wanted.clear()
        began_ns, was_lost = now_ns(), lease.is_lost
        try:
            self._sync()
            self.plane.meter.gauge("trivet_snapshot_age_seconds", value=time.monotonic_ns())
            if self._beat(began_ns):
                if was_lost:
                    self._sync()  # whoever moved traffic before the beat did not wait for this process
                lease.renew(began_ns)
                self._look_after_keys()
        except Exception as error:
            lease.go_on_without(began_ns)
            if not self._is_registry_away:
                expected = isinstance(error, DatabaseFailure | TrivetError)
                logger.error(  # noqa: TRY400  (a trace only where the message is not the finding)
                    "event=registry_away worker=%s error=%s",
                    self.worker_id,
                    error,
                    exc_info=None if expected else error,
                )
            self._is_registry_away = True
            connections.close_all()
        else:
            if self._is_registry_away:
                logger.warning("event=registry_back worker=%s", self.worker_id)
            self._is_registry_away = False

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self.plane.lease.wanted.wait(POLL_SECONDS)
            self.plane.tell_standing()
            self._check_logs()
            self.plane.limiter.look_after()
            self.step()
        connections.close_all()

    def _check_logs(self) -> None:
        """Let readiness tell the truth of the spool before the first request finds it out; count what the log's sink dropped."""
        if (now := time.monotonic()) >= self._next_check:
            self._next_check = now + LOG_SECONDS
            self.plane.spool.check()
            dropped = dropped_lines()
            self.plane.meter.count("trivet_log_lines_dropped_total", by=dropped - self._dropped_lines)
            self._dropped_lines = dropped

    def _sync(self) -> None:
        generation = current_generation()
        present = self.plane.table.snapshot.generation
        if generation == present and not self._must_retry_loading():
            return
        if generation < present:
            if not self._is_restored(generation):
                return
            logger.warning("event=registry_restored from=%d to=%d", present, generation)
        self.plane.lease.wait_for_loading()
        snapshot = build_snapshot(self.plane.table.snapshot)
        self._last_load = time.monotonic()
        with self._beating():
            self.plane.follow(snapshot, even_older=generation < present)
        self._next_beat_ns = 0  # acknowledge at once

    def _is_restored(self, generation: int) -> bool:
        """True when the registry has been at an older generation for a while: a restored database, no stale replica."""
        now = time.monotonic()
        if self._older is None or self._older[0] != generation:
            self._older = (generation, now)
        return now - self._older[1] > RESTORED_SECONDS

    def _must_retry_loading(self) -> bool:
        failed = any(model.failed for model in self.plane.table.models.values())
        return failed and time.monotonic() - self._last_load > RETRY_LOADING_SECONDS

    @contextmanager
    def _beating(self) -> Iterator[None]:
        """Keep the lease while the block loads, however long that takes; one that was lost already stays so."""
        loaded = threading.Event()

        def keep() -> None:
            while not loaded.wait(BEAT_SECONDS):
                began_ns, was_lost = now_ns(), self.plane.lease.is_lost
                with suppress(DatabaseFailure):
                    if self._beat(began_ns) and not was_lost:
                        self.plane.lease.renew(began_ns)
            connections.close_all()

        thread = threading.Thread(target=keep, name="trivet-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            loaded.set()
            thread.join()

    def _look_after_keys(self) -> None:
        """Write which keys were used, and end those whose owner was disabled in a way that nobody was told of."""
        table = self.plane.table
        if table.used:
            self._note_use(table.used)
        if table.snapshot.keys and ApiKey.objects.orphaned().exists():
            actions.revoke_orphaned_keys(actor=f"process:{system_user()}")

    def _note_use(self, used: set[str]) -> None:
        """Write the last use of keys, of each at most once a minute, whichever processes it is used in."""
        ids, now = list(used), time.monotonic()
        used.difference_update(ids)
        due = [key for key in ids if now - self._use_noted.get(key, -math.inf) >= USE_NOTED_SECONDS]
        if due:
            ApiKey.objects.all().note_use(due)
            self._use_noted.update(dict.fromkeys(due, now))

    def _beat(self, began_ns: int) -> bool:
        """Tell the registry that this process lives, where it is time to; True when it was.

        With it goes which models do not answer as their routes say, for as long as that is so: whoever moves their traffic
        is told, and nobody else is held up.
        """
        if began_ns < self._next_beat_ns:
            return False
        table = self.plane.table
        Worker.objects.all().beat(
            self.worker_id,
            generation=max(table.snapshot.generation, 0),
            failing=_failing(table),
            kind=self.kind,
            host=socket.gethostname(),
            pid=self._pid,
            features=declared_features(),
        )
        self._next_beat_ns = began_ns + BEAT_SECONDS * SECOND_NS
        return True


def _failing(table: Table) -> list[str]:
    """Return the models with a routed version that could not be loaded."""
    return [
        model.name
        for model in table.models.values()
        if model.failed and any(route.version in model.failed for route in model.entry.routes)
    ]


_process: Process | None = None
_starting = threading.Lock()


def this_process(kind: WorkerKind = WorkerKind.PROCESS, *, ships: bool = True, processes: int | None = None) -> Process:
    """Return this process, started on first use as `kind`, one of `processes` that answer on this machine.

    Where no keeper of this machine ships, it ships records from a daemon thread, unless `ships` or TRIVET_KEEPER say no.
    """
    global _process
    if _process is None:
        with _starting:
            if _process is None:
                process = Process(kind, processes)
                process.start(ships=ships and conf.KEEPER() == "auto")
                atexit.register(process.stop)
                _process = process
    return _process


def running_process() -> Process | None:
    """Return this process, where it has begun to answer."""
    return _process


def stop_process() -> None:
    """Ship what this process has recorded and give its lease back, where it has answered anything."""
    if _process is not None:
        _process.stop()


def _count_joined(counts: Counts, **_: object) -> None:
    """Count what rows that this process saved said of predictions."""
    if _process is not None:
        for (model, result), labels in counts.items():
            _process.count_labels(model, result, labels)


row_joined.connect(_count_joined)


def count_label(model: str, result: str) -> None:
    """Count what became of a label, where this process counts anything yet."""
    if _process is not None:
        _process.count_labels(model, result, 1)


def _forget_after_fork() -> None:
    """A forked child is another process: it takes a lease and a spool segment of its own with its first prediction."""
    global _process, _starting
    _starting = threading.Lock()
    if _process is not None:
        _process.abandon_after_fork()
        _process = None


os.register_at_fork(after_in_child=_forget_after_fork)
