"""Scoring runs, and the rows that a run could not score."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from trivet.control.registry.models import ACTOR_LENGTH
from trivet.core.errors import NotFound
from trivet.core.holders import is_gone

SILENT_SECONDS = 120.0  # after which a process that says nothing counts as gone, wherever it is
MAX_ERRORS_KEPT = 1000  # of a run, as rows; the rest is counted


class RunState(models.TextChoices):
    """Where a run is in its life. One that was killed is `running` still, and its holder is gone."""

    RUNNING = "running", _("running")
    INTERRUPTED = "interrupted", _("interrupted")
    FINISHED = "finished", _("finished")
    ABANDONED = "abandoned", _("abandoned")


class ScoringRunQuerySet(models.QuerySet["ScoringRun"]):
    """Many runs."""

    def numbered(self, number: int) -> ScoringRun:
        """Return the run of this number; raises `NotFound`."""
        found = self.filter(pk=number).first()
        if found is None:
            raise NotFound(f"there is no scoring run {number}.")
        return found

    def into(self, table: str, field: str) -> ScoringRunQuerySet:
        """Return those that write this column, the newest first."""
        return self.filter(table=table, field=field).order_by("-pk")

    def unfinished(self) -> ScoringRunQuerySet:
        """Return those that run, were interrupted or were killed."""
        return self.filter(state__in=(RunState.RUNNING, RunState.INTERRUPTED))


class ScoringRun(models.Model):
    """One row is one walk through a table in the order of its primary key, which writes what a version says of each row.

    `cursor` is the last key that is done with: it moves in the transaction that writes the rows up to there, so whoever goes
    on begins behind it. Model, version and table are values, not foreign keys: a run is told of when they are gone.
    """

    model = models.CharField(max_length=63)
    version = models.PositiveIntegerField(help_text=_("0: a stub of a test answered."))
    table = models.CharField(max_length=201, help_text=_("The Django model, as app.model."))
    field = models.CharField(max_length=128)
    features_hash = models.CharField(max_length=64, help_text=_("Of the FeatureSet that rows were asked with."))
    question = models.CharField(max_length=64, help_text=_("SHA-256 of what decides which rows are meant."))
    where = models.JSONField(null=True, help_text=_("The conditions of the verb; null for a run that code began."))
    only_stale = models.BooleanField(default=False)
    stale_before = models.DateTimeField(null=True, help_text=_("Rows written before are stale whatever their version."))
    limit = models.PositiveBigIntegerField(null=True)
    batch_size = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=RunState, default=RunState.RUNNING)
    cursor = models.TextField(
        blank=True, help_text=_("The last primary key that is done with; empty before the first.")
    )
    total = models.PositiveBigIntegerField(help_text=_("Rows when it began."))
    done = models.PositiveBigIntegerField(default=0, help_text=_("Rows that were written."))
    errors = models.PositiveBigIntegerField(default=0, help_text=_("Rows that could not be scored."))
    gone = models.PositiveBigIntegerField(default=0, help_text=_("Rows that were deleted meanwhile."))
    seconds = models.FloatField(default=0.0, help_text=_("Spent on the rows so far."))
    longest_seconds = models.FloatField(default=0.0, help_text=_("That one of its transactions held its rows."))
    actor = models.CharField(max_length=ACTOR_LENGTH)
    began_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now, help_text=_("When its holder last said that it lives."))
    ended_at = models.DateTimeField(null=True)
    holder = models.CharField(max_length=100, blank=True, help_text=_("The process that runs it."))
    claim = models.UUIDField(null=True, help_text=_("Who holds it now; another one may not write any more."))
    problem = models.TextField(blank=True, help_text=_("Why it was interrupted."))

    objects = ScoringRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("scoring run")
        verbose_name_plural = _("scoring runs")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["table", "field"], condition=Q(state="running"), name="trivet_scoring_run_alone"
            ),
            models.CheckConstraint(condition=Q(state__in=RunState.values), name="trivet_scoring_run_state_known"),
        ]
        indexes = [models.Index(fields=["table", "field"], name="trivet_scoring_run_into")]

    def __str__(self) -> str:
        return f"run {self.pk}: {self.model} into {self.target}"

    @property
    def target(self) -> str:
        """The column that it writes, as app.model.field."""
        return f"{self.table}.{self.field}"

    @property
    def handled(self) -> int:
        """How many rows it is done with, whatever became of them."""
        return self.done + self.errors + self.gone

    def is_held(self, now: datetime) -> bool:
        """Return whether a process walks it at `now`: one that is not gone, and said so lately."""
        is_silent = (now - self.seen_at).total_seconds() > SILENT_SECONDS
        return self.state == RunState.RUNNING and not is_silent and not is_gone(self.holder)

    @property
    def eta(self) -> timedelta | None:
        """How long it still takes at the speed it had so far; None before the first rows, zero once it has ended."""
        if self.state == RunState.FINISHED:
            return timedelta()
        if not self.handled:
            return None
        return timedelta(seconds=self.seconds / self.handled * max(self.total - self.handled, 0))


class ScoringError(models.Model):
    """One row is one row of the table that a run could not score, and why; the first thousand of a run."""

    run = models.ForeignKey(ScoringRun, on_delete=models.CASCADE, related_name="problems")
    key = models.TextField(help_text=_("Its primary key."))
    message = models.TextField()

    class Meta:
        verbose_name = _("scoring error")
        verbose_name_plural = _("scoring errors")
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"
