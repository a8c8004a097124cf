"""Counts of what a version was asked and what it answered, and of what turned out true."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from trivet.control.registry.models import ModelVersion


class Grain(models.TextChoices):
    """How long the time is that a profile is of. Minutes become hours, hours become days, days stay."""

    MINUTE = "m", _("minute")
    HOUR = "h", _("hour")
    DAY = "d", _("day")


class Arm(models.TextChoices):
    """In what part a version answered."""

    CHAMPION = "champion", _("champion")
    CANARY = "canary", _("canary")
    SHADOW = "shadow", _("shadow")


class ReferenceProfile(models.Model):
    """One row is what a version is compared with: its bins, and the counts of the rows it was made from.

    With a `segment`: the values of that column by which its rows are counted apart, and from when on.
    """

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="references")
    segment = models.CharField(max_length=128, blank=True, help_text=_("A column; empty for all rows."))
    payload = models.BinaryField(help_text=_("As trivet.core.profile encodes it."))
    rows = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    is_current = models.BooleanField(default=True, help_text=_("False for one that another took the place of."))
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("reference profile")
        verbose_name_plural = _("reference profiles")
        constraints = [
            models.UniqueConstraint(
                fields=["version", "segment"], condition=Q(is_current=True), name="trivet_reference_once"
            )
        ]

    def __str__(self) -> str:
        return f"reference of {self.rows} rows"


class Profile(models.Model):
    """One row is the counts of one version over one minute, hour or day, as one machine shipped them.

    Those of segments are by the day from the beginning, and of decisions alone.
    """

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="profiles")
    arm = models.CharField(max_length=16, choices=Arm)
    segment = models.CharField(
        max_length=128, blank=True, help_text=_("A column, by whose values rows are counted apart; empty for all rows.")
    )
    grain = models.CharField(max_length=1, choices=Grain)
    start = models.DateTimeField()
    shard = models.CharField(
        max_length=64, help_text=_("The machine that shipped them: each writes its own rows alone.")
    )
    rows = models.PositiveBigIntegerField()
    weight = models.FloatField(default=1.0, help_text=_("How many rows one that was counted stands for."))
    payload = models.BinaryField()
    format = models.PositiveSmallIntegerField()

    class Meta:
        verbose_name = _("profile")
        verbose_name_plural = _("profiles")
        constraints = [
            models.UniqueConstraint(
                fields=["version", "arm", "segment", "grain", "start", "shard"], name="trivet_profile_once"
            ),
            models.CheckConstraint(condition=Q(grain__in=Grain.values), name="trivet_profile_grain_known"),
        ]
        indexes = [models.Index(fields=["grain", "start"], name="trivet_profile_age")]

    def __str__(self) -> str:
        return f"{self.rows} rows from {self.start}"


class LabelProfile(models.Model):
    """One row is what turned out true of the predictions of one time, whenever it was said; of segments by the day."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="label_profiles")
    arm = models.CharField(max_length=16, choices=Arm)
    segment = models.CharField(
        max_length=128, blank=True, help_text=_("A column, by whose values rows are counted apart; empty for all rows.")
    )
    grain = models.CharField(max_length=1, choices=Grain)
    start = models.DateTimeField(help_text=_("Of the predictions, not of the labels."))
    shard = models.CharField(max_length=64)
    age_class = models.PositiveSmallIntegerField(help_text=_("How late the labels came: 0 is within an hour."))
    labels = models.BigIntegerField(help_text=_("Below none where another machine counted what was corrected here."))
    payload = models.BinaryField()
    format = models.PositiveSmallIntegerField()

    class Meta:
        verbose_name = _("label profile")
        verbose_name_plural = _("label profiles")
        constraints = [
            models.UniqueConstraint(
                fields=["version", "arm", "segment", "grain", "start", "shard", "age_class"],
                name="trivet_label_profile_once",
            ),
            models.CheckConstraint(condition=Q(grain__in=Grain.values), name="trivet_label_profile_grain_known"),
        ]
        indexes = [models.Index(fields=["grain", "start"], name="trivet_label_profile_age")]

    def __str__(self) -> str:
        return f"{self.labels} labels from {self.start}"
