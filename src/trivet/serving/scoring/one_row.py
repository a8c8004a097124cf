"""One row: what a model says of it now, written into its column, unless somebody wrote something newer meanwhile."""

from __future__ import annotations

from typing import Any

from django.db.models import Model, Q, QuerySet
from django.utils import timezone

from trivet.core.errors import InvalidRequest, quoted
from trivet.features.predicted_field import PredictedField
from trivet.serving.predict import predict
from trivet.serving.scoring.answers import number_of
from trivet.serving.scoring.target import find_target


def refresh(table: type[Model], key: Any, field: str, *, using: str | None = None, user: Any = None) -> bool:
    """Ask the model of the PredictedField `field` about the row with this key, and write its three columns.

    Return False where there is nothing to write: the row is gone, no number came of it, or what is there was said of the row
    as it has been since. Raises `InvalidRequest` for a field that is no PredictedField, and what `trivet.predict` raises;
    then the columns stay as they are.
    """
    began = timezone.now()  # before the row is read: who read it later knows better
    model = _model_of(table, field)
    target = find_target(table, model, field)
    rows: Any = QuerySet(target.table, using=using).filter(pk=key)
    row = rows.first()
    if row is None or target.version is None or target.at is None:
        return False
    said = predict(model, row, user=user)
    number = number_of(said)
    if number is None:
        return False
    older = Q(**{f"{target.at.name}__isnull": True}) | Q(**{f"{target.at.name}__lte": began})
    values = (float(number), said.version, timezone.now())
    return bool(rows.filter(older).update(**dict(zip(target.names, values, strict=True))))


def _model_of(table: type[Model], field: str) -> str:
    found = next((one for one in table._meta.get_fields() if one.name == field), None)
    if not isinstance(found, PredictedField):
        raise InvalidRequest(f"{table._meta.label}.{quoted(field)} is no trivet.PredictedField.")
    return found.predictor
