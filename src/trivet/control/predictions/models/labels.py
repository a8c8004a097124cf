"""What turned out true."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

SOURCE_LENGTH = 64


class LabelState(models.TextChoices):
    """Applied to its prediction; waiting for one, for some days; or refused, with the reason."""

    APPLIED = "applied", _("applied")
    WAITING = "waiting", _("waiting")
    REFUSED = "refused", _("refused")


class Label(models.Model):
    """One row is one thing somebody said about one prediction. A correction is another row, with the next revision.

    Prediction and model are values, not foreign keys: what turned out true outlives the row it was said of.
    """

    prediction_id = models.UUIDField(null=True, help_text=_("Of the request; null until an entity key has found it."))
    row = models.PositiveIntegerField(null=True)
    model = models.CharField(max_length=63)
    entity_key = models.CharField(
        max_length=256, blank=True, help_text=_("What to find the prediction by, without an id.")
    )
    value = models.JSONField()
    weight = models.FloatField(default=1.0)
    source = models.CharField(max_length=SOURCE_LENGTH, blank=True, help_text=_("Who or what knew."))
    observed_at = models.DateTimeField(help_text=_("When it was true; without a word of the caller, when it came."))
    received_at = models.DateTimeField(default=timezone.now)
    revision = models.PositiveIntegerField(default=1)
    caller = models.CharField(max_length=200)
    receipt = models.UUIDField(null=True, help_text=_("Of the request that brought it."))
    state = models.CharField(max_length=16, choices=LabelState)
    reason = models.TextField(blank=True, help_text=_("Why it waits, or was refused."))

    class Meta:
        verbose_name = _("label")
        verbose_name_plural = _("labels")
        constraints = [
            models.UniqueConstraint(
                fields=["prediction_id", "row", "revision"],
                condition=Q(state=LabelState.APPLIED),
                name="trivet_label_revision_once",
            ),
            models.CheckConstraint(condition=Q(state__in=LabelState.values), name="trivet_label_state_known"),
            models.CheckConstraint(
                condition=~Q(state=LabelState.APPLIED) | Q(prediction_id__isnull=False, row__isnull=False),
                name="trivet_label_applied_to_one",
            ),
        ]
        indexes = [
            models.Index(fields=["model", "state", "received_at"], name="trivet_label_of_model"),
            models.Index(fields=["receipt"], name="trivet_label_of_receipt"),
            models.Index(fields=["prediction_id", "row"], name="trivet_label_of_prediction"),
        ]

    def __str__(self) -> str:
        return f"{self.prediction_id or self.entity_key}: {self.value}"
