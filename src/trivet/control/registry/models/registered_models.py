"""Models: the names that answer."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from trivet.control.registry.declarations import declared
from trivet.core.errors import NotFound, did_you_mean, quoted
from trivet.core.names import MODEL_NAME, RESERVED_MODEL_NAMES

_WHOLE_MODEL_NAME = rf"^{MODEL_NAME}\Z"


class RegisteredModelQuerySet(models.QuerySet["RegisteredModel"]):
    """Many models."""

    def named(self, name: str) -> RegisteredModel:
        """Return the model called `name`; raises `NotFound` with the closest match."""
        found = self.filter(name=name).first()
        if found is None:
            raise NotFound(f"no model {quoted(name)}.{did_you_mean(name, self.values_list('name', flat=True))}")
        return found


class RegisteredModel(models.Model):
    """One row is a name that answers, with its history."""

    name = models.CharField(max_length=63, unique=True, validators=[RegexValidator(_WHOLE_MODEL_NAME)])
    title = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    owner = models.CharField(max_length=200, blank=True)
    anonymous = models.BooleanField(default=False, help_text=_("Answers `predict` without a key."))
    generation = models.BigIntegerField(default=0, help_text=_("Of the last change to its routes or aliases."))
    previous_champion = models.PositiveIntegerField(null=True, help_text=_("Number of the version a rollback goes to."))
    sticky_by = models.CharField(
        max_length=256,
        blank=True,
        default="",
        db_default="",
        help_text=_("Input whose value keeps a caller on one version."),
    )
    fallback = models.JSONField(
        null=True,
        help_text=_("Who answers where the routed version fails: versions and aliases, at the end perhaps a constant."),
    )
    sensitive = models.JSONField(
        null=True, help_text=_("Names of the inputs that the log keeps a keyed digest of, in place of the value.")
    )
    unloaded = models.BooleanField(
        default=False, db_default=False, help_text=_("Answers 503 until it is loaded again; its routes stay.")
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = RegisteredModelQuerySet.as_manager()

    class Meta:
        verbose_name = _("model")
        verbose_name_plural = _("models")
        ordering = ["name"]
        permissions = [
            ("predict", _("Can ask a model")),
            ("explain", _("Can ask a model why")),
            ("push", _("Can register versions")),
            ("retrain", _("Can have a model trained again")),
            ("promote", _("Can move traffic")),
            ("approve", _("Can confirm what another person wants to promote")),
            ("prune", _("Can delete bundles and what the log keeps")),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(name__regex=_WHOLE_MODEL_NAME), name="trivet_model_name_grammar"),
            models.CheckConstraint(condition=~Q(name__in=RESERVED_MODEL_NAMES), name="trivet_model_name_not_reserved"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def heading(self) -> str:
        """The title: what a person gave it here, else what its Predictor says; empty for none."""
        return self.title or declared(self.name).title
