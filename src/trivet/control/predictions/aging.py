"""Inputs that are older than they are to be kept: the keeper erases them, in small batches; the answers stay.

Of a row, inputs, parameters and the salt go; entity and the caller's id stay, so labels still find it and it can be forgotten.
An Event comes first and says of how many rows; each transaction then takes the rows of some links, and marks them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from django.db import connections, router, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from trivet import conf
from trivet.control.predictions.auditing import ERASE_INPUTS
from trivet.control.predictions.models import LogHead, LogLink, Prediction, PredictionQuerySet
from trivet.control.predictions.sealing import Private, inputs_digest, salt_without_inputs
from trivet.control.registry.actions.change import changing

LINKS_AN_EVENT = 5000
ROWS_AT_ONCE = 1000  # of one transaction, about: those who ship wait for it
HAS_INPUTS = Q(inputs__isnull=False) | Q(parameters__isnull=False) | ~Q(inputs_sha256="")
_PRIVATE = ("entity_key", "caller_id", "inputs_sha256", "inputs", "parameters")


def inputs_retention_ends() -> datetime | None:
    """Return before when inputs are no longer kept, by TRIVET_INPUT_RETENTION_DAYS; None where they are for ever."""
    days = conf.INPUT_RETENTION_DAYS()
    return None if days is None else timezone.now() - timedelta(days=days)


def erase_inputs(before: datetime, *, actor: str) -> Iterator[int]:
    """Erase the inputs of each link whose predictions are all from before that, and of rows older than the chain.

    Yields after each transaction of some thousand rows how many it was; whoever stops asking stops it, and what is left is
    done the next time. Called by the keeper.
    """
    database = router.db_for_write(Prediction)
    while True:
        links, generation = _announce(before, database, actor)
        if generation is None:
            return
        for some in _some_rows_each(links):
            yield _erase_in_links([link.pk for link in some], generation, database)
        while older := _erase_older(before, database):
            yield older


def _announce(before: datetime, database: str, actor: str) -> tuple[list[LogLink], int | None]:
    """Write the Event of what is to be erased; return the links, and its generation, None where there is nothing."""
    with changing() as change, transaction.atomic(using=database):
        links = list(_due(before, database).order_by("number")[:LINKS_AN_EVENT])
        older = _older(before, database).count()
        if not links and not older:
            return [], None
        after = {"before": before.isoformat(), "rows": sum(link.rows for link in links), "older": older}
        change.record(ERASE_INPUTS, actor=actor, after=after, reason="older than TRIVET_INPUT_RETENTION_DAYS")
        return links, change.generation


def _due(before: datetime, database: str) -> QuerySet[LogLink]:
    links = LogLink.objects.using(database)
    return links.filter(until__lt=before, pruned_by__isnull=True, inputs_erased_by__isnull=True)


def _older(before: datetime, database: str) -> PredictionQuerySet:
    """Return rows from before the chain that have inputs; their ids are before those of the first link."""
    rows = Prediction.objects.using(database).filter(HAS_INPUTS, link__isnull=True, made_at__lt=before)
    first = LogLink.objects.using(database).order_by("number").values_list("first_id", flat=True).first()
    return rows if first is None else rows.filter(pk__lt=first)


def _some_rows_each(links: Iterable[LogLink]) -> Iterator[list[LogLink]]:
    some: list[LogLink] = []
    for link in links:
        some.append(link)
        if sum(one.rows for one in some) >= ROWS_AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _erase_in_links(numbers: list[int], generation: int, database: str) -> int:
    with transaction.atomic(using=database):
        LogHead.objects.using(database).lock()
        links = LogLink.objects.using(database).filter(pk__in=numbers, pruned_by=None, inputs_erased_by=None)
        spans = list(links.values_list("pk", "first_id", "last_id"))
        if not spans:  # pruned meanwhile, or another keeper was here
            return 0
        due, firsts, lasts = zip(*spans, strict=True)
        rows = Prediction.objects.using(database).filter(pk__gte=min(firsts), pk__lte=max(lasts), link__in=due)
        erased = _erase_rows(rows, database)
        links.update(inputs_erased_by=generation)
        return erased


def _erase_rows(rows: PredictionQuerySet, database: str) -> int:
    """Erase the inputs of sealed rows, and leave what the chain needs in their place; those that were forgotten have none."""
    left = [
        (salt_without_inputs(salt), inputs_digest(salt, Private(*private)), pk)
        for pk, salt, *private in rows.exclude(salt="").values_list("pk", "salt", *_PRIVATE)
    ]
    connection = connections[database]
    table = connection.ops.quote_name(Prediction._meta.db_table)
    gone = "inputs = NULL, parameters = NULL, inputs_sha256 = ''"
    with connection.cursor() as cursor:
        cursor.executemany(f"UPDATE {table} SET {gone}, salt = %s, inputs_digest = %s WHERE id = %s", left)  # noqa: S608
    return len(left)


def _erase_older(before: datetime, database: str) -> int:
    with transaction.atomic(using=database):
        LogHead.objects.using(database).lock()
        ids = list(_older(before, database).order_by("pk").values_list("pk", flat=True)[:ROWS_AT_ONCE])
        rows = Prediction.objects.using(database).filter(pk__in=ids)
        return rows.update(inputs=None, parameters=None, inputs_sha256="")
