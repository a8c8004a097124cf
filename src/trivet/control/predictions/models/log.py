"""The log: predictions, the chain that holds them, and how far the spool is shipped."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from trivet.control.predictions.models.labels import Label, LabelState
from trivet.core.chain import NOTHING
from trivet.core.records import SHADOW

HEAD_ID = 1


class PredictionQuerySet(models.QuerySet["Prediction"]):
    """Many predictions, asked for in words that follow one another; each is a condition of one query.

        Prediction.objects.of_model("churn").since(monday).flagged().with_labels()

    Begin with a model, or with an entity: there are indexes for these two with the time, and for an id; the other
    conditions are looked at row by row.
    """

    def of_model(self, name: str) -> PredictionQuerySet:
        """Return the predictions of the model called `name`."""
        return self.filter(model=name)

    def of_version(self, number: int) -> PredictionQuerySet:
        """Return those that the version `number` answered, of whichever model; 0 is a constant that stood in."""
        return self.filter(version=number)

    def about(self, entity_key: str) -> PredictionQuerySet:
        """Return those about one entity, as `shop.customer:17`."""
        return self.filter(entity_key=entity_key)

    def asked_by(self, caller: str) -> PredictionQuerySet:
        """Return those that somebody asked for: `key:` and the eight characters of an API key, or `user:` and a name."""
        return self.filter(caller=caller)

    def of_request(self, request_id: str) -> PredictionQuerySet:
        """Return those of the request with this id, as `X-Request-Id` said or the server gave it."""
        return self.filter(request_id=request_id)

    def between(self, start: datetime, end: datetime) -> PredictionQuerySet:
        """Return those made from `start` to just before `end`."""
        return self.filter(made_at__gte=start, made_at__lt=end)

    def flagged(self) -> PredictionQuerySet:
        """Return those with a value outside what training saw; `flags` says which."""
        return self.exclude(flags={})

    def decided(self, decision: str) -> PredictionQuerySet:
        """Return those that were decided so, as `churned`."""
        return self.filter(decision=decision)

    def with_labels(self) -> PredictionQuerySet:
        """Give each, in the same query, what it came true as by the newest revision.

        `label`, `label_observed_at` and `label_source` are None where nobody said it yet.
        """
        said = Label.objects.filter(
            state=LabelState.APPLIED, prediction_id=OuterRef("prediction_id"), row=OuterRef("row")
        ).order_by("-revision")
        return self.annotate(
            label=Subquery(said.values("value")[:1]),
            label_observed_at=Subquery(said.values("observed_at")[:1]),
            label_source=Subquery(said.values("source")[:1]),
        )

    def labelled(self) -> PredictionQuerySet:
        """Return those of which somebody said what turned out true."""
        return self.filter(_is_labelled())

    def unlabelled(self) -> PredictionQuerySet:
        """Return those of which nobody said it yet."""
        return self.exclude(_is_labelled())

    def answers(self) -> PredictionQuerySet:
        """Return those that somebody was given: not what shadows would have said."""
        return self.exclude(kind=SHADOW)

    def following(self, made_at: datetime, pk: int) -> PredictionQuerySet:
        """Return those after the one made at `made_at` with `pk`, in the order of both: the next page of many."""
        return self.filter(Q(made_at__gt=made_at) | Q(pk__gt=pk), made_at__gte=made_at)

    def since(self, moment: datetime) -> PredictionQuerySet:
        """Return the predictions made at `moment` or later."""
        return self.filter(made_at__gte=moment)


def _is_labelled() -> Exists:
    applied = Label.objects.filter(state=LabelState.APPLIED, prediction_id=OuterRef("prediction_id"))
    return Exists(applied.filter(row=OuterRef("row")))


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

    # of the chain (`sealing.py`); null and empty in rows that a release without it wrote
    link = models.BigIntegerField(null=True, help_text=_("Number of the chain's link that holds this row."))
    place = models.PositiveIntegerField(null=True, help_text=_("Among the rows of that link, from 0."))
    salt = models.CharField(
        max_length=32, blank=True, default="", db_default="", help_text=_("Empty once what it hid was erased.")
    )
    private_sha256 = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text=_("Of what may be erased, with the salt.")
    )
    inputs_digest = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text=_("Of inputs and parameters, salted, where they were erased for their age."),
    )
    sha256 = models.CharField(max_length=64, blank=True, default="", db_default="", help_text=_("Of all the rest."))
    erased_by = models.BigIntegerField(
        null=True, help_text=_("Generation of the Event that tells of the erasure of inputs and entity.")
    )

    objects = PredictionQuerySet.as_manager()

    class Meta:
        verbose_name = _("prediction")
        verbose_name_plural = _("predictions")
        permissions = [
            ("view_predictions", _("Can see the prediction log without inputs")),
            ("view_inputs", _("Can see the inputs in the prediction log")),
            ("export_predictions", _("Can take the prediction log away as a file")),
            ("label", _("Can say what turned out true")),
        ]
        constraints = [models.UniqueConstraint(fields=["prediction_id", "row"], name="trivet_prediction_once")]
        indexes = [
            models.Index(fields=["model", "made_at"], name="trivet_prediction_of_model"),
            models.Index(fields=["entity_key", "model", "made_at"], name="trivet_prediction_of_entity"),
        ]

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


class LogHeadQuerySet(models.QuerySet["LogHead"]):
    """The one row where the chain of the log ends; its lock puts all who write to the log in one line."""

    def lock(self) -> LogHead:
        """Wait for whoever else writes to the log, then return the head, which nobody moves until this transaction ends.

        The first statement of the transaction, as `RegistryState.objects.lock` has to be.
        """
        if not self.filter(pk=HEAD_ID).update(links=F("links")):
            self.bulk_create([self.model(pk=HEAD_ID)], ignore_conflicts=True)
            self.filter(pk=HEAD_ID).update(links=F("links"))
        return self.get(pk=HEAD_ID)

    def read(self) -> LogHead:
        """Return the head as it is now; an empty one before the first link."""
        return self.filter(pk=HEAD_ID).first() or self.model(pk=HEAD_ID)


class LogHead(models.Model):
    """A single row: how many links the chain of the log has, and the SHA-256 of the last."""

    links = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, default=NOTHING)
    erasures = models.BigIntegerField(default=0, help_text=_("How often somebody was forgotten."))

    objects = LogHeadQuerySet.as_manager()

    class Meta:
        verbose_name = verbose_name_plural = _("head of the log")

    def __str__(self) -> str:
        return f"{self.links} links"


class LogLink(models.Model):
    """One row is one shipped batch: the digest of its rows, chained to the batch before. It stays when they are pruned."""

    number = models.BigIntegerField(primary_key=True)
    format = models.PositiveSmallIntegerField()
    at = models.DateTimeField(default=timezone.now)
    worker = models.CharField(max_length=100, blank=True, help_text=_("Whose segment it was; empty for none."))
    segment = models.PositiveBigIntegerField()
    offset = models.PositiveBigIntegerField(help_text=_("Of the segment, in bytes: where the batch ended."))
    first_id = models.BigIntegerField(help_text=_("No row of it has a smaller id."))
    last_id = models.BigIntegerField()
    rows = models.PositiveIntegerField()
    until = models.DateTimeField(help_text=_("When the last of its predictions was made."))
    digest = models.CharField(max_length=64, help_text=_("SHA-256 over those of its rows, in order."))
    sha256 = models.CharField(max_length=64, help_text=_("Of this row, and of the link before."))
    pruned_by = models.BigIntegerField(
        null=True, help_text=_("Generation of the Event that tells where its rows went.")
    )
    inputs_erased_by = models.BigIntegerField(
        null=True,
        help_text=_("Generation of the Event that tells that the inputs of its rows were erased for their age."),
    )

    class Meta:
        verbose_name = _("link of the log")
        verbose_name_plural = _("links of the log")
        indexes = [models.Index(fields=["until"], name="trivet_link_until")]

    def __str__(self) -> str:
        return f"link {self.number}: {self.rows} rows"


class ForgottenEntity(models.Model):
    """One row is somebody who was forgotten: what a spool still holds of them is shipped without inputs and entity."""

    digest = models.CharField(max_length=64, primary_key=True, help_text=_("Of the entity key, keyed by the pepper."))
    at = models.DateTimeField(default=timezone.now)
    generation = models.BigIntegerField(help_text=_("Of the Event."))

    class Meta:
        verbose_name = _("forgotten entity")
        verbose_name_plural = _("forgotten entities")

    def __str__(self) -> str:
        return self.digest[:12]
