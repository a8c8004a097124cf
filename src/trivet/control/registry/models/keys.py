"""API keys: the credentials of machines."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connections, models, router, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from trivet.control.registry.models.events import ACTOR_LENGTH

USE_NOTED_SECONDS = 60  # a key's last use is written at most once in so long


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Many keys."""

    def usable(self, now: datetime | None = None) -> ApiKeyQuerySet:
        """Return those neither revoked nor expired, whose owner, where they have one, was not disabled."""
        return self.filter(revoked_at=None).exclude(expires_at__lte=now or timezone.now()).exclude(_owner_is_gone())

    def orphaned(self) -> ApiKeyQuerySet:
        """Return those not yet revoked whose owner was disabled or deleted."""
        return self.filter(_owner_is_gone(), revoked_at=None)

    def note_use(self, ids: Collection[str]) -> None:
        """Write that these keys were used now; those of which that was written within the last minute stay as they are.

        What another process writes just now is left to it: of two that wait for each other's rows one would fail.
        """
        stale = Q(last_used_at=None) | Q(last_used_at__lt=Now() - timedelta(seconds=USE_NOTED_SECONDS))
        used = self.filter(stale, pk__in=ids)
        database = router.db_for_write(self.model)
        if not connections[database].features.has_select_for_update_skip_locked:
            used.update(last_used_at=Now())
            return
        with transaction.atomic(using=database):
            mine = list(used.select_for_update(skip_locked=True).values_list("pk", flat=True))
            self.filter(pk__in=mine).update(last_used_at=Now())


def _owner_is_gone() -> Q:
    """Return what holds for a key whose owner was deleted, or disabled where the site's users can be."""
    deleted = Q(owner=None) & ~Q(owner_name="")
    names = {field.name for field in get_user_model()._meta.get_fields()}
    return deleted | Q(owner__is_active=False) if "is_active" in names else deleted


class ApiKey(models.Model):
    """One row is a machine's credential; only the keyed hash of it is stored."""

    id = models.CharField(primary_key=True, max_length=8)
    name = models.CharField(max_length=100)
    hash = models.BinaryField()
    previous_hash = models.BinaryField(null=True, help_text=_("Of the secret before, while that is valid as well."))
    previous_until = models.DateTimeField(null=True)
    grants = models.JSONField(help_text=_("Model name, or *, to a list of verbs."))
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        help_text=_("Whose key it is: it ends with them."),
    )
    owner_name = models.CharField(max_length=ACTOR_LENGTH, blank=True, default="", db_default="")
    limits = models.JSONField(null=True, help_text=_("Model name, or *, to how often it may be asked, such as 100/s."))
    created_by = models.CharField(max_length=ACTOR_LENGTH)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ["name", "created_at"]
        permissions = [("manage_keys", _("Can issue and revoke API keys"))]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def is_usable(self) -> bool:
        """True while it is neither revoked nor expired, and its owner, where it has one, was not disabled."""
        is_over = self.revoked_at is not None or (self.expires_at is not None and self.expires_at <= timezone.now())
        owner_is_there = self.owner.is_active if self.owner is not None else not self.owner_name
        return bool(owner_is_there and not is_over)
