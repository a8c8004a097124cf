"""Workers: the processes that answer from a Snapshot."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

LEASES_KEPT = 10  # a worker silent for so many leases is gone: killed, or its machine is


class WorkerKind(models.TextChoices):
    """The kinds of process that hold a Snapshot."""

    WEB = "web", _("web worker")
    GRPC = "grpc", _("gRPC worker")
    KEEPER = "keeper", _("keeper")
    PROCESS = "process", _("process that predicts")
    SHELL = "shell", _("shell")


class WorkerQuerySet(models.QuerySet["Worker"]):
    """Many workers. When each was heard of is told and judged by the database's clock: hosts may differ in theirs."""

    def live(self, lease_seconds: float, now: datetime | None = None) -> WorkerQuerySet:
        """Return those heard of within the lease."""
        return self.filter(seen_at__gte=(now or Now()) - timedelta(seconds=lease_seconds))

    def lapsed(self, lease_seconds: float, now: datetime | None = None) -> WorkerQuerySet:
        """Return those not heard of for ten leases: they ended without taking their row away."""
        silent = timedelta(seconds=lease_seconds * LEASES_KEPT)
        return self.filter(seen_at__lt=(now or Now()) - silent)

    def prune(self, lease_seconds: float, now: datetime | None = None) -> int:
        """Delete the lapsed ones and return how many they were. One that still lives returns with its next beat."""
        deleted, _ = self.lapsed(lease_seconds, now).delete()
        return deleted

    def beat(self, worker_id: str, *, generation: int, **facts: Any) -> None:
        """Renew the lease of `worker_id` and acknowledge `generation`; `facts` (kind, host, pid) fill a new row."""
        if not self.filter(pk=worker_id).update(generation=generation, seen_at=Now()):
            new = self.model(pk=worker_id, generation=generation, seen_at=Now(), **facts)
            self.bulk_create([new], ignore_conflicts=True)


class Worker(models.Model):
    """One row is a process that answers from a Snapshot: when it was last heard of, and which generation it has."""

    id = models.CharField(primary_key=True, max_length=100)
    kind = models.CharField(max_length=16, choices=WorkerKind)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now, db_index=True)
    generation = models.BigIntegerField(default=0, help_text=_("The newest it has acknowledged."))

    objects = WorkerQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ["host", "kind", "pid"]

    def __str__(self) -> str:
        return f"{self.kind} {self.pid} on {self.host}"
