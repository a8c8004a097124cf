"""Groups that suit most sites: suggested, made when somebody asks for them, and theirs from then on."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import router, transaction

_VIEWERS = ("view_registeredmodel", "explain")
_DATA_SCIENTISTS = (*_VIEWERS, "predict", "push", "retrain", "label")
_APPROVERS = (*_DATA_SCIENTISTS, "promote", "approve")
_OPERATORS = (*_APPROVERS, "manage_keys", "manage_grants", "prune")
_TABLES = (
    "registeredmodel",
    "modelversion",
    "alias",
    "route",
    "shadow",
    "goldencaserow",
    "event",
    "apikey",
    "grant",
    "proposal",
)  # fmt: skip  (a row)

SUGGESTED_GROUPS: dict[str, tuple[str, ...]] = {
    "Trivet viewers": _VIEWERS,
    "Trivet data scientists": _DATA_SCIENTISTS,
    "Trivet approvers": _APPROVERS,
    "Trivet operators": _OPERATORS,
    "Trivet auditors": (*(f"view_{table}" for table in _TABLES), "view_predictions", "view_inputs"),
}
"""The groups, and their permissions of the app `trivet`. Auditors read everything and change nothing."""


def make_suggested_groups(app_config: Any) -> list[str]:
    """Make those of the suggested groups that are not there, and return their names; one that is there stays as it is."""
    database = router.db_for_write(Group)
    create_permissions(app_config, verbosity=0, using=database)  # which `migrate` does after its last step
    made = []
    with transaction.atomic(using=database):
        for name, codenames in SUGGESTED_GROUPS.items():
            group, is_new = Group.objects.using(database).get_or_create(name=name)
            if is_new:
                permissions = Permission.objects.using(database).filter(content_type__app_label="trivet")
                group.permissions.set(permissions.filter(codename__in=codenames))
                made.append(name)
    return made
