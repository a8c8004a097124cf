"""Retention and erasure: what is taken out of the log, each time with an Event, so that the chain still holds.

Each takes an `actor` who may `prune`, and writes one Event that says how much went, not what. A plan says the same before,
and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import router, transaction
from django.db.models import Count, Sum
from django.utils import timezone

from trivet import conf
from trivet.control.predictions.auditing import FORGET, PRUNE_LOG
from trivet.control.predictions.forgetting import FORGOTTEN, NOTHING_SAID, digest_of
from trivet.control.predictions.models import (
    ForgottenEntity,
    Label,
    LabelState,
    LogHead,
    LogLink,
    Prediction,
    PredictionQuerySet,
)
from trivet.control.registry.actions.change import changing
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.models import Event
from trivet.core.errors import InvalidRequest

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor

LINKS_AT_ONCE, ROWS_AT_ONCE = 200, 200_000  # in one transaction: about as many rows
ERASED = {
    "inputs": None,
    "parameters": None,
    "inputs_sha256": "",
    "inputs_digest": "",
    "entity_key": "",
    "caller_id": "",
    "salt": "",
}


def rows_of_entity(entity_key: str) -> PredictionQuerySet:
    """Return the rows of the log that are about `entity_key`."""
    if not entity_key:
        raise InvalidRequest("an entity key is a text that is not empty.", code="BAD_PARAMETER")
    return Prediction.objects.using(_database()).filter(entity_key=entity_key)


def forget(entity_key: str, *, actor: Actor, reason: str = "") -> Event:
    """Erase inputs, parameters and entity of every row about `entity_key`; the rows, their answers and labels stay.

    What a spool still holds of them is shipped without, from now on. The Event names the entity by a keyed digest only.
    """
    actor = permitted(actor, "prune", to=FORGET)
    rows, database = rows_of_entity(entity_key), _database()
    digest = digest_of(entity_key, conf.peppers()[0])
    with changing() as change, transaction.atomic(using=database):
        heads = LogHead.objects.using(database)
        head = heads.lock()
        sealed = rows.filter(link__isnull=False).update(**ERASED, erased_by=change.generation)
        older = rows.update(**ERASED)
        _forget_labels(entity_key, database)
        heads.filter(pk=head.pk).update(erasures=head.erasures + 1)
        ForgottenEntity.objects.using(database).update_or_create(
            pk=digest, defaults={"at": timezone.now(), "generation": change.generation}
        )
        after = {"entity": digest, "rows": sealed, "older": older}
        return change.record(FORGET, actor=actor, after=after, reason=reason)


def _forget_labels(entity_key: str, database: str) -> None:
    """Erase the entity of labels; of those that found no prediction, the value as well: it stays with no answer."""
    labels = Label.objects.using(database).filter(entity_key=entity_key)
    nowhere = labels.exclude(state=LabelState.APPLIED)
    nowhere.update(state=LabelState.REFUSED, reason=FORGOTTEN, value=NOTHING_SAID, entity_key="")
    labels.update(entity_key="")


def retention_ends() -> datetime | None:
    """Return before when predictions are no longer kept, by TRIVET_LOG_RETENTION_DAYS; None where they are for ever."""
    days = conf.LOG_RETENTION_DAYS()
    return None if days is None else timezone.now() - timedelta(days=days)


def beyond_retention(before: datetime) -> tuple[int, int]:
    """Return how many rows of whole links are from before that, and how many that are older than the chain."""
    links = LogLink.objects.using(_database()).filter(until__lt=before, pruned_by__isnull=True)
    unsealed = Prediction.objects.using(_database()).filter(link__isnull=True, made_at__lt=before)
    return links.aggregate(rows=Sum("rows"))["rows"] or 0, unsealed.count()


def prune_log(before: datetime, *, actor: Actor, reason: str = "") -> list[Event]:
    """Delete the rows of each link whose predictions are all from before that, and rows older than the chain; links stay.

    A large log goes in several transactions, each with its Event: nobody waits long for the lock.
    """
    actor = permitted(actor, "prune", to=PRUNE_LOG)
    events: list[Event] = []
    while sum(beyond_retention(before)):
        events.append(_prune_some(before, actor=actor, reason=reason))
    return events


def _prune_some(before: datetime, *, actor: str, reason: str) -> Event:
    database = _database()
    with changing() as change, transaction.atomic(using=database):
        LogHead.objects.using(database).lock()
        links, predictions = LogLink.objects.using(database), Prediction.objects.using(database)
        beyond = links.filter(until__lt=before, pruned_by__isnull=True).order_by("number")[:LINKS_AT_ONCE]
        gone = 0
        erased: Counter[int] = Counter()
        for link in beyond:
            of_link = predictions.filter(pk__gte=link.first_id, pk__lte=link.last_id, link=link.number)
            erased += _erased(of_link, link)
            of_link.delete()
            gone += link.rows
        links.filter(pk__in=[link.pk for link in beyond]).update(pruned_by=change.generation)
        older = predictions.filter(link__isnull=True, made_at__lt=before).order_by("pk")
        ids = list(older.values_list("pk", flat=True)[:ROWS_AT_ONCE])
        unsealed = older.order_by().filter(pk__lte=ids[-1]).delete()[0] if ids else 0
        after = {"before": before.isoformat(), "rows": gone, "older": unsealed}
        if erased:
            after["erased"] = {str(generation): rows for generation, rows in erased.items()}
        return change.record(PRUNE_LOG, actor=actor, after=after, reason=reason)


def _erased(rows: PredictionQuerySet, link: LogLink) -> Counter[int]:
    """Return in the name of which Events rows of `link` were erased before, and how many: none others may take their place."""
    forgotten = rows.filter(erased_by__isnull=False).order_by().values_list("erased_by")
    erased = Counter(dict(forgotten.annotate(rows=Count("pk"))))
    if link.inputs_erased_by is not None:
        erased[link.inputs_erased_by] += rows.filter(erased_by__isnull=True).exclude(inputs_digest="").count()
    return erased


def _database() -> str:
    return router.db_for_write(Prediction)
