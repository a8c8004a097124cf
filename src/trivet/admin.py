"""The registry and the log in Django's admin: to look at, filter and search. The one change it offers calls an action."""

from __future__ import annotations

import re
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _, ngettext

from trivet.control.predictions.models import Prediction
from trivet.control.registry import actions
from trivet.control.registry.models import (
    Alias,
    ApiKey,
    Event,
    GoldenCaseRow,
    Grant,
    ModelVersion,
    Proposal,
    RegisteredModel,
    Route,
    Shadow,
)
from trivet.control.registry.permissions import can, models_open_to

COSTLY = {"regex", "iregex", "contains", "icontains", "contained_by", "has_key", "has_keys", "has_any_keys"}
"""What no filter of these pages asks: SQLite runs patterns in this process, and a value of JSON must be JSON."""
SEARCHED_WORDS, SEARCHED_CHARACTERS = 8, 256


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that are changed by actions, never by a form.

    Who has the table's own permission sees every row; others, those of the models that they may know of.
    """

    hidden: tuple[str, ...] = ()  # fields that no address may filter by: to search is to read, one bit at a time
    name_of_model = ""  # where a row's model has its name; nothing: the rows are of no single model
    seen_with = "view"  # the verb with that model that shows its rows

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows that this person may see."""
        rows = super().get_queryset(request)
        known = self._known(request)
        if known is None:
            return rows
        return rows.filter(**{f"{self.name_of_model}__in": known}) if known else rows.none()

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row of an address; None for an id that no row has, which PostgreSQL would not even be asked for."""
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether this person may see the table, or one row of it."""
        known = self._known(request)
        if known is None:
            return True
        return bool(known) if obj is None else self._model_of(obj) in known

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return the same for the index page."""
        return self.has_view_permission(request) or super().has_module_permission(request)

    def _known(self, request: HttpRequest) -> frozenset[str] | None:
        """Return the names of the models whose rows this person may see; None where all rows."""
        if self._sees_all(request):
            return None
        return models_open_to(request.user, self.seen_with) or frozenset() if self.name_of_model else frozenset()

    def _sees_all(self, request: HttpRequest) -> bool:
        return super().has_view_permission(request)

    def _model_of(self, row: Any) -> str:
        for name in self.name_of_model.split("__"):
            row = getattr(row, name)
        return str(row)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Return False for the hidden fields, whoever asks, and for what no filter of these pages asks."""
        field, *asked = lookup.split("__")
        if field in self.hidden or COSTLY & set(asked):
            return False
        if {"year", "month", "day"} & set(asked) and not re.fullmatch("[0-9]{1,4}", str(value)):
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search for the first words alone: each is a condition on every column."""
        words = search_term[:SEARCHED_CHARACTERS].split()[:SEARCHED_WORDS]
        return super().get_search_results(request, queryset, " ".join(words))

    def has_add_permission(self, *_: Any, **__: Any) -> bool:
        """Return False: rows come from actions."""
        return False

    def has_change_permission(self, *_: Any, **__: Any) -> bool:
        """Return False: rows change by actions."""
        return False

    def has_delete_permission(self, *_: Any, **__: Any) -> bool:
        """Return False: what was decided stays on record."""
        return False


OF_MODEL = ("model", admin.RelatedOnlyFieldListFilter)  # names of models that this person may know of


class RouteInline(admin.TabularInline):
    """The shares of one model's traffic."""

    model: type[Model] = Route
    extra = 0
    can_delete = False
    fields = ("version", "weight")

    def has_add_permission(self, *_: Any, **__: Any) -> bool:
        """Return False: rows come from actions."""
        return False

    def has_change_permission(self, *_: Any, **__: Any) -> bool:
        """Return False: rows change by actions."""
        return False


class ShadowInline(RouteInline):
    """The shadows of one model."""

    model = Shadow


