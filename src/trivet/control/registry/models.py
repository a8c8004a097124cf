"""The registry's tables. They are changed by `actions` only; everything else reads them.

Their rules stand in the database: names have a grammar, a version and an Event are never edited (triggers of the
first migration), a model has each version number, alias and route once.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from trivet.core.errors import NotFound, did_you_mean, quoted
from trivet.core.names import ALIAS_NAME, MODEL_NAME, RESERVED_ALIASES, RESERVED_MODEL_NAMES, VERSION_NUMBER
from trivet.core.signature import Signature
from trivet.model.bundle.libraries import COMPILED_RUNTIME, has_requirements

CHAMPION = "champion"
CHALLENGER = "challenger"
REFUSAL = "refuse"  # the action of an Event that says what somebody wanted and may not: nothing has changed by it
ACTOR_LENGTH = 200
STATE_ID = 1
USE_NOTED_SECONDS = 60  # a key's last use is written at most once in so long
LEASES_KEPT = 10  # a worker silent for so many leases is gone: killed, or its machine is
_WHOLE_MODEL_NAME = rf"^{MODEL_NAME}\Z"
_WHOLE_ALIAS_NAME = rf"^{ALIAS_NAME}\Z"


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


class VersionStatus(models.TextChoices):
    """Registered, then ready or rejected by its probe, at the end retired."""

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
            raise NotFound(_no_such_version(model, text))
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


class Route(models.Model):
    """One row is one version's share of a model's traffic, in percent; a model's shares add to 100."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="routes")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="routes")
    weight = models.PositiveSmallIntegerField()

    class Meta:
        verbose_name = _("route")
        verbose_name_plural = _("routes")
        ordering = ["model", "version"]
        constraints = [
            models.UniqueConstraint(fields=["model", "version"], name="trivet_route_once"),
            models.CheckConstraint(condition=Q(weight__gte=1, weight__lte=100), name="trivet_route_weight_percent"),
        ]

    def __str__(self) -> str:
        return f"{self.weight} %"


class Shadow(models.Model):
    """One row is a version that runs a share of a model's requests, in percent, and never answers."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="shadows")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="shadows")
    weight = models.PositiveSmallIntegerField()

    class Meta:
        verbose_name = _("shadow")
        verbose_name_plural = _("shadows")
        ordering = ["model", "version"]
        constraints = [
            models.UniqueConstraint(fields=["model", "version"], name="trivet_shadow_once"),
            models.CheckConstraint(condition=Q(weight__gte=1, weight__lte=100), name="trivet_shadow_weight_percent"),
        ]

    def __str__(self) -> str:
        return f"{self.weight} %"


class GoldenCaseQuerySet(models.QuerySet["GoldenCaseRow"]):
    """Many golden cases."""

    def in_force(self) -> GoldenCaseQuerySet:
        """Return those that nobody took away."""
        return self.filter(removed_at__isnull=True)


class GoldenCaseRow(models.Model):
    """One row is a golden case of a model: what any version has to answer to one row. Taken away, it stays on record."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="golden_cases")
    number = models.PositiveIntegerField()
    inputs = models.JSONField()
    expect = models.JSONField()
    note = models.TextField(blank=True, help_text=_("Why it must be so."))
    author = models.CharField(max_length=ACTOR_LENGTH)
    created_at = models.DateTimeField(default=timezone.now)
    removed_at = models.DateTimeField(null=True)

    objects = GoldenCaseQuerySet.as_manager()

    class Meta:
        verbose_name = _("golden case")
        verbose_name_plural = _("golden cases")
        ordering = ["model", "number"]
        db_table = "trivet_goldencase"
        constraints = [models.UniqueConstraint(fields=["model", "number"], name="trivet_golden_case_number_once")]

    def __str__(self) -> str:
        return f"golden case {self.number} of {self.model.name}"


class GrantQuerySet(models.QuerySet["Grant"]):
    """Many grants."""

    def of_person(self, user: Any) -> GrantQuerySet:
        """Return those that hold for a user of the project: their own, and those of their groups."""
        mine = Q(user=user.pk)
        return self.filter(mine | Q(group__in=user.groups.all()) if hasattr(user, "groups") else mine)


