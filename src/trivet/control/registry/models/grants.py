"""Grants: what a user or a group may do with one model."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from trivet.control.registry.models.registered_models import RegisteredModel


class GrantQuerySet(models.QuerySet["Grant"]):
    """Many grants."""

    def of_person(self, user: Any) -> GrantQuerySet:
        """Return those that hold for a user of the project: their own, and those of their groups."""
        mine = Q(user=user.pk)
        return self.filter(mine | Q(group__in=user.groups.all()) if hasattr(user, "groups") else mine)


class Grant(models.Model):
    """One row lets a user or a group do some things with one model; a Django permission lets them with all.

    An API key's grants stand in its own row. Deleting the user, the group or the model deletes the grant.
    """

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="grants")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="+")
    group = models.ForeignKey("auth.Group", on_delete=models.CASCADE, null=True, related_name="+")
    verbs = models.JSONField(help_text=_("What they may do with it."))

    objects = GrantQuerySet.as_manager()

    class Meta:
        verbose_name = _("grant")
        verbose_name_plural = _("grants")
        ordering = ["model", "pk"]
        permissions = [("manage_grants", _("Can say who may do what with a model"))]
        constraints = [
            models.UniqueConstraint(fields=["model", "user"], name="trivet_grant_of_user_once"),
            models.UniqueConstraint(fields=["model", "group"], name="trivet_grant_of_group_once"),
            models.CheckConstraint(
                condition=Q(user__isnull=False, group__isnull=True) | Q(user__isnull=True, group__isnull=False),
                name="trivet_grant_to_one_principal",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.principal}: {', '.join(self.verbs)}"

    @property
    def principal(self) -> str:
        """Whose it is, as `user:NAME` or `group:NAME`."""
        if self.group is not None:
            return f"group:{self.group.name}"
        return f"user:{self.user.get_username()}" if self.user is not None else ""
