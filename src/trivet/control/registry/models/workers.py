"""Workers: the processes that answer from a Snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from trivet.core.boot import boot_id, seconds_since_boot

LEASES_KEPT = 10  # a worker silent for so many leases is gone: killed, or its machine is


class WorkerKind(models.TextChoices):
    """The kinds of process that hold a Snapshot."""

    WEB = "web", _("web worker")
    GRPC = "grpc", _("gRPC worker")
    KEEPER = "keeper", _("keeper")
    PROCESS = "process", _("process that predicts")


class WorkerQuerySet(models.QuerySet["Worker"]):
    """Many workers. When each was heard of is told and judged by the database's clock: hosts may differ in theirs.

    SQLite has no clock but the machine's, and all workers are on that machine: there it is the clock since it was started
    that tells and judges, which nobody sets.
    """

    def live(self, lease_seconds: float, now: datetime | None = None) -> WorkerQuerySet:
        """Return those heard of within the lease; by the wall clock where `now` is given."""
        return self.exclude(self._silent_for(lease_seconds, now))

    def lapsed(self, lease_seconds: float, now: datetime | None = None) -> WorkerQuerySet:
        """Return those not heard of for ten leases: they ended without taking their row away."""
        return self.filter(self._silent_for(lease_seconds * LEASES_KEPT, now))

    def prune(self, lease_seconds: float, now: datetime | None = None) -> int:
        """Delete the lapsed ones and return how many they were. One that still lives returns with its next beat."""
        deleted, _ = self.lapsed(lease_seconds, now).delete()
        return deleted

    def beat(self, worker_id: str, *, generation: int, failing: Iterable[str] = (), **facts: Any) -> None:
        """Renew the lease of `worker_id` and acknowledge `generation`; `facts` (kind, host, pid, features) fill a new row.

        `failing` names the models that do not answer there as that generation says, for their version could not be loaded.
        """
        heard = {"generation": generation, "failing": " ".join(sorted(failing)), "seen_at": Now()}
        if self._has_boot_clock:
            heard |= {"boot": boot_id(), "seen_since_boot": seconds_since_boot()}
        if not self.filter(pk=worker_id).update(**heard):
            self.bulk_create([self.model(pk=worker_id, **heard, **facts)], ignore_conflicts=True)

    def _silent_for(self, seconds: float, now: datetime | None) -> Q:
        by_clock = Q(seen_at__lt=(now or Now()) - timedelta(seconds=seconds))
        if now is not None or not self._has_boot_clock:
            return by_clock
        is_here = Q(boot=boot_id(), seen_since_boot__isnull=False)
        return (is_here & Q(seen_since_boot__lt=seconds_since_boot() - seconds)) | (~is_here & by_clock)

    @property
    def _has_boot_clock(self) -> bool:
        return connections[self.db].vendor == "sqlite" and boot_id() != ""


class Worker(models.Model):
    """One row is a process that answers from a Snapshot: when it was last heard of, and which generation it has."""

    id = models.CharField(primary_key=True, max_length=100)
    kind = models.CharField(max_length=16, choices=WorkerKind)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now, db_index=True)
    boot = models.CharField(
        max_length=36, blank=True, default="", db_default="", help_text=_("Which start of its machine; on SQLite only.")
    )
    seen_since_boot = models.FloatField(null=True, help_text=_("As seen_at, in seconds since that start."))
    generation = models.BigIntegerField(default=0, help_text=_("The newest it has acknowledged."))
    failing = models.TextField(
        blank=True,
        default="",
        db_default="",
        help_text=_("Models of which it could not load what has their traffic, with spaces between."),
    )
    features = models.JSONField(
        null=True,
        help_text=_("Of each FeatureSet of its code, the names of its features; empty where nothing was told."),
    )

    objects = WorkerQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ["host", "kind", "pid"]

    def __str__(self) -> str:
        return f"{self.kind} {self.pid} on {self.host}"
