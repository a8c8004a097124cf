"""The admin of your own models: a column, a filter and a badge of what a model said of each row, and an action that asks it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import connections
from django.db.models import Expression, F, FloatField, Model, OrderBy, QuerySet, Value
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _, gettext_lazy

from trivet.admin.said import Meaning, badge, column_of, in_words, meaning_of, score_in
from trivet.control.registry.permissions import can
from trivet.core.errors import TrivetError

if TYPE_CHECKING:
    Base = admin.ModelAdmin
else:
    Base = object

MOST_AT_ONCE = 500  # rows that are scored while somebody waits for a page
MOST_LATER = 10_000  # rows whose keys a task is given
ACTION = "trivet_score_"  # begins the name of an action; the model's name follows
BANDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "low": (gettext_lazy("low: under a third"), {"lt": 1 / 3}),
    "medium": (gettext_lazy("medium"), {"gte": 1 / 3, "lt": 2 / 3}),
    "high": (gettext_lazy("high: two thirds and more"), {"gte": 2 / 3}),
    "none": (gettext_lazy("nothing was said"), {"isnull": True}),
}


class PredictionAdminMixin(Base):
    """What models say of the rows of a ModelAdmin: put it before `admin.ModelAdmin`, and name the models in `predictors`.

    Each gets an action "Score with churn" for who may predict with it and change these rows, a filter by how likely its class
    is, and on the page of a row what it said last of it. `prediction_column` is its column in the list. Nothing is predicted
    to fill a page. The action asks of up to 500 rows at once, and writes into the PredictedField of the model where the
    table has one; more are for a task, where the project has workers for such, or else for the command, which it names.
    What is not in a column of the table is read from the log, by who has `view_predictions`.

    Raises `TypeError` for `predictors` that are one text.
    """

    predictors: ClassVar[Sequence[str]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a name in place of several."""
        super().__init_subclass__(**options)
        if isinstance(cls.predictors, str):
            raise TypeError(f"{cls.__name__}.predictors is a text: write [{cls.predictors!r}].")

    def __init__(self, model: type[Model], admin_site: Any) -> None:
        super().__init__(model, admin_site)
        if self.actions is not None:  # else there are none, by wish
            self.actions = [*self.actions, *(self._action_of(predictor) for predictor in self.predictors)]

    # --- the list -----------------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows; in the list each with its numbers, which are nothing to who may not see them."""
        rows = super().get_queryset(request)
        if request.resolver_match is not None and not str(request.resolver_match.url_name).endswith("_changelist"):
            return rows
        seen = self._seen_by(request)
        for model in self._shown():
            meaning = self._meaning(request, model)
            number = score_in(self.model, model) if model in seen else Value(None, FloatField())
            rows = rows.annotate(**{_score_name(model): number, _share_name(model): Value(meaning.is_share)})
        return rows

    def get_list_display(self, request: HttpRequest) -> Any:
        """Return the columns, without those that this person may not see."""
        seen = self._seen_by(request)
        columns = super().get_list_display(request)
        return [one for one in columns if not isinstance(one, PredictionColumn) or one.predictor in seen]

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Return the filters, and one for each model of which the numbers are probabilities."""
        shares = [model for model in self._seen_by(request) if self._meaning(request, model).is_share]
        return [*super().get_list_filter(request), *map(_filter_of, shares)]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, or do what was chosen; refuse an action that this person was not offered."""
        for name in request.POST.getlist("action"):
            model = name.removeprefix(ACTION)
            if name != model and not self.may_score(request, model):
                raise PermissionDenied
        return super().changelist_view(request, extra_context)

    # --- the action ---------------------------------------------------------------------------------------------------

    def may_score(self, request: HttpRequest, model: str) -> bool:
        """Return whether this person is offered to ask `model` of these rows, which takes the right to change them, too."""
        return model in self.predictors and self.has_change_permission(request) and can(request.user, "predict", model)

    def _action_of(self, model: str) -> Any:
        permission = f"score_{model.encode().hex()}"
        setattr(self, f"has_{permission}_permission", partial(self.may_score, model=model))  # which Django asks

        @admin.action(permissions=[permission], description=gettext_lazy("Score with %(model)s") % {"model": model})
        def score(of: PredictionAdminMixin, request: HttpRequest, rows: QuerySet[Any]) -> None:
            _score(model, of, request, rows)

        score.__name__ = ACTION + model
        return score

    def score_rows(self, request: HttpRequest, rows: QuerySet[Any], model: str) -> tuple[int, int]:
        """Ask `model` of `rows`; return of how many it said something and how many were refused. Raises `TrivetError`."""
        from trivet.serving.predict import predict_many  # what predicts: a keeper, which has the admin too, never does
        from trivet.serving.scoring.scoring import BATCH_SIZE, walk

        keys = list(rows.values_list("pk", flat=True))
        mine = self.model._base_manager.using(_database_of(rows)).filter(pk__in=keys)
        if column_of(self.model, model) is None:
            return len(predict_many(model, mine, user=request.user)), 0
        run = walk(mine, model, to="", only_stale=False, batch_size=BATCH_SIZE, limit=None, user=request.user)
        return run.done, run.errors

    # --- the page of a row --------------------------------------------------------------------------------------------

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields that are shown only, and a badge for each model, on the page of a row that is saved."""
        fields = super().get_readonly_fields(request, obj)
        if obj is None:
            return fields
        return [*fields, *(self._badge_of(model, request) for model in self._seen_by(request))]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the parts of the page, the last of which has the badges where no other has them."""
        parts = super().get_fieldsets(request, obj)
        shown = flatten_fieldsets(parts)
        left = [one for one in self.get_readonly_fields(request, obj) if isinstance(one, _Badge) and one not in shown]
        return [*parts, (_("Predictions"), {"fields": left})] if left else parts

    def _badge_of(self, model: str, request: HttpRequest) -> _Badge:
        return _Badge(model, can(request.user, "view_predictions", model))

    def _seen_by(self, request: HttpRequest) -> list[str]:
        """Return the models of which this person may see what they said: all that a column of the table has."""
        return [
            model
            for model in self._shown()
            if column_of(self.model, model) is not None or can(request.user, "view_predictions", model)
        ]

    def _shown(self) -> list[str]:
        """Return the models that are named, by `predictors` or by a column."""
        columns = [one.predictor for one in self.list_display if isinstance(one, PredictionColumn)]
        return list(dict.fromkeys([*self.predictors, *columns]))

    def _meaning(self, request: Any, model: str) -> Meaning:
        """Return what the numbers of a model mean, found out once a request."""
        known: dict[str, Meaning] = request.__dict__.setdefault("_trivet_meanings", {})
        if model not in known:
            known[model] = meaning_of(model)
        return known[model]


