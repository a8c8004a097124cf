"""Chores: what a keeper does now and then, a step at a time, so that what is to be shipped never waits for all of it."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from django.db import DataError, Error as DatabaseFailure, IntegrityError
from django.utils import timezone

from trivet import conf
from trivet.control.monitoring.alerts import wake_alerts
from trivet.control.monitoring.compacting import compact
from trivet.control.monitoring.gauges import Gauge, performances, states
from trivet.control.monitoring.judging import judge
from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.monitoring.live_references import make_live_references
from trivet.control.monitoring.past import thin
from trivet.control.monitoring.telling import Telling
from trivet.control.monitoring.watching import watch
from trivet.control.predictions.aging import erase_inputs, inputs_retention_ends
from trivet.control.predictions.labelling import Counts, retry_waiting
from trivet.control.predictions.refused_labels import KEPT, forget_refused_labels
from trivet.control.registry.storage import make_private
from trivet.core.names import system_user
from trivet.dataplane.metrics.tally import Counting
from trivet.features.joining import join_all, outcome_models

logger = logging.getLogger(__name__)

FIRST_AFTER_SECONDS = 60.0  # of the keeper's life
ERASE_SECONDS = 6 * 3600.0  # between looks for inputs that have grown too old
COMPACT_SECONDS = 600.0
JOIN_SECONDS = 24 * 3600.0  # between looks through the tables that an Outcome names
JOIN_AGAIN_SECONDS = 300.0  # after a look that failed, and twice as long after each further one, up to a day
RETRY_SECONDS = 6 * 3600.0  # between looks for the predictions of all labels that wait
WATCH_SECONDS = 60.0
GAUGE_SECONDS = 60.0
PERFORMANCE_SECONDS = 600.0  # a month of a version is read
REFERENCE_SECONDS = 3600.0  # between looks for versions whose first week is over

WATCHING_LOCK = "watching.lock"
AGAIN_SECONDS = 0.1  # between looks whether another's turn is over

Begin = Callable[[], Iterator[object]]


class Chore:
    """Begins anew every `seconds`, and goes on by one step each time it is asked to."""

    def __init__(self, seconds: float, begin: Begin) -> None:
        """Begin for the first time a minute from now."""
        self._seconds = seconds
        self._begin = begin
        self._at = time.monotonic() + min(seconds, FIRST_AFTER_SECONDS)
        self._running: Iterator[object] | None = None

    def step(self) -> None:
        """Do a step, where it is time. What was begun goes on, whenever that is.

        What fails is logged and begun anew at the next time: shipping goes on. A database that is away is raised.
        """
        try:
            if self._running is None and time.monotonic() >= self._at:
                self._at = time.monotonic() + self._seconds
                self._running = self._begin()
            if self._running is not None and next(self._running, None) is None:
                self._running = None
        except Exception as error:
            self._running = None
            if isinstance(error, DatabaseFailure) and not isinstance(error, DataError | IntegrityError):
                raise
            logger.exception("event=chore_failed")


def chores(tell: Callable[[Counts], object], counting: Counting) -> list[Chore]:
    """Return what a keeper has to do besides shipping; `tell` hears what became of labels that waited.

    How live models are is told to `counting`.
    """
    outcomes = _Outcomes(tell)
    return [
        Chore(ERASE_SECONDS, _erase),
        Chore(COMPACT_SECONDS, _compact),
        Chore(RETRY_SECONDS, partial(_retry, tell)),
        Chore(WATCH_SECONDS, partial(_watch, outcomes.joined)),
        Chore(WATCH_SECONDS, partial(_tell, Telling())),
        Chore(REFERENCE_SECONDS, _make_references),
        Chore(GAUGE_SECONDS, _Gauges(counting, states)),
        Chore(PERFORMANCE_SECONDS, _Gauges(counting, performances)),
        Chore(RETRY_SECONDS, _forget_labels),
        Chore(JOIN_AGAIN_SECONDS, outcomes),
    ]


def _erase() -> Iterator[object]:
    before = inputs_retention_ends()
    return erase_inputs(before, actor=f"process:{system_user()}") if before is not None else iter(())


def _retry(tell: Callable[[Counts], object]) -> Iterator[object]:
    for counts in retry_waiting(beside=LabelFolding()):
        tell(counts)
        yield counts


def _forget_labels() -> Iterator[object]:
    return forget_refused_labels(timezone.now() - KEPT)


def _compact() -> Iterator[object]:
    yield from compact(timezone.now())
    yield from thin(timezone.now())


def _make_references() -> Iterator[object]:
    return make_live_references(timezone.now())


@contextmanager
def watching_alone(patience: float = 0.0) -> Iterator[bool]:
    """Let one process of this machine watch and judge at a time: True inside the block where this is the one.

    Another's turn is waited for at most `patience` seconds. Whoever watches by another clock holds it for as long.
    """
    make_private(conf.HOME())
    descriptor = os.open(conf.HOME() / WATCHING_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _is_locked(descriptor, time.monotonic() + patience)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(AGAIN_SECONDS)
        else:
            return True


class _Outcomes:
    """Says what the project's tables say of predictions, once a day, and remembers until when those of each model were seen."""

    def __init__(self, tell: Callable[[Counts], object]) -> None:
        self._tell = tell
        self._due: dict[str, float] = {}  # by model, on the monotonic clock
        self._pauses: dict[str, float] = {}  # of models whose last look failed
        self.joined: dict[str, datetime] = {}

    def __call__(self) -> Iterator[object]:
        for model in outcome_models():
            if time.monotonic() >= self._due.get(model, 0.0):
                yield from self._join(model)

    def _join(self, model: str) -> Iterator[object]:
        now, began = timezone.now(), time.monotonic()
        self._pause(model, began)  # where it is broken off
        for step in join_all(now, model=model):
            self._tell(step.counts)
            if step.is_over:
                self.joined[model] = now
                self._due[model] = began + JOIN_SECONDS
                self._pauses.pop(model, None)
            yield step

    def _pause(self, model: str, began: float) -> None:
        pause = self._pauses[model] = min(2 * self._pauses.get(model, JOIN_AGAIN_SECONDS / 2), JOIN_SECONDS)
        self._due[model] = began + pause


def _watch(joined: Mapping[str, datetime]) -> Iterator[object]:
    """Judge windows that are over and days whose labels have matured, unless somebody else does."""
    now = timezone.now()
    with watching_alone() as is_alone:
        if is_alone:
            yield from watch(now)
            yield from judge(now, joined=joined)


def _tell(telling: Telling) -> Iterator[object]:
    """Tell who is to be told, also of alerts whose sleep is over."""
    now = timezone.now()
    wake_alerts(now)
    yield from telling(now)


class _Gauges:
    """Tells gauges, and takes back those that are not told any more."""

    def __init__(self, counting: Counting, gauges: Callable[[datetime], Iterator[list[Gauge]]]) -> None:
        self._counting = counting
        self._gauges = gauges
        self._told: set[tuple[str, ...]] = set()

    def __call__(self) -> Iterator[object]:
        told: set[tuple[str, ...]] = set()
        for some in self._gauges(timezone.now()):
            for name, labels, value in some:
                self._counting.value(name, *labels, value=value)
                told.add((name, *labels))
            yield some
        for key in self._told - told:
            self._counting.value(*key, value=math.nan)
        self._told = told
