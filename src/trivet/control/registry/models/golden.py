"""Golden cases: what any version of a model has to answer."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from trivet.control.registry.models.events import ACTOR_LENGTH
from trivet.control.registry.models.registered_models import RegisteredModel


class GoldenCaseQuerySet(models.QuerySet["GoldenCaseRow"]):
    """Many golden cases."""

    def in_force(self) -> GoldenCaseQuerySet:
        """Return those that nobody took away."""
        return self.filter(removed_at__isnull=True)


class GoldenCaseRow(models.Model):
    """One row is a golden case of a model: what any version has to answer to one row. Taken away, it stays on record."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="golden_cases")
    number = models.PositiveIntegerField()
    inputs = models.JSONField()
    expect = models.JSONField()
    note = models.TextField(blank=True, help_text=_("Why it must be so."))
    author = models.CharField(max_length=ACTOR_LENGTH)
    created_at = models.DateTimeField(default=timezone.now)
    removed_at = models.DateTimeField(null=True)

    objects = GoldenCaseQuerySet.as_manager()

    class Meta:
        verbose_name = _("golden case")
        verbose_name_plural = _("golden cases")
        ordering = ["model", "number"]
        db_table = "trivet_goldencase"
        constraints = [models.UniqueConstraint(fields=["model", "number"], name="trivet_golden_case_number_once")]

    def __str__(self) -> str:
        return f"golden case {self.number} of {self.model.name}"