class Grant(models.Model):
    """One row lets a user or a group do some things with one model; a Django permission lets them with all.

    An API key's grants stand in its own row. Deleting the user, the group or the model deletes the grant.
    """

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="grants")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="+")
    group = models.ForeignKey("auth.Group", on_delete=models.CASCADE, null=True, related_name="+")
    verbs = models.JSONField(help_text=_("What they may do with it."))

    objects = GrantQuerySet.as_manager()

    class Meta:
        verbose_name = _("grant")
        verbose_name_plural = _("grants")
        ordering = ["model", "pk"]
        permissions = [("manage_grants", _("Can say who may do what with a model"))]
        constraints = [
            models.UniqueConstraint(fields=["model", "user"], name="trivet_grant_of_user_once"),
            models.UniqueConstraint(fields=["model", "group"], name="trivet_grant_of_group_once"),
            models.CheckConstraint(
                condition=Q(user__isnull=False, group__isnull=True) | Q(user__isnull=True, group__isnull=False),
                name="trivet_grant_to_one_principal",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.principal}: {', '.join(self.verbs)}"

    @property
    def principal(self) -> str:
        """Whose it is, as `user:NAME` or `group:NAME`."""
        if self.group is not None:
            return f"group:{self.group.name}"
        return f"user:{self.user.get_username()}" if self.user is not None else ""


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Many keys."""

    def usable(self, now: datetime | None = None) -> ApiKeyQuerySet:
        """Return those neither revoked nor expired, whose owner, where they have one, was not disabled."""
        return self.filter(revoked_at=None).exclude(expires_at__lte=now or timezone.now()).exclude(_owner_is_gone())

    def orphaned(self) -> ApiKeyQuerySet:
        """Return those not yet revoked whose owner was disabled or deleted."""
        return self.filter(_owner_is_gone(), revoked_at=None)

    def note_use(self, ids: Collection[str]) -> None:
        """Write that these keys were used now; those of which that was written within the last minute stay as they are."""
        stale = Q(last_used_at=None) | Q(last_used_at__lt=Now() - timedelta(seconds=USE_NOTED_SECONDS))
        self.filter(stale, pk__in=ids).update(last_used_at=Now())


def _owner_is_gone() -> Q:
    """Return what holds for a key whose owner was deleted, or disabled where the site's users can be."""
    deleted = Q(owner=None) & ~Q(owner_name="")
    names = {field.name for field in get_user_model()._meta.get_fields()}
    return deleted | Q(owner__is_active=False) if "is_active" in names else deleted


class ApiKey(models.Model):
    """One row is a machine's credential; only the keyed hash of it is stored."""

    id = models.CharField(primary_key=True, max_length=8)
    name = models.CharField(max_length=100)
    hash = models.BinaryField()
    previous_hash = models.BinaryField(null=True, help_text=_("Of the secret before, while that is valid as well."))
    previous_until = models.DateTimeField(null=True)
    grants = models.JSONField(help_text=_("Model name, or *, to a list of verbs."))
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        help_text=_("Whose key it is: it ends with them."),
    )
    owner_name = models.CharField(max_length=ACTOR_LENGTH, blank=True, default="", db_default="")
    limits = models.JSONField(null=True, help_text=_("Model name, or *, to how often it may be asked, such as 100/s."))
    created_by = models.CharField(max_length=ACTOR_LENGTH)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ["name", "created_at"]
        permissions = [("manage_keys", _("Can issue and revoke API keys"))]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def is_usable(self) -> bool:
        """True while it is neither revoked nor expired, and its owner, where it has one, was not disabled."""
        is_over = self.revoked_at is not None or (self.expires_at is not None and self.expires_at <= timezone.now())
        owner_is_there = self.owner.is_active if self.owner is not None else not self.owner_name
        return bool(owner_is_there and not is_over)


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


def _no_such_version(model: str, word: str) -> str:
    names = list(RegisteredModel.objects.values_list("name", flat=True))
    if model not in names:
        return f"no model {quoted(model)}.{did_you_mean(model, names)}"
    aliases = list(Alias.objects.filter(model__name=model).values_list("name", flat=True))
    return f"{model} has no version {quoted(word)}.{did_you_mean(word, aliases)}"
