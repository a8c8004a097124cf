"""Keys end with their owners: a user who is disabled or deleted takes their keys along.

Django's signals tell of it at once; what they do not tell (`QuerySet.update`, another program) every process that
answers looks for with its lease.
"""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from trivet.control.registry import actions
from trivet.core.names import system_user

logger = logging.getLogger(__name__)


def watch_owners() -> None:
    """Follow the users of the project from now on."""
    post_save.connect(_saved, sender=get_user_model(), dispatch_uid="trivet.owners.saved")
    post_delete.connect(_deleted, sender=get_user_model(), dispatch_uid="trivet.owners.deleted")


def _saved(instance: Any, using: str, **_: Any) -> None:
    if not instance.is_active:
        transaction.on_commit(_end_keys, using=using, robust=True)


def _deleted(using: str, **_: Any) -> None:
    transaction.on_commit(_end_keys, using=using, robust=True)


def _end_keys() -> None:
    for key in actions.revoke_orphaned_keys(actor=f"process:{system_user()}"):
        logger.info("event=key_revoked key=%s owner_is_gone=1", key.pk)
