"""The registry and the log in Django's admin: to look at, filter and search. The one change it offers calls an action."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
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
    ModelVersion,
    RegisteredModel,
    Route,
    Shadow,
)


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that are changed by actions, never by a form."""

    hidden: tuple[str, ...] = ()  # fields that no address may filter by: to search is to read, one bit at a time

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Return False for the hidden fields, whoever asks."""
        return lookup.partition("__")[0] not in self.hidden and super().lookup_allowed(lookup, value, request)

    def has_add_permission(self, *_: Any, **__: Any) -> bool:
        """Return False: rows come from actions."""
        return False

    def has_change_permission(self, *_: Any, **__: Any) -> bool:
        """Return False: rows change by actions."""
        return False

    def has_delete_permission(self, *_: Any, **__: Any) -> bool:
        """Return False: what was decided stays on record."""
        return False


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

    list_display = ("name", "title", "owner", "anonymous", "previous_champion", "generation", "created_at")
    list_filter = ("anonymous",)
    inlines = (RouteInline, ShadowInline)
    search_fields = ("name", "title", "owner")


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    """Immutable trained models."""

    list_display = ("__str__", "status", "runtime", "short_digest", "cost_us_per_row", "author", "created_at")
    list_filter = ("status", "runtime", "model")
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

    list_display = ("model", "name", "version")
    list_filter = ("name", "model")
    list_select_related = ("model", "version__model")


@admin.register(Route)
class RouteAdmin(ReadOnlyAdmin):
    """Shares of traffic."""

    list_display = ("model", "version", "weight")
    list_filter = ("model",)
    list_select_related = ("model", "version__model")


@admin.register(GoldenCaseRow)
class GoldenCaseAdmin(ReadOnlyAdmin):
    """What any version of a model has to answer to given rows."""

    list_display = ("model", "number", "expect", "note", "author", "created_at", "removed_at")
    list_filter = (("removed_at", admin.EmptyFieldListFilter), "model")
    list_select_related = ("model",)
    search_fields = ("model__name", "note", "author")


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """Who did what, when and why."""

    list_display = ("generation", "at", "actor", "action", "model", "version", "reason")
    list_filter = ("action", "model")
    search_fields = ("actor", "model", "reason")
    date_hierarchy = "at"


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Machines' credentials; what is stored of their secrets is not shown."""

    list_display = ("name", "id", "grants", "created_by", "created_at", "expires_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "id", "created_by")
    exclude = hidden = ("hash",)
    actions = ("revoke",)

    def has_manage_keys_permission(self, request: HttpRequest) -> bool:
        """Return whether this person may issue and revoke keys."""
        return request.user.has_perm("trivet.manage_keys")

    @admin.action(description=_("Revoke selected keys"), permissions=["manage_keys"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        """Revoke each of `keys`."""
        for key in keys:
            actions.revoke_key(key=key.pk, actor=f"user:{request.user.get_username()}", reason="admin")
        count = len(keys)
        self.message_user(request, ngettext("%d key revoked.", "%d keys revoked.", count) % count, messages.SUCCESS)


@admin.register(Prediction)
class PredictionAdmin(ReadOnlyAdmin):
    """Recorded answers; their inputs and parameters only for those who may see inputs."""

    list_display = ("public_id", "made_at", "model", "version", "decision", "score", "caller", "latency_us")
    list_filter = ("kind", "cached", "door", "route")
    search_fields = ("prediction_id", "model", "entity_key", "request_id")
    date_hierarchy = "made_at"
    show_full_result_count = False  # the log is large
    hidden = ("inputs", "parameters", "salt")  # with the salt, inputs could be guessed

    def has_view_permission(self, request: HttpRequest, *_: Any, **__: Any) -> bool:
        """Return whether this person may read the log."""
        return request.user.has_perm("trivet.view_predictions")

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return the same for the index page."""
        return request.user.has_perm("trivet.view_predictions") or super().has_module_permission(request)

    def get_exclude(self, request: HttpRequest, *_: Any, **__: Any) -> tuple[str, ...]:
        """Leave the inputs out for those who may not see them."""
        return () if request.user.has_perm("trivet.view_inputs") else self.hidden
