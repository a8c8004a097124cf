"""Latest: the newest logged prediction about each row of a query, as a column of it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import FieldError
from django.db.models import CharField, Expression, Field, Func, Model, OuterRef, Subquery, UUIDField, Value
from django.db.models.functions import Cast, Concat

from trivet.core.signature import enumerate_names
from trivet.features.paths import resolved
from trivet.features.source import prefix_of

UUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))  # start and length, of 32 digits
VALUES = ("score", "decision", "version", "made_at", "output", "flags")


class Latest(Expression):
    """What the champion of a model said last about each row, or None: `Customer.objects.annotate(risk=Latest("churn"))`.

    It is read from the log, in the same query and by an index, and nothing is predicted; so it may be filtered and ordered by.
    What is about a row is what was predicted with it as `entity_key`. `value` is one of `score` (the number, or of two
    classes the probability of the second, whichever a Predictor declares), `decision`, `version`, `made_at`, `output` and
    `flags`; `of` is the path of the row that predictions are about, as "customer" of an order. The log lags behind by the
    second that shipping takes.

    Raises `ValueError` for another `value`, and `FieldError` for an `of` that is no relation to one row.
    """

    def __init__(self, model: str, value: str = "score", *, of: str = "pk") -> None:
        super().__init__()
        if value not in VALUES:
            raise ValueError(f"Latest({model!r}, {value!r}): one of {enumerate_names(VALUES)}.")
        self._model, self._value, self._of = model, value, of

    def __repr__(self) -> str:
        return f"Latest({self._model!r}, {self._value!r}, of={self._of!r})"

    def resolve_expression(
        self,
        query: Any = None,
        allow_joins: bool = True,
        reuse: Any = None,
        summarize: bool = False,
        for_save: bool = False,
    ) -> Any:
        """Become the subquery that reads the log."""
        entity, key = _entity_of(query.model, self._of)
        return _said(self._model, self._value, entity, key, self._of).resolve_expression(
            query, allow_joins, reuse, summarize, for_save
        )


class _UuidText(Func):
    """A UUID as entity keys have it: with dashes, of which SQLite keeps none."""

    template = "CAST(%(expressions)s AS varchar)"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Return its parts with dashes between them."""
        parts = " || '-' || ".join(f"substr(%(expressions)s, {start}, {length})" for start, length in UUID_PARTS)
        return self.as_sql(compiler, connection, template=f"({parts})", **context)


def latest_score(instance: Model, model: str) -> Any:
    """Return the score of what the champion of `model` said last about a saved row, or None: one query of the log alone."""
    return _about(instance, model).values_list("score", flat=True).first()


def latest_answer(instance: Model, model: str) -> Any:
    """Return the `Prediction` that the champion of `model` made last about a saved row, or None."""
    return _about(instance, model).first()


def _about(instance: Model, model: str) -> Any:  # a QuerySet of answers
    return _answers(model, f"{prefix_of(type(instance))}{instance.pk}")


def _entity_of(model: type[Model], path: str) -> tuple[type[Model], Any]:
    """Return whom predictions are about, and the field of their key, which of a row that inherits is its parent's."""
    entity: Any = model
    if path != "pk":
        found = resolved(model, path)
        if isinstance(found, str):
            raise FieldError(f"Latest(of={path!r}): {found}")
        entity = found.field.related_model
        if not isinstance(entity, type) or found.is_to_many:
            raise FieldError(f"Latest(of={path!r}): {model._meta.label}.{path} is no relation to one row.")
    key: Any = entity._meta.pk
    while key.is_relation:
        key = key.target_field
    return entity, key


def _said(model: str, value: str, entity: type[Model], key: Field, path: str) -> Subquery:
    reference: Any = OuterRef(
        path if path == "pk" else f"{path}__pk"
    )  # a foreign key may hold another column than the key
    text = (
        _UuidText(reference, output_field=CharField()) if isinstance(key, UUIDField) else Cast(reference, CharField())
    )
    return Subquery(_answers(model, Concat(Value(prefix_of(entity)), text)).values(value)[:1])


def _answers(model: str, entity_key: Any) -> Any:  # a QuerySet of them
    """Return what the champion of `model` said about an entity, the newest first."""
    from trivet.control.predictions.models import Prediction  # tables: this module is there before Django is set up
    from trivet.control.registry.models import CHAMPION, Alias

    champion = Alias.objects.filter(model__name=model, name=CHAMPION).values("version__number")[:1]
    said = Prediction.objects.answers().of_model(model).filter(entity_key=entity_key, version=Subquery(champion))
    return said.order_by("-made_at", "-pk")
