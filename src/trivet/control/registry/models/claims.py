"""Claims to bundles, by pushes under way."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class BundleClaim(models.Model):
    """One row is a push under way: the bundle it is about to register may be in the storage already, and is not pruned."""

    digest = models.CharField(max_length=64, db_index=True)
    at = models.DateTimeField(help_text=_("By the database's clock."))

    class Meta:
        verbose_name = _("claim to a bundle")
        verbose_name_plural = _("claims to bundles")

    def __str__(self) -> str:
        return self.digest[:12]
