"""Whom a prediction is about, as the log names rows: "app.model:" and the primary key, the same at every door."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model

from trivet.core.errors import InvalidRequest, quoted
from trivet.features.predictor import is_feature_set, predictor_of
from trivet.features.shape import shape_of


def prefix_of(model: type[Model]) -> str:
    """Return what entity keys of rows of `model`, or of the model that it is a proxy of, begin with."""
    return f"{(model._meta.concrete_model or model)._meta.label_lower}:"


def entities_of(table: type[Model], model: str) -> type[Model]:
    """Return of which table the log names a row of `table` that `model` is asked about; the row has the key of that, too.

    It is that of the FeatureSet, where rows of `table` are rows of it, as those of a model that inherits are; else its own.
    """
    found = predictor_of(model)
    if found is None or found.features is None or not is_feature_set(found.features):
        return table
    try:
        owner = shape_of(found.features).table
    except ImproperlyConfigured:  # of which `manage.py check` tells
        return table
    return owner if issubclass(table, owner._meta.concrete_model or owner) else table


def shares_key(table: type[Model], owner: type[Model]) -> bool:
    """Return whether a row of `table` is one of `owner` with the same key: its own table, or the parent that its key is of."""
    one: Any = table._meta.concrete_model
    while one is not owner._meta.concrete_model:
        if not one._meta.pk.is_relation:
            return False
        one = one._meta.pk.related_model._meta.concrete_model
    return True


def entity_key_of(entity: object, model: str = "") -> str:
    """Return the key of an entity, as predictions of `model` are about it; a text is a key already.

    Raises `InvalidRequest` for what is neither a text nor a saved row.
    """
    if isinstance(entity, str):
        return entity
    if not isinstance(entity, Model) or entity.pk is None:
        raise InvalidRequest(f"an entity_key is a text or a saved instance, not {quoted(type(entity).__name__)}.")
    return key_in(entities_of(type(entity), model), entity)


def key_in(entities: type[Model], row: Model) -> str:
    """Return the key of a saved row as one of `entities`, its own table or one that it inherits from."""
    own = entities._meta.pk
    return f"{prefix_of(entities)}{row.pk if own is None else getattr(row, own.attname)}"
