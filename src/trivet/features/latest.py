"""Latest: the newest logged prediction about each row of a query, as a column of it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import FieldError
from django.db.models import CharField, Expression, F, Field, Func, Model, OuterRef, Subquery, UUIDField, Value
from django.db.models.functions import Cast, Concat

from trivet.core.signature import enumerate_names
from trivet.features.declared_number import declared_number
from trivet.features.entities import entities_of, entity_key_of, prefix_of
from trivet.features.paths import resolved

UUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))  # start and length, of 32 digits
VALUES = ("score", "decision", "version", "made_at", "output", "flags")


class Latest(Expression):
    """What the champion of a model said last about each row, or None: `Customer.objects.annotate(risk=Latest("churn"))`.

    It is read from the log, in the same query and by an index, and nothing is predicted; so it may be filtered and ordered by.
    What is about a row is what was predicted with it as `entity_key`. `value` is one of `score` (the number, or the
    probability of the class that the Predictor declares; without one that of the second of two classes, of more the largest),
    `decision`, `version`, `made_at`, `output` and `flags`; `of` is the path of the row that predictions are about, as
    "customer" of an order. The log lags behind by the second that shipping takes.

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
        return _said(self._model, self._value, query.model, self._of).resolve_expression(
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
    return _about(instance, model).values_list("number", flat=True).first()


def latest_answer(instance: Model, model: str) -> Any:
    """Return the `Prediction` that the champion of `model` made last about a saved row, with its `number`, or None."""
    return _about(instance, model).first()


def _about(instance: Model, model: str) -> Any:  # a QuerySet of answers
    return _answers(model, entity_key_of(instance, model)).annotate(number=declared_number(model))


def _said(model: str, value: str, table: type[Model], path: str) -> Subquery:
    """Return what was said of whom `path` of a row of `table` is about."""
    entities = entities_of(_at(table, path), model)
    own: Any = entities._meta.pk
    start = "" if path == "pk" else f"{path}__"  # a foreign key may hold another column than the key
    reference: Any = OuterRef(f"{start}{own.name}")
    text = (
        _UuidText(reference, output_field=CharField())
        if isinstance(_stored(own), UUIDField)
        else Cast(reference, CharField())
    )
    said = _answers(model, Concat(Value(prefix_of(entities)), text))
    what = declared_number(model) if value == "score" else F(value)
    return Subquery(said.annotate(trivet_said=what).values("trivet_said")[:1])


def _at(table: type[Model], path: str) -> type[Model]:
    """Return the model whose rows are at the end of `path`."""
    if path == "pk":
        return table
    found = resolved(table, path)
    if isinstance(found, str):
        raise FieldError(f"Latest(of={path!r}): {found}")
    entity = found.field.related_model
    if not isinstance(entity, type) or found.is_to_many:
        raise FieldError(f"Latest(of={path!r}): {table._meta.label}.{path} is no relation to one row.")
    return entity


def _stored(key: Any) -> Field:
    """Return the field that a key is stored as, which of a row that inherits is its parent's."""
    while key.is_relation:
        key = key.target_field
    field: Field = key
    return field


def _answers(model: str, entity_key: Any) -> Any:  # a QuerySet of them
    """Return what the champion of `model` said about an entity, the newest first."""
    from trivet.control.predictions.models import Prediction  # tables: this module is there before Django is set up
    from trivet.control.registry.models import CHAMPION, Alias

    champion = Alias.objects.filter(model__name=model, name=CHAMPION).values("version__number")[:1]
    said = Prediction.objects.answers().of_model(model).filter(entity_key=entity_key, version=Subquery(champion))
    return said.order_by("-made_at", "-pk")