class PredictionColumn:
    """The column of one model in `list_display`; made by `prediction_column`."""

    def __init__(self, predictor: str) -> None:
        self.predictor = self.__name__ = predictor
        self.short_description = predictor.replace("_", " ")
        self.admin_order_field = OrderBy(
            _Annotated(_score_name(predictor)), nulls_first=True
        )  # the largest first: last

    def __call__(self, row: Any) -> str:
        """Return what the model said of a row, in words: what the list has found, or the row's own column."""
        column = column_of(type(row), self.predictor)
        score = getattr(row, _score_name(self.predictor), getattr(row, column.name) if column else None)
        return in_words(score, share=getattr(row, _share_name(self.predictor), False))


class _Annotated(Expression):
    """What a QuerySet was annotated with by this name, if it was; so nobody sorts by what the list does not show them."""

    def __init__(self, name: str) -> None:
        super().__init__(FloatField())
        self._name = name

    def resolve_expression(self, query: Any = None, *arguments: Any, **options: Any) -> Any:
        """Become the annotation; where it is none, or the same for all rows, which PostgreSQL orders nothing by, the key."""
        annotated = query.annotations.get(self._name)
        found: Any = F("pk" if annotated is None or isinstance(annotated, Value) else self._name)
        return found.resolve_expression(query, *arguments, **options)


def prediction_column(predictor: str) -> PredictionColumn:
    """Return a column for `list_display` with what the model of this name said last about each row; it can be sorted by."""
    return PredictionColumn(predictor)


