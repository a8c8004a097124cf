"""Versions of models, and the aliases that name them."""

from __future__ import annotations

import re

import msgspec
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from trivet.control.registry.models.events import ACTOR_LENGTH
from trivet.control.registry.models.registered_models import RegisteredModel
from trivet.core.errors import NotFound, did_you_mean, quoted
from trivet.core.names import ALIAS_NAME, RESERVED_ALIASES, VERSION_NUMBER
from trivet.core.signature import Signature
from trivet.model.bundle.libraries import COMPILED_RUNTIME, has_requirements

CHAMPION = "champion"
CHALLENGER = "challenger"
_WHOLE_ALIAS_NAME = rf"^{ALIAS_NAME}\Z"


class VersionStatus(models.TextChoices):
    """Registered, then ready or rejected by its probe, at the end retired, when its bundle was pruned; a push begins anew."""

    REGISTERED = "registered", _("registered")
    READY = "ready", _("ready")
    REJECTED = "rejected", _("rejected")
    RETIRED = "retired", _("retired")


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    """Many versions."""

    def ready(self) -> ModelVersionQuerySet:
        """Return those that may take traffic."""
        return self.filter(status=VersionStatus.READY)

    def in_use(self) -> ModelVersionQuerySet:
        """Return those that may be asked, or that a rollback goes to: whatever a worker loads, and a little more.

        They have traffic, an alias or a shadow's share, stand in for what fails, were champion before this one, or are
        kept loaded because somebody said so. That its model was unloaded takes nothing from it: the routes stay.
        """
        with_chain = self.filter(model__fallback__isnull=False).values_list("pk", "number", "model__fallback")
        stand_in = [pk for pk, number, chain in with_chain if number in (chain or ())]
        has_place = Q(routes__isnull=False) | Q(shadows__isnull=False) | Q(aliases__isnull=False) | Q(pk__in=stand_in)
        is_way_back = Q(number=F("model__previous_champion"))
        return self.filter(has_place | is_way_back | Q(keep_loaded=True)).distinct()

    def of_model(self, name: str) -> ModelVersionQuerySet:
        """Return the versions of the model called `name`."""
        return self.filter(model__name=name)

    def resolve(self, model: str, word: str | int) -> ModelVersion:
        """Return the version of `model` that a number or an alias names; raises `NotFound` with the closest match."""
        versions = self.of_model(model).select_related("model")
        text = str(word)
        found = (
            versions.filter(number=int(text))
            if re.fullmatch(VERSION_NUMBER, text)
            else versions.filter(aliases__name=text)
        )
        version = found.first()
        if version is None:
            RegisteredModel.objects.named(model)  # raises where there is none
            aliases = Alias.objects.filter(model__name=model).values_list("name", flat=True)
            raise NotFound(f"{model} has no version {quoted(text)}.{did_you_mean(text, aliases)}")
        return version


class ModelVersion(models.Model):
    """One row is one immutable trained model under a name. What identifies it is never updated (by trigger)."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64, db_index=True)
    runtime = models.CharField(max_length=32)
    signature = models.JSONField()
    manifest = models.JSONField()
    status = models.CharField(max_length=16, choices=VersionStatus, default=VersionStatus.REGISTERED)
    status_reason = models.TextField(blank=True, help_text=_("What the probe found."))
    note = models.TextField(blank=True, help_text=_("What its author said of it."))
    author = models.CharField(max_length=ACTOR_LENGTH)
    source = models.CharField(max_length=255, blank=True, help_text=_("Name of the file it was made from."))
    sandbox = models.CharField(max_length=32, blank=True, help_text=_("Level at which that file was opened."))
    parity = models.JSONField(default=dict, blank=True)
    cost_us_per_row = models.FloatField(null=True, help_text=_("Measured by the probe, in microseconds."))
    keep_loaded = models.BooleanField(
        null=True, help_text=_("Loaded or not, as somebody said; null: as its model's traffic needs. Traffic prevails.")
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = ModelVersionQuerySet.as_manager()

    class Meta:
        verbose_name = _("version")
        verbose_name_plural = _("versions")
        ordering = ["model", "number"]
        constraints = [
            models.UniqueConstraint(fields=["model", "number"], name="trivet_version_number_once"),
            models.UniqueConstraint(fields=["model", "digest"], name="trivet_version_digest_once"),
            models.CheckConstraint(condition=Q(number__gte=1), name="trivet_version_number_positive"),
            models.CheckConstraint(condition=Q(status__in=VersionStatus.values), name="trivet_version_status_known"),
        ]

    def __str__(self) -> str:
        return f"{self.model.name} {self.number}"

    @property
    def is_compiled(self) -> bool:
        """True when it needs no training library."""
        return self.runtime == COMPILED_RUNTIME

    @property
    def is_ready(self) -> bool:
        """True when it may take traffic."""
        return self.status == VersionStatus.READY

    @property
    def is_native(self) -> bool:
        """True for an object that runs unchanged, False for a graph."""
        return self.runtime != COMPILED_RUNTIME

    @property
    def has_own_environment(self) -> bool:
        """True where it brings requirements of its own, and runs in their environment."""
        return has_requirements(self.manifest.get("files"))

    def read_signature(self) -> Signature:
        """Return what it takes and gives."""
        return msgspec.convert(self.signature, Signature)


class Alias(models.Model):
    """One row is a movable name for a version of a model."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=32, validators=[RegexValidator(_WHOLE_ALIAS_NAME)])
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="aliases")

    class Meta:
        verbose_name = _("alias")
        verbose_name_plural = _("aliases")
        ordering = ["model", "name"]
        constraints = [
            models.UniqueConstraint(fields=["model", "name"], name="trivet_alias_once"),
            models.CheckConstraint(condition=Q(name__regex=_WHOLE_ALIAS_NAME), name="trivet_alias_grammar"),
            models.CheckConstraint(condition=~Q(name__in=RESERVED_ALIASES), name="trivet_alias_not_reserved"),
        ]

    def __str__(self) -> str:
        return self.name
