"""Saves: a row that is saved and committed joins the predictions about it. Whoever saves it notices nothing, but the time."""

from __future__ import annotations

import logging
from functools import lru_cache, partial
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.db.models.signals import post_save
from django.db.transaction import TransactionManagementError
from django.dispatch import Signal

from trivet.features.joining import Join, joins
from trivet.features.predictor import Predictor, predictors

logger = logging.getLogger(__name__)

row_joined = Signal()  # `counts`, what became of labels: for whoever counts them in this process


def watch_rows() -> None:
    """Follow what is saved from now on."""
    post_save.connect(_saved, dispatch_uid="trivet.outcomes.saved")


def _saved(sender: type[Model], instance: Model, raw: bool, using: str, **_: Any) -> None:
    if raw or not predictors:
        return
    for join in _joins_of(sender, tuple(predictors)):
        try:
            transaction.on_commit(partial(_join, join, join.source.entity_key(instance), using), using=using)
        except (
            TransactionManagementError
        ):  # autocommit is off: when it is committed nobody knows, and the night sees it
            return


def _join(join: Join, entity_key: str, using: str) -> None:
    try:
        counts = join.row(entity_key, using)
    except Exception:  # whatever it is: the row was saved, and the night sees it
        logger.exception("event=outcome_not_joined model=%s", join.model)
    else:
        if counts:
            row_joined.send_robust(sender=Join, counts=counts)


@lru_cache(maxsize=1000)
def _joins_of(sender: type[Model], _of: tuple[type[Predictor], ...]) -> tuple[Join, ...]:
    """Return whom a saved row of `sender` concerns, which may be a proxy or a child of their table."""
    family = {sender._meta.concrete_model, *sender._meta.get_parent_list()}
    return tuple(join for join in joins() if join.source.table._meta.concrete_model in family)
