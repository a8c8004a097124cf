"""Labels that came to nothing: those that were refused, or whose prediction never came, are deleted after some weeks.

They were never counted, and whoever sent them could read the reason for as long. Those that were applied stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import router, transaction
from django.utils import timezone

from trivet.control.predictions.labelling import WAITS
from trivet.control.predictions.models import Label, LabelState, LogHead

KEPT = timedelta(days=30)  # chosen: as long as somebody may ask why
AT_ONCE = 500  # of one transaction: those who ship wait for it


def forget_refused_labels(before: datetime) -> Iterator[int]:
    """Delete labels that came before that and were refused, or wait for longer than any does; yield how many, a batch each.

    Whoever stops asking stops it, and what is left is done the next time. Called by the keeper with `KEPT` ago.
    """
    database = router.db_for_write(Label)
    ends = {LabelState.REFUSED: before, LabelState.WAITING: min(before, timezone.now() - WAITS)}
    for model in _models(database):
        for state, end in ends.items():
            while deleted := _delete(model, state, end, database):
                yield deleted


def _models(database: str) -> Iterator[str]:
    """Yield each model that has labels, also one that is gone; a look into the index each."""
    names = Label.objects.using(database).order_by("model").values_list("model", flat=True)
    name = names.first()
    while name is not None:
        yield name
        name = names.filter(model__gt=name).first()


def _delete(model: str, state: LabelState, end: datetime, database: str) -> int:
    labels = Label.objects.using(database).filter(state=state)
    old = list(labels.filter(model=model, received_at__lt=end).order_by("received_at").values_list("pk")[:AT_ONCE])
    if not old:
        return 0
    with transaction.atomic(using=database):
        LogHead.objects.using(database).lock()  # so that none is applied meanwhile
        deleted, _ = labels.filter(pk__in=[pk for (pk,) in old]).delete()
    return deleted
