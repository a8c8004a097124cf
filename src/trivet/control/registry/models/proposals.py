"""Proposals: the moves of traffic that wait for a second person."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from trivet.control.registry.models.events import ACTOR_LENGTH
from trivet.control.registry.models.registered_models import RegisteredModel
from trivet.control.registry.models.versions import CHAMPION


class ProposalState(models.TextChoices):
    """Open until it is decided, or until what it was made for has changed."""

    OPEN = "open", _("open")
    APPROVED = "approved", _("approved")
    DECLINED = "declined", _("declined")
    WITHDRAWN = "withdrawn", _("withdrawn")


class ProposalQuerySet(models.QuerySet["Proposal"]):
    """Many proposals."""

    def waiting(self, now: datetime | None = None) -> ProposalQuerySet:
        """Return those that may be approved: open, not expired, and of a model that has not changed since."""
        current = self.filter(state=ProposalState.OPEN, generation=F("model__generation"))
        return current.filter(expires_at__gt=now or timezone.now())


class Proposal(models.Model):
    """One row is a move of traffic that somebody wants, and that a second person has to approve (TRIVET_APPROVALS)."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="proposals")
    action = models.CharField(max_length=32)
    move = models.JSONField(help_text=_("Routes, aliases and how traffic is handled, as it would be."))
    generation = models.BigIntegerField(help_text=_("Of the model when it was proposed."))
    proposer = models.CharField(max_length=ACTOR_LENGTH)
    proposed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    reason = models.TextField(blank=True)
    proposed_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    state = models.CharField(max_length=16, choices=ProposalState, default=ProposalState.OPEN)
    decided_by = models.CharField(max_length=ACTOR_LENGTH, blank=True)
    decided_at = models.DateTimeField(null=True)

    objects = ProposalQuerySet.as_manager()

    class Meta:
        verbose_name = _("proposal")
        verbose_name_plural = _("proposals")
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=ProposalState.values), name="trivet_proposal_state_known"),
        ]

    def __str__(self) -> str:
        return f"proposal {self.pk} of {self.model.name}"

    @property
    def in_words(self) -> str:
        """What it would do, in short: `promote 2`, `set_routes 1=90% 2=10%`."""
        names = {name: number for name, number in self.move["aliases"].items() if name != CHAMPION}
        parts = [f"{number}={weight}%" for number, weight in (self.move["routes"] or {}).items()]
        parts += [f"{name}={number or 'none'}" for name, number in names.items()]
        if self.move["fallback"] is not None:
            parts.append(f"fallback {', '.join(map(str, self.move['fallback'])) or 'none'}")
        return f"{self.action} {' '.join(parts)}"
