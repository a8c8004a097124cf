"""The registry and the log in Django's admin: to look at, filter and search. The one change it offers calls an action."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import reduce
from operator import or_
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Max, Model, Q, QuerySet, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _, ngettext

from trivet.control.predictions.models import Label, Prediction
from trivet.control.predictions.searching import LOOKED_AT
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
from trivet.control.scoring.models import ScoringError, ScoringRun
from trivet.core.ids import split_row_id
from trivet.core.records import SHADOW

COSTLY = {"regex", "iregex", "contains", "icontains", "contained_by", "has_key", "has_keys", "has_any_keys"}
"""What no filter of these pages asks: SQLite runs patterns in this process, and a value of JSON must be JSON."""
SEARCHED_WORDS, SEARCHED_CHARACTERS = 8, 256
NEWEST = 10_000  # rows of a long table that its list has pages for


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
        return self._rows_of(rows, known) if known else rows.none()

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

    def _rows_of(self, rows: QuerySet[Any], known: Collection[str]) -> QuerySet[Any]:
        return rows.filter(**{f"{self.name_of_model}__in": known})

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


class KnownValues(admin.SimpleListFilter):
    """Filters by a column whose values are known: to ask a long log which it has would read all of it."""

    parameter_name: str = ""
    values: tuple[str, ...] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002  (Django's contract)
        """Return the values."""
        return [(value, value) for value in self.values]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002  (Django's contract)
        """Return the rows that have the chosen one."""
        value = self.value()
        return queryset if value is None else queryset.filter(**{self.parameter_name: value})


class NameOfModel(KnownValues):
    """Filters by a model, of those that this person may know of."""

    title, parameter_name = _("model"), "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002  (Django's contract)
        """Return the names that are registered."""
        known, names = models_open_to(request.user), RegisteredModel.objects.values_list("name", flat=True)
        return [(name, name) for name in names.order_by("name") if known is None or name in known]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002  (Django's contract)
        """Return the rows of the chosen one."""
        value = self.value()
        return queryset if value is None else of_models(queryset, [value])


def of_models(rows: QuerySet[Any], names: Collection[str]) -> QuerySet[Any]:
    """Return those of `rows` that are of some models, past the index: SQLite would find all of these by it, and sort them."""
    found: QuerySet[Any] = rows.alias(of=Coalesce("model", Value(""))).filter(of__in=names)
    return found


class KindOfAnswer(KnownValues):
    """Answers, or what shadows would have said."""

    title, parameter_name, values = _("kind"), "kind", ("predict", SHADOW)


class Door(KnownValues):
    """How it was asked for."""

    title, parameter_name, values = _("door"), "door", ("rest", "rows", "csv", "v1", "grpc", "python")


class Reason(KnownValues):
    """Why that version was asked."""

    title, parameter_name = _("route"), "route"
    values = ("only", "split", "sticky", "audience", "alias", "pinned", "fallback", SHADOW)


class NewestPages(Paginator):
    """Pages of the newest rows. To count a long log takes seconds, and nobody turns to its ten-thousandth page."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        """How many rows have a page."""
        return self.object_list.order_by()[:NEWEST].count()


class NewestRows(ChangeList):
    """Rows in the order in which they were written, the newest first; past what is named, no older ones are looked at."""

    model_admin: LogAdmin

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return what is filtered of the newest rows, or what is named of all."""
        rows = super().get_queryset(request, exclude_parameters)
        return (
            rows if self.model_admin.named(self.query) is not None else rows.filter(pk__gt=self._newest() - LOOKED_AT)
        )

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:  # noqa: ARG002  (Django's contract)
        """Return the only order for which no row is sorted."""
        return ["-pk"]

    def _newest(self) -> int:
        newest: int | None = self.model._default_manager.aggregate(newest=Max("pk"))["newest"]
        return newest or 0


