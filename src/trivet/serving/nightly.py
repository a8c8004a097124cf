"""Nightly columns: tables whose PredictedFields are written anew each night, by a process of their own.

A keeper loads no model, so it begins `trivet score` and waits for its end. One that is killed goes on where it was the next
time.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Model
from django.utils import timezone

from trivet.control.scoring.models import RunState, ScoringRun
from trivet.features.predicted_field import NIGHTLY, PredictedField, columns_of_models
from trivet.features.predictor import max_age_of
from trivet.serving.chores import Chore

logger = logging.getLogger(__name__)

LOOK_SECONDS = 600.0  # between two looks whether it is night, and after a run that failed
NIGHT = range(1, 5)  # hours by the project's TIME_ZONE
DONE = 0  # and 1 where some rows were refused, 3 where another machine has begun it
LATEST = timedelta(hours=36)  # since the last run, after which it is done by day: the machine may be off at night


def nightly_columns() -> Chore:
    """Return what a keeper has to do for columns with `refresh="nightly"`."""
    return Chore(LOOK_SECONDS, _write_due)


def is_due(last: datetime | None, now: datetime) -> bool:
    """Return whether a table is to be scored, of which the last run ended at `last`: once a night."""
    local = _local(now)
    is_night = local.hour in NIGHT
    if last is None:
        return is_night  # the first time by day is for who adds the column: `trivet score`
    begun = local.replace(hour=NIGHT.start, minute=0, second=0, microsecond=0)
    return (is_night and _local(last) < begun) or now - last > LATEST


def _local(moment: datetime) -> datetime:
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment


def _write_due() -> Iterator[object]:
    for table, field in columns_of_models():
        if field.refresh == NIGHTLY and is_due(_last(table, field), timezone.now()):
            yield from _written(table, field)


def _last(table: type[Model], field: PredictedField) -> datetime | None:
    ended = ScoringRun.objects.into(table._meta.label_lower, field.name).filter(state=RunState.FINISHED)
    return ended.order_by("-ended_at").values_list("ended_at", flat=True).first()


def _written(table: type[Model], field: PredictedField) -> Iterator[object]:
    """Have the table scored; a step is a look whether that has ended."""
    words = ["score", field.predictor, table._meta.label, "--to", field.name, "--apply", "--quiet"]
    words += [] if max_age_of(field.predictor) else ["--all"]  # features change where the row does not
    process = subprocess.Popen(  # noqa: S603  (our own verb)
        [sys.executable, "-m", "trivet", *words, "--supervisor", str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None:
        yield process
    level = logging.INFO if process.returncode == DONE else logging.WARNING
    logger.log(
        level, "event=nightly_column table=%s column=%s exit=%d", table._meta.label, field.name, process.returncode
    )
