"""Columns that follow their rows: a row that was saved is asked about anew once that is committed, by a task.

Whoever saves it waits for no model: what is done after the commit is to enqueue.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.db.models.signals import post_save
from django.db.transaction import TransactionManagementError

from trivet.features.predicted_field import ON_COMMIT, PredictedField


def watch_columns() -> None:
    """Follow what is saved from now on."""
    post_save.connect(_saved, dispatch_uid="trivet.columns.saved")


def _saved(
    sender: type[Model], instance: Model, raw: bool, using: str, update_fields: frozenset[str] | None, **_: Any
) -> None:
    if raw:
        return
    for field in _columns_of(sender):
        if update_fields is not None and update_fields <= {field.name, field.version_name, field.at_name}:
            continue
        enqueue = partial(_enqueue, sender._meta.label, str(instance.pk), field.name, using)
        try:
            transaction.on_commit(enqueue, using=using, robust=True)  # a broker that is away harms no save
        except TransactionManagementError:  # autocommit is off: when it is committed nobody knows
            return


def _enqueue(table: str, key: str, field: str, using: str) -> None:
    from trivet.tasks import refresh  # Django 5.2 has no tasks without a package, of which W005 tells

    refresh.enqueue(table, key, field, using=using)


@lru_cache(maxsize=1000)
def _columns_of(model: type[Model]) -> tuple[PredictedField, ...]:
    """Return the columns of rows of `model`, its own and those of its parents, that follow what is saved."""
    fields: Any = model._meta.fields  # of which a plugin of types knows the built-in ones alone
    return tuple(field for field in fields if isinstance(field, PredictedField) and field.refresh == ON_COMMIT)
