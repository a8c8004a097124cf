"""What is watched, what evidence there is, and what somebody was told."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from trivet.control.monitoring.models.profiles import Grain
from trivet.control.registry.models import ModelVersion, RegisteredModel


class Severity(models.TextChoices):
    """By harm: shown; told; told at once."""

    INFO = "info", _("info")
    WARNING = "warning", _("warning")
    CRITICAL = "critical", _("critical")


class Cause(models.TextChoices):
    """What an alert is about; a version has one open alert of each."""

    DRIFT = "drift", _("drift")
    TRUST = "trust", _("estimate not trusted")
    PERFORMANCE = "performance", _("performance")


class AlertState(models.TextChoices):
    """Where an alert is in its life. A snoozed one tells nobody until its time."""

    OPEN = "open", _("open")
    ACKNOWLEDGED = "acknowledged", _("acknowledged")
    SNOOZED = "snoozed", _("snoozed")
    RESOLVED = "resolved", _("resolved")


class Monitor(models.Model):
    """One row says that a version is watched, how, and how far: windows before `until` were judged."""

    version = models.OneToOneField(ModelVersion, on_delete=models.CASCADE, related_name="monitor")
    is_enabled = models.BooleanField(default=True)
    options = models.JSONField(default=dict, blank=True)
    windows = models.PositiveIntegerField(default=0, help_text=_("Judged since the evidence began."))
    quiet_windows = models.PositiveIntegerField(default=0, help_text=_("In a row."))
    until = models.DateTimeField(null=True)
    mean_evidence = models.FloatField(default=0.0, help_text=_("Mean of M over its series."))
    low_windows = models.PositiveIntegerField(
        default=0, db_default=0, help_text=_("In a row, in which the estimate was below its band.")
    )
    odd_windows = models.PositiveIntegerField(
        default=0, db_default=0, help_text=_("In a row, in which it was also unlike the weeks before.")
    )
    fine_windows = models.PositiveIntegerField(
        default=0, db_default=0, help_text=_("In a row, in which nothing was wrong with the estimate.")
    )

    class Meta:
        verbose_name = _("monitor")
        verbose_name_plural = _("monitors")

    def __str__(self) -> str:
        return f"monitor, {self.windows} windows"


class MonitorSeries(models.Model):
    """One row is the evidence against one series of a monitor: a feature, a rate of it, the predictions, the traffic."""

    monitor = models.ForeignKey(Monitor, on_delete=models.CASCADE, related_name="series")
    name = models.CharField(max_length=200, help_text=_("kind:feature, as in drift:age."))
    log_m = models.FloatField(null=True, help_text=_("ln M; null before the first window."))
    last = models.JSONField(default=dict, help_text=_("What the last window said: distance, p, rows."))

    class Meta:
        verbose_name = _("series")
        verbose_name_plural = _("series")
        constraints = [models.UniqueConstraint(fields=["monitor", "name"], name="trivet_series_once")]

    def __str__(self) -> str:
        return self.name


class JudgedWindow(models.Model):
    """One row is what one window said of a version: how much evidence there was after it, of how much.

    Of a window of an hour for 90 days; then of a day, with the most evidence of its hours.
    """

    monitor = models.ForeignKey(Monitor, on_delete=models.CASCADE, related_name="judged")
    grain = models.CharField(max_length=1, choices=Grain)
    start = models.DateTimeField()
    mean_evidence = models.FloatField(help_text=_("Mean of M over its series."))
    budget = models.FloatField()

    class Meta:
        verbose_name = _("judged window")
        verbose_name_plural = _("judged windows")
        constraints = [models.UniqueConstraint(fields=["monitor", "grain", "start"], name="trivet_judged_once")]
        indexes = [models.Index(fields=["grain", "start"], name="trivet_judged_age")]

    def __str__(self) -> str:
        return f"{self.mean_evidence:,.1f} of {self.budget:,.0f}"


class HeldAgainst(models.TextChoices):
    """What realised loss is held against: whether a row was wrong, beside what was estimated, or was usual on the reference."""

    ESTIMATE = "error", _("the estimate")
    ESTIMATE_FROM_BELOW = "error:fewer", _("the estimate, from below")
    REFERENCE = "error:reference", _("the reference")


OF_ESTIMATE = (HeldAgainst.ESTIMATE, HeldAgainst.ESTIMATE_FROM_BELOW)  # in the order in which their rows are locked


class LossEvidence(models.Model):
    """One row is the evidence that a version's realised loss is more than what it is held against, or from below, less."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="loss_evidence")
    loss = models.CharField(max_length=16, choices=HeldAgainst)
    tolerance = models.FloatField()
    log_e = models.FloatField(default=0.0)
    log_cusum = models.FloatField(null=True)
    count = models.FloatField(default=1.0)
    sum_x = models.FloatField(default=0.0)
    sum_sq = models.FloatField(default=0.25)
    labels = models.PositiveBigIntegerField(default=0)
    until = models.DateTimeField(null=True, help_text=_("Cohorts before it were read."))
    quiet_days = models.PositiveIntegerField(
        default=0, db_default=0, help_text=_("In a row, of those that had labels.")
    )

    class Meta:
        verbose_name = _("loss evidence")
        verbose_name_plural = _("loss evidence")
        constraints = [models.UniqueConstraint(fields=["version", "loss"], name="trivet_loss_evidence_once")]

    def __str__(self) -> str:
        return f"{self.loss}: {self.labels} labels"


class Alert(models.Model):
    """One row is one time somebody was told of one cause."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="alerts")
    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="alerts")
    cause = models.CharField(max_length=16, choices=Cause)
    severity = models.CharField(max_length=16, choices=Severity)
    state = models.CharField(max_length=16, choices=AlertState, default=AlertState.OPEN)
    opened_at = models.DateTimeField(default=timezone.now)
    news_at = models.DateTimeField(default=timezone.now, help_text=_("When it was opened, became worse, or woke."))
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=200, blank=True)
    snoozed_until = models.DateTimeField(null=True)
    resolved_at = models.DateTimeField(null=True)
    told_at = models.DateTimeField(
        null=True, help_text=_("When mail and webhooks were sent; null while they are to be.")
    )
    features = models.JSONField(default=list, help_text=_("Named by their evidence, the strongest first."))
    evidence = models.JSONField(default=dict)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        constraints = [
            models.UniqueConstraint(
                fields=["version", "cause"], condition=~Q(state=AlertState.RESOLVED), name="trivet_alert_one_open"
            ),
            models.CheckConstraint(condition=Q(state__in=AlertState.values), name="trivet_alert_state_known"),
            models.CheckConstraint(condition=Q(severity__in=Severity.values), name="trivet_alert_severity_known"),
        ]
        indexes = [models.Index(fields=["model", "opened_at"], name="trivet_alert_of_model")]

    def __str__(self) -> str:
        return f"{self.cause} of {self.features}"
