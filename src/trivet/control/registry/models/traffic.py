"""Who answers: the routes of a model, and the shadows that run beside them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from trivet.control.registry.models.registered_models import RegisteredModel
from trivet.control.registry.models.versions import ModelVersion


class Route(models.Model):
    """One row is one version's share of a model's traffic, in percent; a model's shares add to 100."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="routes")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="routes")
    weight = models.PositiveSmallIntegerField()

    class Meta:
        verbose_name = _("route")
        verbose_name_plural = _("routes")
        ordering = ["model", "version"]
        constraints = [
            models.UniqueConstraint(fields=["model", "version"], name="trivet_route_once"),
            models.CheckConstraint(condition=Q(weight__gte=1, weight__lte=100), name="trivet_route_weight_percent"),
        ]

    def __str__(self) -> str:
        return f"{self.weight} %"


class Shadow(models.Model):
    """One row is a version that runs a share of a model's requests, in percent, and never answers."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="shadows")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="shadows")
    weight = models.PositiveSmallIntegerField()

    class Meta:
        verbose_name = _("shadow")
        verbose_name_plural = _("shadows")
        ordering = ["model", "version"]
        constraints = [
            models.UniqueConstraint(fields=["model", "version"], name="trivet_shadow_once"),
            models.CheckConstraint(condition=Q(weight__gte=1, weight__lte=100), name="trivet_shadow_weight_percent"),
        ]

    def __str__(self) -> str:
        return f"{self.weight} %"
