"""What was changed: Events in a chain, and the one row that numbers them."""

from __future__ import annotations

from django.db import models
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

REFUSAL = "refuse"  # the action of an Event that says what somebody wanted and may not: nothing has changed by it
REFUSED_PROMOTION = "refuse_promotion"  # by the rules, of a version, to somebody who may promote
OF_NO_SNAPSHOT = frozenset(
    {
        REFUSAL,
        REFUSED_PROMOTION,
        "forget",
        "prune_log",
        "erase_inputs",
        "export_predictions",
        "acknowledge_alert",
        "snooze_alert",
        "accept_as_normal",
    }
)
"""Actions of Events by which nothing has changed that a Snapshot holds."""
ACTOR_LENGTH = 200
STATE_ID = 1


class RegistryStateQuerySet(models.QuerySet["RegistryState"]):
    """The one row that numbers the registry's changes and serialises them."""

    def generation(self) -> int:
        """Return the registry's generation in one query; 0 before the first change."""
        return self.filter(pk=STATE_ID).values_list("generation", flat=True).first() or 0

    def lock(self) -> int:
        """Wait for any other change, then return the generation, which nobody else moves until this transaction ends.

        It must be the first statement of the transaction: an UPDATE takes SQLite's write lock at once (a read first
        could not be upgraded without a deadlock) and the row's lock elsewhere. Call it on the database that is written:
        `.using(alias)`, or a router may read the generation from a replica that lags.
        """
        if not self.filter(pk=STATE_ID).update(generation=F("generation")):
            self.bulk_create([self.model(pk=STATE_ID)], ignore_conflicts=True)
            self.filter(pk=STATE_ID).update(generation=F("generation"))
        return self.generation()

    def advance(self, generation: int, sha256: str) -> None:
        """Move to `generation`, which the holder of the lock computed, whose Event has `sha256`."""
        self.filter(pk=STATE_ID).update(generation=generation, head_generation=generation, head_sha256=sha256)


class RegistryState(models.Model):
    """A single row: the number of the registry's last change, and where the chain of its Events ends."""

    generation = models.BigIntegerField(default=0)
    head_generation = models.BigIntegerField(
        default=0, db_default=0, help_text=_("Of the last Event in the chain; later ones are of a release without it.")
    )
    head_sha256 = models.CharField(max_length=64, blank=True, default="", db_default="")

    objects = RegistryStateQuerySet.as_manager()

    class Meta:
        verbose_name = verbose_name_plural = _("registry state")

    def __str__(self) -> str:
        return f"generation {self.generation}"


class Event(models.Model):
    """One row says who did what to the registry, when and why; never edited (by trigger)."""

    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=ACTOR_LENGTH)
    action = models.CharField(max_length=32)
    model = models.CharField(max_length=63, blank=True)
    version = models.PositiveIntegerField(null=True)
    generation = models.BigIntegerField(unique=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    reason = models.TextField(blank=True)
    sha256 = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text=_("Of this Event, and of the one before; empty where a release without the chain wrote it."),
    )

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ["-generation"]
        indexes = [models.Index(fields=["model", "-generation"], name="trivet_event_of_model")]

    def __str__(self) -> str:
        return f"{self.generation}: {self.action} {self.model}".rstrip()