class LogAdmin(ReadOnlyAdmin):
    """A table that grows with what is asked: its list neither counts nor sorts nor filters all of it."""

    paginator = NewestPages
    show_full_result_count = False
    sortable_by = ()
    ids: tuple[str, ...] = ()  # columns of UUIDs that are found by an index

    def named(self, term: str) -> Q | None:
        """Return the condition of being what `term` names, which an index finds; None where it names nothing."""
        found = split_row_id(term.strip().lower())
        return reduce(or_, (Q(**{name: found[0]}) for name in self.ids)) if found else None

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find what is named, wherever in the log; else look for words."""
        named = self.named(search_term)
        if named is None:
            return super().get_search_results(request, queryset, search_term)
        return queryset.filter(named), False

    def get_changelist(self, request: HttpRequest, **_options: Any) -> type[ChangeList]:  # noqa: ARG002  (Django's contract)
        """Return what makes the list."""
        return NewestRows

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Return the list, which says how far it goes."""
        told = _("the newest %(count)s at most, of the last %(rows)s; an id is found wherever it is")
        values = {"count": f"{NEWEST:,}", "rows": f"{LOOKED_AT:,}"}
        return super().changelist_view(request, {"subtitle": told % values, **(extra_context or {})})

    def _rows_of(self, rows: QuerySet[Any], known: Collection[str]) -> QuerySet[Any]:
        return of_models(rows, known)


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
class PredictionAdmin(LogAdmin):
    """Recorded answers; their inputs and parameters only for those who may see inputs."""

    name_of_model, seen_with = "model", "view_predictions"
    list_display = ("public_id", "made_at", "model", "version", "decision", "score", "caller", "latency_us")
    list_filter = (NameOfModel, ("made_at", admin.DateFieldListFilter), KindOfAnswer, "cached", Door, Reason)
    search_fields = ("prediction_id", "model", "entity_key", "request_id")
    ids = ("prediction_id",)
    hidden = ("inputs", "inputs_sha256", "parameters", "salt")  # with these digests inputs could be guessed

    def named(self, term: str) -> Q | None:
        """Return the condition of being the prediction, or about the entity, that `term` names."""
        entity = term.strip()
        is_known = entity and Prediction.objects.about(entity).exists()
        return Q(entity_key=entity) if is_known else super().named(term)

    def _sees_all(self, request: HttpRequest) -> bool:
        return can(request.user, self.seen_with)

    def get_exclude(self, request: HttpRequest, obj: Prediction | None = None) -> tuple[str, ...]:
        """Leave the inputs out for those who may not see them."""
        return () if can(request.user, "view_inputs", obj.model if obj else None) else self.hidden


@admin.register(Label)
class LabelAdmin(LogAdmin):
    """What was said to have turned out true; a search for a receipt shows what became of a request."""

    name_of_model, seen_with = "model", "view_predictions"
    list_display = ("__str__", "model", "state", "revision", "source", "observed_at", "received_at", "caller", "reason")
    list_filter = (NameOfModel, ("received_at", admin.DateFieldListFilter), "state")
    search_fields = ("prediction_id", "receipt", "model", "entity_key")
    ids = ("prediction_id", "receipt")

    def _sees_all(self, request: HttpRequest) -> bool:
        return can(request.user, self.seen_with)


@admin.register(Grant)
class GrantAdmin(ReadOnlyAdmin):
    """Who may do what with one model."""

    list_display = ("principal", "model", "verbs")
    list_filter = ("model",)
    list_select_related = ("model", "user", "group")


@admin.register(ScoringRun)
class ScoringRunAdmin(ReadOnlyAdmin):
    """Walks through tables of the project: how far each is, and who began it."""

    name_of_model = "model"
    list_display = ("pk", "model", "version", "target", "state", "done", "total", "errors", "eta", "actor", "began_at")
    list_filter = ("state", "model")
    search_fields = ("model", "table", "actor")
    exclude = hidden = ("claim",)


@admin.register(ScoringError)
class ScoringErrorAdmin(ReadOnlyAdmin):
    """Rows that a run could not score, and why, in which their values may be named."""

    name_of_model, seen_with = "run__model", "view_inputs"
    list_display = ("run", "key", "message")
    list_filter = ("run__model",)
    list_select_related = ("run",)

    def _sees_all(self, request: HttpRequest) -> bool:
        return can(request.user, self.seen_with)


@admin.register(Proposal)
class ProposalAdmin(ReadOnlyAdmin):
    """Moves of traffic that wait, or waited, for a second person."""

    name_of_model = "model__name"
    list_display = ("pk", "model", "action", "proposer", "reason", "proposed_at", "state", "decided_by", "decided_at")
    list_filter = ("state", OF_MODEL)
    list_select_related = ("model",)
