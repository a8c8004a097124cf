"""The log's tables: written by `shipping.py` only."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils.translation import gettext_lazy as _

from trivet.core.records import SHADOW


class PredictionQuerySet(models.QuerySet["Prediction"]):
    """Many predictions."""

    def of_model(self, name: str) -> PredictionQuerySet:
        """Return the predictions of the model called `name`."""
        return self.filter(model=name)

    def answers(self) -> PredictionQuerySet:
        """Return those that somebody was given: not what shadows would have said."""
        return self.exclude(kind=SHADOW)

    def since(self, moment: datetime) -> PredictionQuerySet:
        """Return the predictions made at `moment` or later."""
        return self.filter(made_at__gte=moment)


class Prediction(models.Model):
    """One row is the answer to one input row, with everything the answer depended on.

    Model and version are values, not foreign keys: the log outlives what it tells of.
    """

    prediction_id = models.UUIDField(help_text=_("Of the request; with `row` it names this answer."))
    row = models.PositiveIntegerField()
    kind = models.CharField(max_length=16, help_text=_("predict; or shadow, of a version that nobody was answered by."))
    made_at = models.DateTimeField()
    model = models.CharField(max_length=63)
    version = models.PositiveIntegerField(help_text=_("0: a constant answered."))
    digest = models.CharField(max_length=64)
    generation = models.BigIntegerField()
    route = models.CharField(max_length=16)
    caller = models.CharField(max_length=200)
    door = models.CharField(max_length=16)
    entity_key = models.CharField(max_length=256, blank=True)
    request_id = models.CharField(max_length=128, blank=True)
    caller_id = models.CharField(max_length=128, blank=True, help_text=_("The `id` the caller sent."))
    inputs = models.JSONField(null=True, help_text=_("Name to value; null when they were not kept."))
    inputs_sha256 = models.CharField(max_length=64, blank=True, help_text=_("In place of inputs too large to keep."))
    output = models.JSONField()
    score = models.FloatField(null=True)
    decision = models.TextField(blank=True)
    latency_us = models.PositiveIntegerField()
    flags = models.JSONField(default=dict)
    cached = models.BooleanField(default=False)
    fallback_from = models.PositiveIntegerField(
        null=True, help_text=_("Number of the version that failed, where another answered for it.")
    )
    shadow_of = models.UUIDField(null=True, help_text=_("Of kind shadow: the prediction that was answered meanwhile."))

    parameters = models.JSONField(null=True, help_text=_("Of the request, as the caller sent them; null for none."))

    objects = PredictionQuerySet.as_manager()

    class Meta:
        verbose_name = _("prediction")
        verbose_name_plural = _("predictions")
        permissions = [
            ("view_predictions", _("Can see the prediction log without inputs")),
            ("view_inputs", _("Can see the inputs in the prediction log")),
        ]
        constraints = [models.UniqueConstraint(fields=["prediction_id", "row"], name="trivet_prediction_once")]
        indexes = [models.Index(fields=["model", "made_at"], name="trivet_prediction_of_model")]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        """The id that callers know: `<uuid>:<row>`."""
        return f"{self.prediction_id}:{self.row}"


class SpoolCursor(models.Model):
    """One row says how far a segment of a worker's spool has been shipped, in bytes."""

    worker = models.CharField(max_length=100)
    segment = models.PositiveBigIntegerField()
    offset = models.PositiveBigIntegerField()

    class Meta:
        verbose_name = _("spool cursor")
        verbose_name_plural = _("spool cursors")
        constraints = [models.UniqueConstraint(fields=["worker", "segment"], name="trivet_spool_cursor_once")]

    def __str__(self) -> str:
        return f"{self.worker}/{self.segment} at {self.offset}"