class _Badge:
    """The field of one model on the page of a row."""

    def __init__(self, model: str, sees_log: bool) -> None:
        self._model, self._sees_log = model, sees_log
        self.__name__ = f"said_by_{model}"
        self.short_description = model.replace("_", " ")

    def __call__(self, row: Model) -> str:
        return badge(row, self._model, sees_log=self._sees_log)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Badge) and other.__name__ == self.__name__

    def __hash__(self) -> int:
        return hash(self.__name__)


def _filter_of(model: str) -> type[admin.SimpleListFilter]:
    """Return the filter by how likely the class is that `model` speaks of."""

    class Band(admin.SimpleListFilter):
        title = model.replace("_", " ")
        parameter_name = f"said_by_{model}"

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002  (Django's contract)
            return [(name, words) for name, (words, _lookups) in BANDS.items()]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002  (Django's contract)
            if self.value() not in BANDS:
                return queryset
            lookups = BANDS[self.value() or ""][1]
            return queryset.filter(**{f"{_score_name(model)}__{word}": bound for word, bound in lookups.items()})

    return Band


def _score(model: str, of: PredictionAdminMixin, request: HttpRequest, rows: QuerySet[Any]) -> None:
    """Ask `model` of the rows that were chosen, or have a task do so, and say what came of it."""
    try:
        level, text = _outcome(model, of, request, rows)
    except (TrivetError, ImproperlyConfigured) as error:
        level, text = messages.ERROR, str(error)
    of.message_user(request, text, level)


def _outcome(model: str, of: PredictionAdminMixin, request: HttpRequest, rows: QuerySet[Any]) -> tuple[int, str]:
    number, has_column = rows.count(), column_of(of.model, model) is not None
    is_atomic = connections[rows.db].settings_dict.get("ATOMIC_REQUESTS", False)  # then nothing is scored in a request
    if has_column and (is_atomic or number > MOST_AT_ONCE) and _is_enqueued(model, of, request, rows):
        text = _("%(number)s rows are scored with %(model)s by a task, as soon as a worker takes it.")
        return messages.INFO, text % {"number": number, "model": model}
    if number > MOST_AT_ONCE:
        text = _("%(number)s rows are more than the %(most)s that a page waits for: choose fewer.")
        if has_column:
            text += " " + _("In a shell, for all rows of the table that are stale: %(command)s --apply")
        command = f"trivet score {model} {of.model._meta.label}"
        return messages.WARNING, text % {"number": number, "most": MOST_AT_ONCE, "command": command}
    done, refused = of.score_rows(request, rows, model)
    text = _("Scored %(done)s rows with %(model)s.") % {"done": done, "model": model}
    if not refused:
        return messages.SUCCESS, text
    return messages.WARNING, f"{text} {_('%(refused)s were refused: see the scoring runs.') % {'refused': refused}}"


def _is_enqueued(model: str, of: PredictionAdminMixin, request: HttpRequest, rows: QuerySet[Any]) -> bool:
    """Have a worker score the rows into their column; return False where a task would not run elsewhere, or cannot say which."""
    from trivet.tasks import Missing, score  # what predicts is loaded by who does

    if isinstance(score, Missing) or _database_of(rows) is not None:
        return False
    if type(score.get_backend()).__name__ in ("ImmediateBackend", "DummyBackend"):
        return False
    keys = [str(key) for key in rows.values_list("pk", flat=True)[: MOST_LATER + 1]]
    if len(keys) > MOST_LATER or any("," in key for key in keys):
        return False
    where = {"pk__in": ",".join(keys)}
    score.enqueue(model, of.model._meta.label, where=where, only_stale=False, user=request.user.get_username())
    return True


def _database_of(rows: Any) -> str | None:
    """Return the database that somebody chose; None where a router says where to read and where to write."""
    chosen: str | None = rows._db
    return chosen


def _score_name(model: str) -> str:
    return f"trivet_score_{model.encode().hex()}"


def _share_name(model: str) -> str:
    return f"trivet_share_{model.encode().hex()}"
