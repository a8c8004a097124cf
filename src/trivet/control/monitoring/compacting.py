"""Compacting: minutes become hours and hours become days, by adding them, so what is kept stays exact and small."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import reduce
from operator import add
from typing import Any, NamedTuple

from django.db import router, transaction
from django.db.models import QuerySet

from trivet.control.monitoring.models import Grain, LabelProfile, Profile
from trivet.control.monitoring.packing import Payload, pack, pack_labels, total_of_labels, unpack, unpack_labels
from trivet.control.predictions.models import LogHead
from trivet.core.errors import TrivetError
from trivet.core.profile.labels import LABEL_TABLE_FORMAT
from trivet.core.profile.profile import PROFILE_FORMAT

logger = logging.getLogger(__name__)

KEPT = {Grain.MINUTE: timedelta(hours=48), Grain.HOUR: timedelta(days=90)}
LABELS_KEPT = {Grain.HOUR: timedelta(days=35)}  # each hour has six, and only some intervals go by hours
COARSER = {Grain.MINUTE: Grain.HOUR, Grain.HOUR: Grain.DAY}
LENGTH = {Grain.MINUTE: timedelta(minutes=1), Grain.HOUR: timedelta(hours=1), Grain.DAY: timedelta(days=1)}
WHOSE = ("version_id", "arm", "segment", "shard")


class _Kind(NamedTuple):
    """What is compacted: a table, by what its rows are told apart besides their time, and how their payloads add up.

    `summed` takes payloads, one at least, and returns of how many they are, and their sum as a payload.
    """

    table: type[Profile | LabelProfile]
    whose: tuple[str, ...]
    size: str  # the column of how many
    summed: Callable[[Sequence[Payload]], tuple[int, bytes]]
    format: int
    kept: Mapping[Grain, timedelta]


def compact(now: datetime) -> Iterator[int]:
    """Add up what has become old by `now`, one hour or day at a step; yield after each how many profiles it took.

    Profiles of labels are by the hour from the beginning. Each step is one transaction, in which nothing is shipped and no
    label applied: after a kill the counts are the same as before or after it.
    """
    for kind in (_PROFILES, _LABELS):
        for grain, kept in kind.kept.items():
            yield from _compact(kind, Grain(grain), begin_of(now - kept, COARSER[grain]))


def _compact(kind: _Kind, grain: Grain, before: datetime) -> Iterator[int]:
    left: set[int] = set()  # of which one cannot be read: they stay, and are told of each time
    while True:
        old = kind.table.objects.filter(grain=grain, start__lt=before)
        first = old.exclude(pk__in=left).order_by("start").values("start", *kind.whose).first()
        if first is None:
            return
        parts = _parts(kind, grain, first)
        try:
            yield _step(kind, parts, COARSER[grain], first)
        except TrivetError as error:
            left |= set(parts.values_list("pk", flat=True))
            logger.warning("event=not_compacted version=%d start=%s: %s", first["version_id"], first["start"], error)


def _parts(kind: _Kind, grain: Grain, first: dict[str, Any]) -> QuerySet[Profile] | QuerySet[LabelProfile]:
    """Return what goes into the same coarser profile as `first`."""
    begin = begin_of(first["start"], COARSER[grain])
    whose = {name: first[name] for name in kind.whose}
    return kind.table.objects.filter(grain=grain, start__gte=begin, start__lt=begin + LENGTH[COARSER[grain]], **whose)


def _step(kind: _Kind, parts: QuerySet[Profile] | QuerySet[LabelProfile], coarser: Grain, first: dict[str, Any]) -> int:
    """Add `parts` to the coarser profile of the same version, arm, segment and machine as `first`; return how many they were."""
    begin = begin_of(first["start"], coarser)
    whose = {name: first[name] for name in kind.whose}
    with transaction.atomic(using=router.db_for_write(kind.table)):
        LogHead.objects.lock()  # whoever ships or labels adds to the same rows
        there = kind.table.objects.filter(grain=coarser, start=begin, **whose).first()
        found = list(parts.values_list("pk", "payload"))
        payloads = [payload for _, payload in found]
        if there is not None:
            payloads.append(there.payload)
        size, payload = kind.summed(payloads)
        told = {kind.size: size, "payload": payload}
        if there is None:
            kind.table.objects.create(grain=coarser, start=begin, **whose, **told, format=kind.format)
        else:
            kind.table.objects.filter(pk=there.pk).update(**told)
        kind.table.objects.filter(pk__in=[pk for pk, _ in found]).delete()
    return len(found)


def _profiles(payloads: Sequence[Payload]) -> tuple[int, bytes]:
    total = reduce(add, map(unpack, payloads))
    return total.rows, pack(total)


def _labels(payloads: Sequence[Payload]) -> tuple[int, bytes]:
    first = unpack_labels(payloads[0])
    total = total_of_labels(payloads, first - first)
    return total.labels, pack_labels(total)


_PROFILES = _Kind(Profile, WHOSE, "rows", _profiles, PROFILE_FORMAT, KEPT)
_LABELS = _Kind(LabelProfile, (*WHOSE, "age_class"), "labels", _labels, LABEL_TABLE_FORMAT, LABELS_KEPT)


def begin_of(moment: datetime, grain: Grain) -> datetime:
    """Return when the minute, hour or day began that `moment` is in."""
    if grain == Grain.DAY:
        moment = moment.replace(hour=0)
    if grain != Grain.MINUTE:
        moment = moment.replace(minute=0)
    return moment.replace(second=0, microsecond=0)