@admin.register(RegisteredModel)
class RegisteredModelAdmin(ReadOnlyAdmin):
    """Names that answer."""

    name_of_model = "name"
    list_display = ("name", "title", "owner", "anonymous", "previous_champion", "generation", "created_at")
    list_filter = ("anonymous",)
    inlines = (RouteInline, ShadowInline)
    search_fields = ("name", "title", "owner")


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    """Immutable trained models."""

    name_of_model = "model__name"
    list_display = ("__str__", "status", "runtime", "short_digest", "cost_us_per_row", "author", "created_at")
    list_filter = ("status", "runtime", OF_MODEL)
    list_select_related = ("model",)
    search_fields = ("model__name", "digest", "author", "note")
    date_hierarchy = "created_at"

    @admin.display(description=_("digest"), ordering="digest")
    def short_digest(self, version: ModelVersion) -> str:
        """Return as much of the digest as a person compares."""
        return version.digest[:12]


@admin.register(Alias)
class AliasAdmin(ReadOnlyAdmin):
    """Movable names for versions."""

    name_of_model = "model__name"
    list_display = ("model", "name", "version")
    list_filter = ("name", OF_MODEL)
    list_select_related = ("model", "version__model")


@admin.register(Route)
class RouteAdmin(ReadOnlyAdmin):
    """Shares of traffic."""

    name_of_model = "model__name"
    list_display = ("model", "version", "weight")
    list_filter = (OF_MODEL,)
    list_select_related = ("model", "version__model")


@admin.register(GoldenCaseRow)
class GoldenCaseAdmin(ReadOnlyAdmin):
    """What any version of a model has to answer to given rows."""

    name_of_model = "model__name"
    list_display = ("model", "number", "expect", "note", "author", "created_at", "removed_at")
    list_filter = (("removed_at", admin.EmptyFieldListFilter), OF_MODEL)
    list_select_related = ("model",)
    search_fields = ("model__name", "note", "author")


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """Who did what, when and why."""

    name_of_model = "model"
    list_display = ("generation", "at", "actor", "action", "model", "version", "reason")
    list_filter = ("action", "model")
    search_fields = ("actor", "model", "reason")
    date_hierarchy = "at"


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Machines' credentials; what is stored of their secrets is not shown."""

    list_display = (
        "name",
        "id",
        "grants",
        "limits",
        "owner_name",
        "created_by",
        "created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
    )
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "id", "created_by")
    exclude = hidden = ("hash", "previous_hash")
    actions = ("revoke",)

    def has_manage_keys_permission(self, request: HttpRequest) -> bool:
        """Return whether this person may issue and revoke keys."""
        return can(request.user, "manage_keys")

    @admin.action(description=_("Revoke selected keys"), permissions=["manage_keys"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        """Revoke each of `keys`."""
        if not request.user.is_authenticated:
            raise PermissionDenied
        for key in keys:
            actions.revoke_key(key=key.pk, actor=request.user, reason="admin")
        count = len(keys)
        self.message_user(request, ngettext("%d key revoked.", "%d keys revoked.", count) % count, messages.SUCCESS)


@admin.register(Prediction)
class PredictionAdmin(ReadOnlyAdmin):
    """Recorded answers; their inputs and parameters only for those who may see inputs."""

    name_of_model, seen_with = "model", "view_predictions"
    list_display = ("public_id", "made_at", "model", "version", "decision", "score", "caller", "latency_us")
    list_filter = ("kind", "cached", "door", "route")
    search_fields = ("prediction_id", "model", "entity_key", "request_id")
    date_hierarchy = "made_at"
    show_full_result_count = False  # the log is large
    hidden = ("inputs", "inputs_sha256", "parameters", "salt")  # with these digests inputs could be guessed

    def _sees_all(self, request: HttpRequest) -> bool:
        return can(request.user, self.seen_with)

    def get_exclude(self, request: HttpRequest, obj: Prediction | None = None) -> tuple[str, ...]:
        """Leave the inputs out for those who may not see them."""
        return () if can(request.user, "view_inputs", obj.model if obj else None) else self.hidden


@admin.register(Grant)
class GrantAdmin(ReadOnlyAdmin):
    """Who may do what with one model."""

    list_display = ("principal", "model", "verbs")
    list_filter = ("model",)
    list_select_related = ("model", "user", "group")


@admin.register(Proposal)
class ProposalAdmin(ReadOnlyAdmin):
    """Moves of traffic that wait, or waited, for a second person."""

    name_of_model = "model__name"
    list_display = ("pk", "model", "action", "proposer", "reason", "proposed_at", "state", "decided_by", "decided_at")
    list_filter = ("state", OF_MODEL)
    list_select_related = ("model",)
